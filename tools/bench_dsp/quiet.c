/* Preloaded while a peer's instructions are counted, so that the debug lines it prints are not counted as its work. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

int __printf_chk(int flag, const char *format, ...)
{
    (void)flag;
    (void)format;
    return 0;
}

int printf(const char *format, ...)
{
    (void)format;
    return 0;
}
