/* spi_message.h against a stand-in for the kernel: prints what an ioctl was given, answers each byte with its complement. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int stand_in(int fd, unsigned long request, ...);
#define SPI_IOCTL stand_in
#include "spi_message.h"

static int fails;

static int stand_in(int fd, unsigned long request, ...) {
    va_list rest;
    struct spi_ioc_transfer *part;
    int i, n = (int)(_IOC_SIZE(request) / sizeof(*part));
    if (fails) { errno = EIO; return -1; }
    va_start(rest, request);
    part = va_arg(rest, struct spi_ioc_transfer *);
    va_end(rest);
    printf("ioctl %d %c %lu %d\n", fd, (char)_IOC_TYPE(request), (unsigned long)_IOC_NR(request), n);
    for (i = 0; i < n; i++) {
        const uint8_t *out = (const uint8_t *)(uintptr_t)part[i].tx_buf;
        uint8_t *back = (uint8_t *)(uintptr_t)part[i].rx_buf;
        *back = (uint8_t)~*out;
        printf("%u %u %u %u %u\n", *out, part[i].len, part[i].cs_change, part[i].speed_hz, part[i].bits_per_word);
    }
    return n;
}

int main(int argc, char **argv) {
    uint8_t out[1200], back[1200];
    int i, n = argc > 1 ? atoi(argv[1]) : 0, bad = 0;
    for (i = 0; i < n; i++) out[i] = (uint8_t)(i * 7);
    printf("result %d\n", spi_device_message(9, out, back, n, 1500000));
    for (i = 0; i < n; i++) bad += (back[i] ^ out[i]) != 0xFF;
    fails = 1;
    printf("replies %d failing %d\n", bad, spi_device_message(9, out, back, n, 1500000));
    return 0;
}
