/* error.c - filling errors; keeping secrets out of them. */
#include "base.h"

#include "secret.h"

#include <stdio.h>

_Static_assert(sizeof(orm_error) == 1024, "orm_error is 1,024 bytes for ever");

const char *orm_status_name(int status)
{
    switch (status) {
#define NAME(constant, number, exception) \
    case number: return #constant;
        ORM_STATUS_MAP(NAME)
#undef NAME
    default: return "ORM_?";
    }
}

const char *orm_version(void)
{
    return ORM_VERSION;
}

/* Makes one line of valid UTF-8 of what is there, in place: control characters (C0, C1, DEL and
 * the two line separators) become spaces, bytes that are no UTF-8 become '?'. */
static void clean_text(char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = orm_utf8_step(text + i, len - i);
        const unsigned char *c = (const unsigned char *)text + i;
        bool control = n == 1   ? *c < 0x20 || *c == 0x7f
                       : n == 2 ? c[0] == 0xc2 && c[1] < 0xa0
                       : n == 3 ? c[0] == 0xe2 && c[1] == 0x80 && (c[2] & 0xfe) == 0xa8
                                : false;
        if (n == 0) text[i] = '?';
        if (control) memset(text + i, ' ', n);
        i += n ? n : 1;
    }
}

orm_status orm_fail(orm_error *err, orm_status status, const char *format, ...)
{
    if (!err) return status;
    /* Beside the error, since the arguments may point into it. */
    char message[sizeof err->message];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof message) len = orm_utf8_cut(message, sizeof message - 1, sizeof message - 1);
    clean_text(message, len);
    memset(err, 0, sizeof *err);
    err->status = status;
    memcpy(err->message, message, len);
    return status;
}

orm_status orm_fail_nomem(orm_error *err)
{
    return orm_fail(err, ORM_ENOMEM, "out of memory");
}

void orm_error_set_name(char field[ORM_NAME_BYTES], const char *name, size_t len)
{
    size_t end = 0;
    for (int i = 0; i < 64 && end < len; i++) {
        size_t n = orm_utf8_step(name + end, len - end);
        end += n ? n : 1;
    }
    if (end) memmove(field, name, end);
    clean_text(field, end);
    memset(field + end, 0, ORM_NAME_BYTES - end);
}

void orm_error_clear(orm_error *err)
{
    if (err) memset(err, 0, sizeof *err);
}

/* Replaces text[start..end) by ***, or by as many stars as there is room for; returns the
 * position behind it. */
static size_t star_out(char *text, size_t start, size_t end, size_t len)
{
    size_t stars = end - start < 3 ? end - start : 3;
    memset(text + start, '*', stars);
    memmove(text + start + stars, text + end, len - end + 1);
    return start + stars;
}

/* The end of a value behind "password=" in free text: of a quoted text its closing quote, else
 * the next white space or '&'. */
static size_t value_end(const char *text, size_t start)
{
    char quote = text[start];
    size_t i = start;
    if (quote == '\'' || quote == '"') {
        for (i++; text[i] && text[i] != quote; i++)
            if (text[i] == '\\' && text[i + 1]) i++;
        return text[i] ? i + 1 : i;
    }
    return start + strcspn(text + start, " \t\r\n&");
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void scrub_assignments(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '=') continue;
        size_t end = i, start;
        while (end > 0 && text[end - 1] == ' ') end--;
        for (start = end; start > 0 && is_name_byte(text[start - 1]);) start--;
        if (!orm_is_secret_name(text + start, end - start)) continue;
        size_t value = i + 1 + strspn(text + i + 1, " ");
        i = star_out(text, value, value_end(text, value), len);
        len = strlen(text);
    }
}

/* Userinfo reaches to the last '@' of the text, so that a password with '/', '@' or blanks in it
 * is gone as a whole; hiding too much of a message is the lesser harm. */
static void scrub_userinfo(char *text)
{
    char *userinfo = strstr(text, "://");
    if (!userinfo) return;
    userinfo += 3;
    char *at = strrchr(userinfo, '@');
    char *colon = at ? memchr(userinfo, ':', (size_t)(at - userinfo)) : NULL;
    if (!colon) return;
    (void)star_out(text, (size_t)(colon + 1 - text), (size_t)(at - text), strlen(text));
}

void orm_error_scrub(char *text)
{
    scrub_assignments(text);
    scrub_userinfo(text);
}
