/* Where RTP goes and comes from: IPv4 and IPv6 alike, for sockets of either family.
 *
 * Theory of operation. An address is kept as IPv6; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that a socket of both families and
 * one of IPv4 alone compare alike. A `net_box` hands an address from its one writer to other threads: `turn` is odd while it is written.
 * A reader that meets the writer keeps what it had; nobody ever waits. */
#ifndef BRANCHPBX_NET_ADDRESS_H
#define BRANCHPBX_NET_ADDRESS_H
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

typedef struct {
    uint64_t high, low;               /* host order */
    uint32_t port, scope;             /* port 0: not known; scope: of a link-local address */
} net_address;

typedef struct {
    uint32_t turn, generation;
    net_address at;
} net_box;

#define NET_MAPPED 0xFFFF00000000ull  /* of `low`, above an IPv4 address */

static inline uint64_t net_word(const uint8_t *b)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | b[i];
    return v;
}
static inline void net_bytes(uint64_t v, uint8_t *b)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        b[i] = (uint8_t)v;
}
static inline int net_is_v4(const net_address *a) { return a->high == 0 && a->low >> 32 == 0xFFFF; }
static inline int net_known(const net_address *a)
{
    return a->port != 0 && (net_is_v4(a) ? (uint32_t)a->low != 0 : (a->high | a->low) != 0);
}
static inline int net_same_host(const net_address *a, const net_address *b) { return a->high == b->high && a->low == b->low; }
static inline int net_same(const net_address *a, const net_address *b) { return net_same_host(a, b) && a->port == b->port; }

/* A packet to `to` from a socket of `family`; -1 when that family does not reach it. Never waits. */
static inline ssize_t net_send(int fd, int family, const void *data, size_t n, const net_address *to)
{
    if (!net_known(to))
        return -1;
    if (family == AF_INET6) {
        struct sockaddr_in6 six;
        memset(&six, 0, sizeof(six));
        six.sin6_family = AF_INET6;
        six.sin6_port = htons((uint16_t)to->port);
        six.sin6_scope_id = to->scope;
        net_bytes(to->high, six.sin6_addr.s6_addr);
        net_bytes(to->low, six.sin6_addr.s6_addr + 8);
        return sendto(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&six, sizeof(six));
    }
    if (net_is_v4(to)) {
        struct sockaddr_in four;
        memset(&four, 0, sizeof(four));
        four.sin_family = AF_INET;
        four.sin_port = htons((uint16_t)to->port);
        four.sin_addr.s_addr = htonl((uint32_t)to->low);
        return sendto(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&four, sizeof(four));
    }
    return -1;
}
/* A packet that waits, and its source; negative when there is none. */
static inline ssize_t net_receive(int fd, void *data, size_t n, net_address *from)
{
    union { struct sockaddr any; struct sockaddr_in four; struct sockaddr_in6 six; } s;
    socklen_t size = sizeof(s);
    ssize_t got = recvfrom(fd, data, n, MSG_DONTWAIT, &s.any, &size);
    memset(from, 0, sizeof(*from));
    if (got < 0)
        return got;
    if (s.any.sa_family == AF_INET6) {
        from->high = net_word(s.six.sin6_addr.s6_addr);
        from->low = net_word(s.six.sin6_addr.s6_addr + 8);
        from->port = ntohs(s.six.sin6_port);
        from->scope = s.six.sin6_scope_id;
    } else {
        from->low = NET_MAPPED | ntohl(s.four.sin_addr.s_addr);
        from->port = ntohs(s.four.sin_port);
    }
    return got;
}
static inline void box_put(net_box *b, const net_address *at, uint32_t generation)
{
    __atomic_store_n(&b->turn, (b->turn + 1) | 1u, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    b->at = *at;
    b->generation = generation;
    __atomic_store_n(&b->turn, b->turn + 1, __ATOMIC_RELEASE);
}
/* Brings a reader's copy up to date; the copy stands while the writer is at it. */
static inline void box_follow(net_box *copy, const net_box *b)
{
    net_box now;
    uint32_t before = __atomic_load_n(&b->turn, __ATOMIC_ACQUIRE);
    if (before == copy->turn || before & 1u)
        return;
    now = *b;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&b->turn, __ATOMIC_RELAXED) != before)
        return;
    now.turn = before;
    *copy = now;
}
#endif
