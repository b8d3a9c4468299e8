# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One datagram of a UDP socket with all that the kernel tells of it, in one call (L2).

Theory of operation. `recvmsg` of Python makes a buffer of the largest datagram, a list of control messages and their bytes for each datagram; that
costs more than the kernel takes for it. Here the buffer stays, and of the control messages just those that `net/sip_udp.py` asks for are
read: where it arrived (IP_PKTINFO, IPV6_PKTINFO), when (SO_TIMESTAMPNS with two 64-bit words), and how many were dropped before it (SO_RXQ_OVFL).
One at a time: what this process has not taken yet is still there for the next one.
Invariants: never blocks (MSG_DONTWAIT); nothing of a datagram is kept but its bytes until the next.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    ssize_t recvmsg(int fd, msghdr* message, int flags)
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* at)
    unsigned char* CMSG_DATA(cmsghdr* at)
    size_t CMSG_LEN(size_t size)
    int AF_INET
    int AF_INET6
    int MSG_DONTWAIT
    int SOL_SOCKET

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    int IPPROTO_IP
    int IPPROTO_IPV6
    uint16_t ntohs(uint16_t value)

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)

cdef extern from "<netdb.h>" nogil:
    int getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size, char* service, socklen_t service_size, int flags)
    int NI_NUMERICHOST
    int NI_NUMERICSERV

cdef enum:
    LARGEST = 65535
    CONTROL = 32                         # words
    TEXT = 96                            # an IPv6 address with the name of its interface
    IP_PKTINFO = 8
    IPV6_PKTINFO = 50
    SO_RXQ_OVFL = 40
    SO_TIMESTAMPNS = 64                  # SO_TIMESTAMPNS_NEW


cdef class Receiver:
    """Takes datagrams of sockets; `dropped` is what the kernel counted last."""

    cdef unsigned char* _data
    cdef dict _hosts
    cdef public unsigned int dropped

    def __cinit__(self):
        self._data = <unsigned char*> malloc(LARGEST)
        if self._data == NULL:
            raise MemoryError("no room for a datagram")
        self._hosts = {}
        self.dropped = 0

    def __dealloc__(self):
        free(self._data)

    cdef object _host(self, uint32_t address):
        """Text of an IPv4 address; those seen lately are kept."""
        cdef char text[TEXT]
        found = self._hosts.get(address)
        if found is None:
            if len(self._hosts) >= 512:
                self._hosts.clear()
            inet_ntop(AF_INET, &address, text, TEXT)
            found = self._hosts[address] = (<bytes> text).decode("ascii")
        return found

    def take(self, int fd):
        """(data, host, port, host it arrived at or "", Unix ns when or 0) of the next datagram, None where there is none. Raises OSError."""
        cdef sockaddr_storage source
        cdef iovec piece
        cdef msghdr message
        cdef cmsghdr* at
        cdef size_t control[CONTROL]        # words, as control messages are aligned
        cdef char text[TEXT]
        cdef char service[16]
        cdef int64_t stamp[2]
        cdef uint32_t address
        cdef ssize_t size
        cdef object host, local = ""
        cdef int port
        piece.iov_base, piece.iov_len = self._data, LARGEST
        message.msg_name, message.msg_namelen = &source, sizeof(source)
        message.msg_iov, message.msg_iovlen = &piece, 1
        message.msg_control, message.msg_controllen = control, sizeof(control)
        message.msg_flags = 0
        stamp[0] = stamp[1] = 0
        size = recvmsg(fd, &message, MSG_DONTWAIT)
        if size < 0:
            if errno == EAGAIN or errno == EINTR:
                return None
            PyErr_SetFromErrno(OSError)
        at = CMSG_FIRSTHDR(&message)
        while at != NULL:
            if at.cmsg_level == SOL_SOCKET:
                if at.cmsg_type == SO_RXQ_OVFL and at.cmsg_len >= CMSG_LEN(4):
                    memcpy(&self.dropped, CMSG_DATA(at), 4)
                elif at.cmsg_type == SO_TIMESTAMPNS and at.cmsg_len >= CMSG_LEN(16):
                    memcpy(stamp, CMSG_DATA(at), 16)
            elif at.cmsg_level == IPPROTO_IP and at.cmsg_type == IP_PKTINFO and at.cmsg_len >= CMSG_LEN(12):
                memcpy(&address, CMSG_DATA(at) + 8, 4)
                local = self._host(address)
            elif at.cmsg_level == IPPROTO_IPV6 and at.cmsg_type == IPV6_PKTINFO and at.cmsg_len >= CMSG_LEN(16):
                inet_ntop(AF_INET6, CMSG_DATA(at), text, TEXT)
                local = (<bytes> text).decode("ascii")
            at = CMSG_NXTHDR(&message, at)
        if source.ss_family == AF_INET:
            host, port = self._host((<sockaddr_in*> &source).sin_addr.s_addr), ntohs((<sockaddr_in*> &source).sin_port)
        else:
            if getnameinfo(<sockaddr*> &source, message.msg_namelen, text, TEXT, service, 16, NI_NUMERICHOST | NI_NUMERICSERV) != 0:
                raise OSError("the address of a datagram cannot be read")
            host, port = (<bytes> text).decode("ascii", "replace"), int(service)
        return PyBytes_FromStringAndSize(<char*> self._data, size), host, port, local, stamp[0] * 1_000_000_000 + stamp[1]
