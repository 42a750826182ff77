/* fuzz_url.c - any bytes as a database URL.
 *
 * Properties: what is accepted is well formed and lies within the url; written back with every
 * byte of every part quoted it reads the same; a password is in no message and in no redacted
 * text, wherever it stands and whatever surrounds it.
 */
#include "fuzz.h"

#include "base/base.h"

static void check_part(const orm_url *url, orm_str part)
{
    if (!part.ptr) {
        FUZZ_CHECK(part.len == 0);
        return;
    }
    FUZZ_CHECK(part.ptr >= url->text && part.ptr + part.len < url->text + sizeof url->text);
    FUZZ_CHECK(part.ptr[part.len] == '\0' && strlen(part.ptr) == part.len);
    FUZZ_CHECK(orm_utf8_is_valid(part.ptr, part.len));
    for (size_t i = 0; i < part.len; i++)
        FUZZ_CHECK((unsigned char)part.ptr[i] >= 0x20 && part.ptr[i] != 0x7f);
}

static bool is_same(orm_str a, orm_str b)
{
    return a.len == b.len && !a.ptr == !b.ptr && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void add_quoted(orm_buf *out, const char *before, orm_str part)
{
    if (!part.ptr) return;
    orm_buf_adds(out, before);
    for (size_t i = 0; i < part.len; i++) orm_buf_addf(out, "%%%02X", (unsigned char)part.ptr[i]);
}

static void write_url(orm_buf *out, const orm_url *url)
{
    orm_buf_adds(out, url->dialect);
    if (url->driver.ptr) orm_buf_addf(out, "+%s", url->driver.ptr);
    orm_buf_adds(out, "://");
    add_quoted(out, "", url->user);
    add_quoted(out, ":", url->password);
    if (url->user.ptr) orm_buf_addc(out, '@');
    if (url->host.ptr && strchr(url->host.ptr, ':') &&
        strspn(url->host.ptr, "0123456789abcdefABCDEF:.") == url->host.len)
        orm_buf_addf(out, "[%s]", url->host.ptr);
    else
        add_quoted(out, "", url->host);
    if (url->port) orm_buf_addf(out, ":%u", (unsigned)url->port);
    add_quoted(out, "/", url->database);
    for (size_t i = 0; i < url->n_options; i++) {
        add_quoted(out, i ? "&" : "?", url->options[i].name);
        add_quoted(out, "=", url->options[i].value);
    }
}

static void check_round_trip(const orm_url *url)
{
    static orm_url again;
    orm_buf text;
    orm_buf_init(&text, 0);
    write_url(&text, url);
    FUZZ_CHECK(orm_url_parse(text.ptr, text.len, &again, NULL) == ORM_OK);
    orm_buf_dispose(&text);
    FUZZ_CHECK(strcmp(again.dialect, url->dialect) == 0 && again.port == url->port);
    FUZZ_CHECK(is_same(again.driver, url->driver) && is_same(again.user, url->user));
    FUZZ_CHECK(is_same(again.password, url->password) && is_same(again.host, url->host));
    FUZZ_CHECK(is_same(again.database, url->database) && again.n_options == url->n_options);
    for (size_t i = 0; i < url->n_options; i++)
        FUZZ_CHECK(is_same(again.options[i].name, url->options[i].name) &&
                   is_same(again.options[i].value, url->options[i].value));
}

static void check_url(const char *text, size_t len)
{
    static orm_url url;
    orm_error err = {0};
    if (orm_url_parse(text, len, &url, &err) < 0) {
        FUZZ_CHECK(err.status == ORM_ECONFIG && err.message[0] && url.dialect[0] == '\0');
        return;
    }
    FUZZ_CHECK(err.status == 0 && url.dialect[0]);
    check_part(&url, url.driver);
    check_part(&url, url.user);
    check_part(&url, url.password);
    check_part(&url, url.host);
    check_part(&url, url.database);
    for (size_t i = 0; i < url.n_options; i++) {
        check_part(&url, url.options[i].name);
        check_part(&url, url.options[i].value);
        FUZZ_CHECK(url.options[i].name.len > 0);
    }
    check_round_trip(&url);
}

static void check_redacted(const char *text, size_t len, const char *secret)
{
    char out[600];
    size_t sizes[] = {sizeof out, 1 + len % 60};
    for (size_t i = 0; i < ORM_COUNT(sizes); i++) {
        memset(out, 'x', sizeof out);
        orm_url_redact(text, len, out, sizes[i]);
        FUZZ_CHECK(memchr(out, '\0', sizes[i]) != NULL);
        if (secret) FUZZ_CHECK(!strstr(out, secret));
    }
}

/* The bytes as what stands before and behind a secret in a password. */
static void check_secret(const char *text, size_t len, const char *before, const char *behind)
{
    static orm_url url;
    static const char secret[] = "S3CR3T!";
    orm_error err = {0};
    orm_buf whole;
    orm_buf_init(&whole, 0);
    orm_buf_adds(&whole, before);
    orm_buf_add(&whole, text, len / 2);
    orm_buf_adds(&whole, secret);
    orm_buf_add(&whole, text + len / 2, len - len / 2);
    orm_buf_adds(&whole, behind);
    (void)orm_url_parse(whole.ptr, whole.len, &url, &err);
    FUZZ_CHECK(!strstr(err.message, secret));
    check_redacted(whole.ptr, whole.len, secret);
    orm_error_scrub(whole.ptr);
    FUZZ_CHECK(orm_utf8_cut(whole.ptr, strlen(whole.ptr), whole.len) <= whole.len);
    orm_buf_dispose(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    check_url(text, size);
    check_redacted(text, size, NULL);
    check_secret(text, size, "postgresql://ann:", "@db/x");
    if (!memchr(text, '&', size)) check_secret(text, size, "mysql://db/x?y=1&password=", "&z=1");
    return 0;
}
