/* One scan of a serial chain as one message of Linux spidev.
 *
 * Theory of operation. Every byte of an access has a chip select of its own: a message of n one-byte transfers with cs_change between
 * them, so that the driver raises the select after each byte (some hundred ns at least on every controller; SPI_HIGH_US adds a pause where
 * the kernel knows the field). One ioctl carries the whole scan, which the kernel runs without anything of another user in between.
 * A descriptor that is a socket takes the same bytes as one packet and answers with as many: a chain that is somewhere else, as in tests. */
#ifndef BRANCHPBX_SPI_MESSAGE_H
#define BRANCHPBX_SPI_MESSAGE_H
#include <errno.h>
#include <linux/spi/spidev.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SPI_MOST 500            /* transfers of one message: the size field of the ioctl holds 511 */
#ifndef SPI_IOCTL
#define SPI_IOCTL ioctl
#endif

static inline int spi_device_message(int fd, const uint8_t *out, uint8_t *back, int n, uint32_t speed_hz) {
    struct spi_ioc_transfer part[SPI_MOST];
    int i, k, count;
    for (i = 0; i < n; i += count) {
        count = n - i < SPI_MOST ? n - i : SPI_MOST;
        memset(part, 0, (size_t)count * sizeof(part[0]));
        for (k = 0; k < count; k++) {
            part[k].tx_buf = (uintptr_t)(out + i + k);
            part[k].rx_buf = (uintptr_t)(back + i + k);
            part[k].len = 1;
            part[k].speed_hz = speed_hz;
            part[k].bits_per_word = 8;
            part[k].cs_change = k + 1 < count;      /* set on the last one it would leave the chip selected */
        }
        if (SPI_IOCTL(fd, SPI_IOC_MESSAGE(count), part) < 0) return -errno;
    }
    return 0;
}

static inline int spi_socket_message(int fd, const uint8_t *out, uint8_t *back, int n, uint32_t speed_hz) {
    ssize_t got;
    (void)speed_hz;
    if (send(fd, out, (size_t)n, MSG_NOSIGNAL) != n) return -EIO;
    do got = recv(fd, back, (size_t)n, 0); while (got < 0 && errno == EINTR);
    return got == n ? 0 : -EIO;
}

static inline int spi_is_socket(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode);
}
#endif
