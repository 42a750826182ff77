/* casefold_dump.c - prints every code point but NUL and the surrogates, case folded, a line each. */
#include "base/base.h"

#include <stdio.h>

static size_t encode(char out[4], uint32_t c)
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 0; c >>= 6) out[i] = (char)(n == 1 ? c : 0x80 | (c & 0x3f));
    if (n > 1) out[0] = (char)(leads[n] | ((unsigned char)out[0] & 0x3f));
    return n;
}

int main(void)
{
    orm_buf line;
    orm_buf_init(&line, 0);
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        char text[4];
        if (c >= 0xd800 && c <= 0xdfff) continue;
        orm_buf_reset(&line);
        orm_utf8_casefold(&line, text, encode(text, c));
        orm_buf_addc(&line, '\n');
        fwrite(line.ptr, 1, line.len, stdout);
    }
    int failed = line.failed;
    orm_buf_dispose(&line);
    return failed;
}
