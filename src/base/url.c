/* url.c - database URLs: dialect[+driver]://user:password@host:port/database?name=value&...
 *
 * The parser copies each part, unquoted and terminated, into the url's own buffer.  Messages quote
 * nothing but the scheme: in a malformed URL, any other part may turn out to be the password.
 */
#include "secret.h"

typedef struct parser {
    const char *at, *end; /* the rest */
    orm_url *url;
    size_t used; /* of url->text */
    orm_error *err;
} parser;

static orm_status fail_url(const parser *in, const char *expected)
{
    return orm_fail(in->err, ORM_ECONFIG, "bad database URL: expected %s", expected);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Copies text[0..len) into the url's buffer without its %XX escapes. */
static orm_status add_part(parser *in, const char *text, size_t len, orm_str *part)
{
    char *start = in->url->text + in->used, *to = start;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return fail_url(in, "two hexadecimal digits behind %; write % as %25");
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f) return fail_url(in, "no control characters");
        if (to + 1 >= in->url->text + sizeof in->url->text)
            return fail_url(in, "at most 4,000 bytes");
        *to++ = (char)c;
    }
    *to = '\0';
    part->ptr = start;
    part->len = (size_t)(to - start);
    in->used += part->len + 1;
    if (!orm_utf8_is_valid(part->ptr, part->len)) return fail_url(in, "UTF-8");
    return ORM_OK;
}

/* ---- the scheme ---- */

static bool is_scheme_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '-' || c == '.' || c == '_';
}

/* Length of "dialect+driver" when "://" follows it; 0 when the text has no such beginning. */
static size_t scheme_length(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && is_scheme_byte(text[n])) n++;
    return n + 3 <= len && memcmp(text + n, "://", 3) == 0 ? n : 0;
}

static const struct {
    const char *scheme, *dialect;
} dialects[] = {
    {"sqlite", "sqlite"}, {"postgresql", "postgresql"}, {"postgres", "postgresql"},
    {"mysql", "mariadb"}, {"mariadb", "mariadb"},
};

static bool is_equal_folded(const char *text, size_t len, const char *lower)
{
    if (strlen(lower) != len) return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i]) return false;
    }
    return true;
}

static orm_status take_scheme(parser *in)
{
    size_t len = scheme_length(in->at, (size_t)(in->end - in->at));
    if (len == 0)
        return fail_url(in, "something like sqlite:///file.db or "
                            "postgresql://user:password@host:5432/name");
    const char *plus = memchr(in->at, '+', len);
    size_t name_len = plus ? (size_t)(plus - in->at) : len;
    for (size_t i = 0; i < ORM_COUNT(dialects); i++) {
        if (!is_equal_folded(in->at, name_len, dialects[i].scheme)) continue;
        memcpy(in->url->dialect, dialects[i].dialect, strlen(dialects[i].dialect) + 1);
        if (plus) ORM_TRY(add_part(in, plus + 1, len - name_len - 1, &in->url->driver));
        in->at += len + 3;
        return ORM_OK;
    }
    return orm_fail(in->err, ORM_ECONFIG,
                    "unknown database '%.*s': expected one of sqlite, postgresql, mysql, mariadb",
                    (int)(name_len < 32 ? name_len : 32), in->at);
}

/* ---- the authority ---- */

static orm_status take_port(parser *in, const char *at, const char *end)
{
    unsigned port = 0;
    for (const char *c = at; c < end; c++) {
        if (*c < '0' || *c > '9' || end - at > 5)
            return fail_url(in, "a port between 1 and 65535 behind the host");
        port = port * 10 + (unsigned)(*c - '0');
    }
    if (port == 0 || port > 65535)
        return fail_url(in, "a port between 1 and 65535 behind the host");
    in->url->port = (uint16_t)port;
    return ORM_OK;
}

static orm_status take_host(parser *in, const char *at, const char *end)
{
    const char *host = at, *host_end, *rest;
    if (at < end && *at == '[') {
        host = at + 1;
        host_end = memchr(at, ']', (size_t)(end - at));
        if (!host_end || !memchr(host, ':', (size_t)(host_end - host)))
            return fail_url(in, "an IPv6 address between [ and ]");
        for (const char *c = host; c < host_end; c++)
            if (hex_value(*c) < 0 && *c != ':' && *c != '.')
                return fail_url(in, "an IPv6 address between [ and ]");
        rest = host_end + 1;
    } else {
        rest = memchr(at, ':', (size_t)(end - at));
        host_end = rest = rest ? rest : end;
        if (memchr(host, ',', (size_t)(host_end - host))) return fail_url(in, "one host");
    }
    if (host_end > host) ORM_TRY(add_part(in, host, (size_t)(host_end - host), &in->url->host));
    if (rest == end) return ORM_OK;
    if (*rest != ':') return fail_url(in, "a port or / behind the host");
    return take_port(in, rest + 1, end);
}

static const char *find_last(const char *at, const char *end, char c)
{
    while (end > at && end[-1] != c) end--;
    return end > at ? end - 1 : NULL;
}

/* user:password@host:port, up to the first / or ? */
static orm_status take_authority(parser *in)
{
    const char *start = in->at, *end = start;
    while (end < in->end && *end != '/' && *end != '?') end++;
    in->at = end;
    const char *at_sign = find_last(start, end, '@');
    if (at_sign) {
        const char *colon = memchr(start, ':', (size_t)(at_sign - start));
        const char *user_end = colon ? colon : at_sign;
        ORM_TRY(add_part(in, start, (size_t)(user_end - start), &in->url->user));
        if (colon)
            ORM_TRY(add_part(in, colon + 1, (size_t)(at_sign - colon - 1), &in->url->password));
        start = at_sign + 1;
    }
    return take_host(in, start, end);
}

/* ---- the database and the options ---- */

static orm_status take_database(parser *in)
{
    bool is_sqlite = strcmp(in->url->dialect, "sqlite") == 0;
    const char *start = in->at, *end = start;
    if (is_sqlite && start < in->end && *start != '/' && *start != '?')
        return fail_url(in, "three slashes before a file, four before an absolute path");
    while (end < in->end && *end != '?') end++;
    in->at = end;
    if (start < end) start++; /* the slash belongs to neither */
    if (start < end) return add_part(in, start, (size_t)(end - start), &in->url->database);
    return is_sqlite ? add_part(in, ":memory:", 8, &in->url->database) : ORM_OK;
}

static orm_status add_option(parser *in, const char *start, const char *end)
{
    orm_url *url = in->url;
    const char *equals = memchr(start, '=', (size_t)(end - start));
    if (!equals || equals == start) return fail_url(in, "name=value behind ?");
    if (url->n_options == ORM_URL_OPTIONS) return fail_url(in, "at most 32 options");
    orm_url_option *option = &url->options[url->n_options];
    ORM_TRY(add_part(in, start, (size_t)(equals - start), &option->name));
    ORM_TRY(add_part(in, equals + 1, (size_t)(end - equals - 1), &option->value));
    url->n_options++;
    return ORM_OK;
}

static orm_status take_options(parser *in)
{
    while (in->at < in->end) {
        const char *start = in->at + 1; /* behind ? or & */
        const char *end = memchr(start, '&', (size_t)(in->end - start));
        if (!end) end = in->end;
        if (start < end) ORM_TRY(add_option(in, start, end));
        in->at = end;
    }
    return ORM_OK;
}

static orm_status parse(parser *in)
{
    ORM_TRY(take_scheme(in));
    if (strcmp(in->url->dialect, "sqlite") != 0) ORM_TRY(take_authority(in));
    ORM_TRY(take_database(in));
    return take_options(in);
}

orm_status orm_url_parse(const char *text, size_t len, orm_url *out, orm_error *err)
{
    parser in = {text, text + len, out, 0, err};
    memset(out, 0, sizeof *out);
    orm_status status = parse(&in);
    if (status < 0) memset(out, 0, sizeof *out);
    return status;
}

/* ---- hiding secrets ---- */

bool orm_is_secret_name(const char *name, size_t len)
{
    static const char *const secrets[] = {"pass", "pwd", "secret", "token"};
    for (size_t i = 0; i < ORM_COUNT(secrets); i++) {
        size_t n = strlen(secrets[i]);
        for (size_t at = 0; at + n <= len; at++)
            if (is_equal_folded(name + at, n, secrets[i])) return true;
    }
    return is_equal_folded(name, len, "key");
}

typedef struct span {
    size_t start, end;
} span;

/* A lone host:port has nothing to hide. */
static bool is_port(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && n < 5 && text[n] >= '0' && text[n] <= '9') n++;
    return n == len || text[n] == '/' || text[n] == '?';
}

/* Where a password between user and host may be, the userinfo beginning at `start`.  A password
 * that was not quoted may hold any delimiter: all up to the last '@' is hidden.  Without a ':'
 * only a plain name is shown, since the delimiter itself may be the mistake. */
static span find_userinfo_secret(const char *text, size_t len, size_t start)
{
    span none = {len, len};
    const char *at = find_last(text + start, text + len, '@');
    size_t end = at ? (size_t)(at - text) : len;
    size_t colon = start;
    if (!at && start < len && text[start] == '[')
        while (colon < len && text[colon] != ']') colon++;
    while (colon < end && text[colon] != ':' && (at || (text[colon] != '/' && text[colon] != '?')))
        colon++;
    if (at && colon == end) {
        size_t i = start;
        while (i < end && is_scheme_byte(text[i])) i++;
        return i < end ? (span){start, end} : none;
    }
    if (colon == end || text[colon] != ':') return none;
    if (!at && is_port(text + colon + 1, len - colon - 1)) return none;
    return (span){colon + 1, end};
}

/* Unquotes a name as far as it is quoted well; names longer than any we know are cut. */
static bool is_secret_option(const char *name, size_t len)
{
    char plain[64];
    size_t n = 0;
    for (size_t i = 0; i < len && n < sizeof plain; i++) {
        int high = name[i] == '%' && i + 2 < len ? hex_value(name[i + 1]) : -1;
        int low = high >= 0 ? hex_value(name[i + 2]) : -1;
        plain[n++] = low >= 0 ? (char)(high * 16 + low) : name[i];
        if (low >= 0) i += 2;
    }
    return orm_is_secret_name(plain, n);
}

/* The first value of a secret option that ends behind `from`.  What follows a secret value without
 * a name of its own is part of it: an '&' may have been left unquoted. */
static span find_option_secret(const char *text, size_t len, size_t from)
{
    span none = {len, len}, found = none;
    const char *question = memchr(text, '?', len);
    size_t i = question ? (size_t)(question - text) : len;
    while (i < len) {
        size_t start = i + 1;
        const char *next = memchr(text + start, '&', len - start);
        const char *equals = memchr(text + start, '=', len - start);
        i = next ? (size_t)(next - text) : len;
        if (!equals || equals >= text + i) {
            if (found.start < len) found.end = i;
            continue;
        }
        if (found.start < len && found.end > from) return found;
        size_t value = (size_t)(equals - text) + 1;
        found = is_secret_option(text + start, value - 1 - start) ? (span){value, i} : none;
    }
    return found.end > from ? found : none;
}

static size_t add_stars(char *out, size_t n, size_t size)
{
    for (int i = 0; i < 3 && n + 1 < size; i++) out[n++] = '*';
    return n;
}

void orm_url_redact(const char *text, size_t len, char *out, size_t out_size)
{
    if (out_size == 0) return;
    size_t n = 0, i = 0, scheme = scheme_length(text, len);
    if (scheme == 0) { /* whatever it is, it is no URL: show nothing of it */
        out[add_stars(out, 0, out_size)] = '\0';
        return;
    }
    span user = find_userinfo_secret(text, len, scheme + 3);
    span option = {0, 0};
    bool starred = false;
    while (i < len && n + 1 < out_size) {
        if (option.end <= i) option = find_option_secret(text, len, i);
        bool in_user = i >= user.start && i < user.end;
        bool in_option = i >= option.start && i < option.end;
        if (in_user || in_option) {
            i = in_user ? user.end : option.end;
            if (!starred) n = add_stars(out, n, out_size);
            starred = true;
            continue;
        }
        starred = false;
        unsigned char c = (unsigned char)text[i++];
        out[n++] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
    out[orm_utf8_cut(out, n, n)] = '\0';
}
