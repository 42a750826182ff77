/* buf.c - text under construction; the first failure sticks. */
#include "base.h"

#include <stdio.h>

/* What an empty buffer points at: it has no memory of its own (cap 0) and is never written to. */
static char empty[1] = "";

void orm_buf_init(orm_buf *buf, size_t max)
{
    memset(buf, 0, sizeof *buf);
    buf->ptr = empty;
    buf->max = max && max < SIZE_MAX / 4 ? max : SIZE_MAX / 4;
}

void orm_buf_dispose(orm_buf *buf)
{
    if (buf->cap) orm_dealloc(buf->ptr);
    buf->ptr = empty;
    buf->len = buf->cap = 0;
}

void orm_buf_reset(orm_buf *buf)
{
    buf->failed = buf->too_long = false;
    buf->len = 0;
    if (buf->cap) buf->ptr[0] = '\0';
}

/* What was written so far goes at once: half a text must never be mistaken for a whole one. */
static void fail(orm_buf *buf, bool too_long)
{
    orm_buf_dispose(buf);
    buf->failed = true;
    buf->too_long = too_long;
}

/* Makes room for `more` bytes and the terminator. */
static bool reserve(orm_buf *buf, size_t more)
{
    if (buf->failed) return false;
    if (more > buf->max - buf->len) {
        fail(buf, true);
        return false;
    }
    size_t need = buf->len + more + 1;
    if (ORM_LIKELY(need <= buf->cap)) return true;
    size_t cap = buf->cap ? buf->cap * 2 : 64;
    if (cap < need) cap = need;
    if (cap > buf->max + 1) cap = buf->max + 1;
    char *ptr = orm_realloc(buf->cap ? buf->ptr : NULL, cap);
    if (!ptr) {
        fail(buf, false);
        return false;
    }
    buf->ptr = ptr;
    buf->cap = cap;
    return true;
}

void orm_buf_add(orm_buf *buf, const char *text, size_t len)
{
    if (len == 0 || !reserve(buf, len)) return;
    memcpy(buf->ptr + buf->len, text, len);
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

void orm_buf_adds(orm_buf *buf, const char *terminated)
{
    orm_buf_add(buf, terminated, strlen(terminated));
}

void orm_buf_addc(orm_buf *buf, char c)
{
    if (!reserve(buf, 1)) return;
    buf->ptr[buf->len++] = c;
    buf->ptr[buf->len] = '\0';
}

void orm_buf_addf(orm_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n > 0 && reserve(buf, (size_t)n)) {
        vsnprintf(buf->ptr + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    if (n < 0 && !buf->failed) fail(buf, false);
    va_end(again);
    va_end(args);
}

void orm_buf_addi(orm_buf *buf, int64_t i)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (i < 0) digits[--at] = '-';
    orm_buf_add(buf, digits + at, sizeof digits - at);
}

char *orm_buf_take(orm_buf *buf)
{
    if (!buf->cap && !reserve(buf, 0)) return NULL;
    char *text = buf->ptr;
    text[buf->len] = '\0';
    buf->ptr = empty;
    buf->len = buf->cap = 0;
    return text;
}

orm_status orm_buf_status(const orm_buf *buf, orm_error *err)
{
    if (!buf->failed) return ORM_OK;
    if (!buf->too_long) return orm_fail_nomem(err);
    return orm_fail(err, ORM_ETOOCOMPLEX, "text is longer than the limit of %zu bytes", buf->max);
}
