/* The least that a relay can do: recvfrom, sendto. The floor that `make bench-calls` compares with.
 * Usage: udp_relay PAIRS. It binds 2 * PAIRS sockets on 127.0.0.1 and prints their ports; what comes to one socket leaves through the other
 * of its pair, to whoever sent there last. It ends with its standard input. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? 2 * atoi(argv[1]) : 2, poller = epoll_create1(0), i, ready;
    int *fd = calloc(n, sizeof(int));
    struct sockaddr_in *peer = calloc(n, sizeof(*peer)), own, from;
    struct epoll_event event = { .events = EPOLLIN }, events[64];
    unsigned char data[2048];
    socklen_t size;
    for (i = 0; i < n; i++) {
        own = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        size = sizeof(own);
        fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        event.data.u32 = i;
        if (fd[i] < 0 || bind(fd[i], (void *)&own, size) || getsockname(fd[i], (void *)&own, &size)
            || epoll_ctl(poller, EPOLL_CTL_ADD, fd[i], &event)) {
            perror("udp_relay");
            return 1;
        }
        printf("%d\n", ntohs(own.sin_port));
    }
    fflush(stdout);
    event.data.u32 = n;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event))
        return 1;
    for (;;) {
        ready = epoll_wait(poller, events, 64, -1);
        for (i = 0; i < ready; i++) {
            int one = events[i].data.u32, other = one ^ 1;
            ssize_t got;
            if (one == n)
                return 0;
            while (size = sizeof(from), (got = recvfrom(fd[one], data, sizeof(data), 0, (void *)&from, &size)) >= 0) {
                peer[one] = from;
                if (peer[other].sin_port)
                    sendto(fd[other], data, got, 0, (void *)&peer[other], sizeof(from));
            }
        }
    }
}
