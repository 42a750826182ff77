#include "harness.h"

static void check_str(orm_str actual, const char *expected, const char *url, const char *part)
{
    bool same = expected ? actual.ptr && actual.len == strlen(expected) &&
                               memcmp(actual.ptr, expected, actual.len + 1) == 0
                         : !actual.ptr && actual.len == 0;
    if (!same)
        fail_msg("%s: %s is '%.*s', expected '%s'", url, part, (int)actual.len,
                 actual.ptr ? actual.ptr : "", expected ? expected : "(none)");
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *url, *dialect, *driver, *user, *password, *host;
        int port;
        const char *database;
    } cases[] = {
        {"sqlite:///rel.db", "sqlite", NULL, NULL, NULL, NULL, 0, "rel.db"},
        {"sqlite:////abs/a b.db", "sqlite", NULL, NULL, NULL, NULL, 0, "/abs/a b.db"},
        {"sqlite:///:memory:", "sqlite", NULL, NULL, NULL, NULL, 0, ":memory:"},
        {"sqlite://", "sqlite", NULL, NULL, NULL, NULL, 0, ":memory:"},
        {"sqlite:///", "sqlite", NULL, NULL, NULL, NULL, 0, ":memory:"},
        {"sqlite://?mode=ro", "sqlite", NULL, NULL, NULL, NULL, 0, ":memory:"},
        {"sqlite+aiosqlite:///a@b:c#d%3fe%23.db", "sqlite", "aiosqlite", NULL, NULL, NULL, 0,
         "a@b:c#d?e#.db"},
        {"SQLite:///x", "sqlite", NULL, NULL, NULL, NULL, 0, "x"},
        {"postgresql://ann:s3cret@db.example:5433/shop", "postgresql", NULL, "ann", "s3cret",
         "db.example", 5433, "shop"},
        {"postgres://db", "postgresql", NULL, NULL, NULL, "db", 0, NULL},
        {"postgresql:///shop", "postgresql", NULL, NULL, NULL, NULL, 0, "shop"},
        {"postgresql://", "postgresql", NULL, NULL, NULL, NULL, 0, NULL},
        {"postgresql+asyncpg://ann@db/", "postgresql", "asyncpg", "ann", NULL, "db", 0, NULL},
        {"postgresql://ann:@db/x", "postgresql", NULL, "ann", "", "db", 0, "x"},
        {"postgresql://:p@db/x", "postgresql", NULL, "", "p", "db", 0, "x"},
        {"postgresql://a%40b:p%3A%2f%25%c3%a4@db/x%2Fy", "postgresql", NULL, "a@b", "p:/%\xc3\xa4",
         "db", 0, "x/y"},
        {"postgresql://ann:p@q:r+s@db/x", "postgresql", NULL, "ann", "p@q:r+s", "db", 0, "x"},
        {"postgresql://ann:p@[2001:db8::1]:65535/x", "postgresql", NULL, "ann", "p", "2001:db8::1",
         65535, "x"},
        {"postgresql://[::ffff:1.2.3.4]/x", "postgresql", NULL, NULL, NULL, "::ffff:1.2.3.4", 0,
         "x"},
        {"postgresql://%2Fvar%2Frun:1/x", "postgresql", NULL, NULL, NULL, "/var/run", 1, "x"},
        {"mysql+aiomysql://root@127.0.0.1:3306/x", "mariadb", "aiomysql", "root", NULL, "127.0.0.1",
         3306, "x"},
        {"mariadb://h/x", "mariadb", NULL, NULL, NULL, "h", 0, "x"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        const char *text = cases[i].url;
        orm_url url;
        orm_error err;
        ORM_TEST_OK(orm_url_parse(text, strlen(text), &url, &err), &err);
        assert_string_equal(url.dialect, cases[i].dialect);
        check_str(url.driver, cases[i].driver, text, "driver");
        check_str(url.user, cases[i].user, text, "user");
        check_str(url.password, cases[i].password, text, "password");
        check_str(url.host, cases[i].host, text, "host");
        check_str(url.database, cases[i].database, text, "database");
        assert_int_equal(url.port, cases[i].port);
    }
}

static void test_options(void **state)
{
    (void)state;
    static const char text[] = "sqlite:///a.db?journal_mode=wal&&x%20y=1+2%2b&empty=&eq=a=b&q=?/@&";
    static const char *const expected[][2] = {
        {"journal_mode", "wal"}, {"x y", "1+2+"}, {"empty", ""}, {"eq", "a=b"}, {"q", "?/@"}};
    orm_url url;
    ORM_TEST_OK(orm_url_parse(text, strlen(text), &url, NULL), NULL);
    check_str(url.database, "a.db", text, "database");
    assert_int_equal(url.n_options, ORM_COUNT(expected));
    for (size_t i = 0; i < ORM_COUNT(expected); i++) {
        check_str(url.options[i].name, expected[i][0], text, "name");
        check_str(url.options[i].value, expected[i][1], text, "value");
    }
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *url, *expected; /* what the message tells */
    } cases[] = {
        {"", "something like sqlite:///"},
        {"rel.db", "something like sqlite:///"},
        {"sqlite:/rel.db", "something like sqlite:///"},
        {"://h/x", "something like sqlite:///"},
        {" sqlite:///x", "something like sqlite:///"},
        {"oracle://h/x", "one of sqlite, postgresql, mysql, mariadb"},
        {"sqlitefoo:///x", "one of sqlite"},
        {"+x://h", "one of sqlite"},
        {"sqlite://rel.db", "three slashes"},
        {"sqlite:///a%", "%25"},
        {"sqlite:///a%2", "%25"},
        {"sqlite:///a%zz", "%25"},
        {"sqlite:///a%00b", "control"},
        {"sqlite:///a\nb", "control"},
        {"sqlite:///a%7F", "control"},
        {"sqlite:///a%ff", "UTF-8"},
        {"sqlite:///a%ed%a0%80", "UTF-8"},
        {"sqlite:///a?x", "name=value"},
        {"sqlite:///a?=x", "name=value"},
        {"postgresql://h:0/x", "port"},
        {"postgresql://h:65536/x", "port"},
        {"postgresql://h:/x", "port"},
        {"postgresql://h:12a/x", "port"},
        {"postgresql://h:000000000000001/x", "port"},
        {"postgresql://[::1/x", "IPv6"},
        {"postgresql://[]/x", "IPv6"},
        {"postgresql://[db]/x", "IPv6"},
        {"postgresql://[::1]x/x", "port or /"},
        {"postgresql://a,b/x", "one host"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_url url;
        orm_error err;
        if (orm_url_parse(cases[i].url, strlen(cases[i].url), &url, &err) != ORM_ECONFIG ||
            err.status != ORM_ECONFIG || !strstr(err.message, cases[i].expected))
            fail_msg("'%s': '%s'", cases[i].url, err.message);
        assert_string_equal(url.dialect, "");
        assert_null(url.password.ptr);
    }
    orm_url url;
    assert_int_equal(orm_url_parse("sqlite:///a\0b", 13, &url, NULL), ORM_ECONFIG);
}

static void test_limits(void **state)
{
    (void)state;
    char text[6000] = "sqlite:///";
    orm_url url;
    orm_error err;
    memset(text + 10, 'a', sizeof text - 10);
    assert_int_equal(orm_url_parse(text, 10 + 4095, &url, &err), ORM_OK);
    assert_int_equal(url.database.len, 4095);
    assert_int_equal(orm_url_parse(text, 10 + 4096, &url, &err), ORM_ECONFIG);
    assert_int_equal(orm_url_parse(text, sizeof text, &url, &err), ORM_ECONFIG);
    orm_buf many;
    orm_buf_init(&many, 0);
    orm_buf_adds(&many, "sqlite:///x?");
    for (int i = 0; i < ORM_URL_OPTIONS; i++) orm_buf_addf(&many, "o%d=%d&", i, i);
    ORM_TEST_OK(orm_buf_status(&many, NULL), NULL);
    assert_int_equal(orm_url_parse(many.ptr, many.len, &url, &err), ORM_OK);
    orm_buf_adds(&many, "y=1");
    ORM_TEST_OK(orm_buf_status(&many, NULL), NULL);
    assert_int_equal(orm_url_parse(many.ptr, many.len, &url, &err), ORM_ECONFIG);
    orm_buf_dispose(&many);
}

static void test_redact(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"sqlite:///rel.db", "sqlite:///rel.db"},
        {"postgresql://ann:s3cret@db:5432/x", "postgresql://ann:***@db:5432/x"},
        {"postgresql://ann@db:5432/x", "postgresql://ann@db:5432/x"},
        {"postgresql://db:5432/x?a=b", "postgresql://db:5432/x?a=b"},
        {"postgresql://[::1]:5432/x", "postgresql://[::1]:5432/x"},
        {"postgresql://ann:@db/x", "postgresql://ann:@db/x"},
        {"postgresql://ann:s3/cr@e?t@db/x", "postgresql://ann:***@db/x"},
        {"postgresql://ann:12/34?x=5@db/x", "postgresql://ann:***@db/x"},
        {"postgresql://ann:s3cret", "postgresql://ann:***"},
        {"postgresql://ann:s3cret/db", "postgresql://ann:***"},
        {"postgresql://[::1:s3cret", "postgresql://[::1:s3cret"},
        {"mysql://h/x?password=s3cret&y=1", "mysql://h/x?password=***&y=1"},
        {"mysql://h/x?y=1&ssl_PassWord=s3&cr&et", "mysql://h/x?y=1&ssl_PassWord=***"},
        {"mysql://h/x?p%61ssword=s3cret", "mysql://h/x?p%61ssword=***"},
        {"mysql://u:s3@h/x?password=cr@et&y=1", "mysql://u:***&y=1"},
        {"mysql://h/x?token=s3cret&pwd=s3cret&key=s3cret", "mysql://h/x?token=***&pwd=***&key=***"},
        {"mysql://h/x?keepalive=5&y", "mysql://h/x?keepalive=5&y"},
        {"foo://u:s3cret@h", "foo://u:***@h"},
        {"mysql://u%3as3cret@h", "mysql://***@h"},
        {"mysql://u/s3cret@h", "mysql://***@h"},
        {"u:s3cret@h", "***"},
        {"u:s3://cret@h", "***"},
        {"", "***"},
        {"sqlite:///a\nb", "sqlite:///a b"},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        char shown[200], cut[12];
        orm_url_redact(cases[i].url, strlen(cases[i].url), shown, sizeof shown);
        assert_string_equal(shown, cases[i].shown);
        orm_url_redact(cases[i].url, strlen(cases[i].url), cut, sizeof cut);
        assert_true(strlen(cut) < sizeof cut);
        assert_memory_equal(cut, cases[i].shown, strlen(cut));
    }
    char untouched = 'x', cut[17];
    orm_url_redact("sqlite:///x", 11, &untouched, 0);
    assert_int_equal(untouched, 'x');
    orm_url_redact("sqlite:///abcde\xc3\xa4", 17, cut, sizeof cut);
    assert_string_equal(cut, "sqlite:///abcde"); /* not half a character */
}

/* A password at any place of a URL that is broken in any byte never reaches the message. */
static void test_messages_hold_no_password(void **state)
{
    (void)state;
    static const char whole[] = "postgresql://ann:s3cret@[::1]:99/x?password=s3cret&a=1";
    static const char breaks[] = "%/?@:[]&=, \x01\xff";
    int n_failed = 0;
    for (size_t at = 0; at < sizeof whole - 1; at++) {
        for (size_t k = 0; k < sizeof breaks; k++) {
            char text[sizeof whole];
            orm_url url;
            orm_error err = {0};
            memcpy(text, whole, sizeof whole);
            text[at] = breaks[k];
            if (orm_url_parse(text, sizeof whole - 1, &url, &err) >= 0) continue;
            n_failed++;
            if (strstr(err.message, "cret") || strstr(err.message, "s3"))
                fail_msg("'%s': %s", text, err.message);
        }
    }
    assert_in_range(n_failed, 100, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),     cmocka_unit_test(test_options),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_redact),    cmocka_unit_test(test_messages_hold_no_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
