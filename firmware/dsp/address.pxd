# Addresses of RTP at C level (net_address.h).
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "net_address.h" nogil:
    enum: AF_INET, AF_INET6

    ctypedef struct net_address:
        uint64_t high, low
        uint32_t port, scope

    ctypedef struct net_box:
        uint32_t turn, generation
        net_address at

    uint64_t net_word(const uint8_t* b)
    void net_bytes(uint64_t v, uint8_t* b)
    int net_is_v4(const net_address* a)
    int net_known(const net_address* a)
    int net_same_host(const net_address* a, const net_address* b)
    int net_same(const net_address* a, const net_address* b)
    ssize_t net_send(int fd, int family, const void* data, size_t n, const net_address* to)
    ssize_t net_receive(int fd, void* data, size_t n, net_address* source)
    void box_put(net_box* b, const net_address* at, uint32_t generation)
    void box_follow(net_box* copy, const net_box* b)
