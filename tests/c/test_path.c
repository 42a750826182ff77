#include "fixture.h"

#include <stdio.h>

static orm_status resolve(const orm_schema *schema, const char *model, const char *text, int accept,
                          orm_path *path, orm_error *err)
{
    return orm_path_resolve(fixture_model(schema, model), text, strlen(text), accept, path, err);
}

static void test_steps(void **state)
{
    orm_path p;
    orm_error err;
    ORM_TEST_OK(
        resolve(*state, "Track", "album__publisher__name__iexact", ORM_PATH_LOOKUP, &p, &err),
        &err);
    assert_int_equal(p.depth, 2);
    assert_int_equal(p.steps[0], 1);
    assert_int_equal(p.steps[1], 2);
    assert_int_equal(p.field, 1);
    assert_int_equal(p.lookup, ORM_LOOKUP_IEXACT);
    assert_string_equal(orm_model_name(orm_path_model(&p)), "Publisher");
    assert_string_equal(orm_path_field(&p)->def.name, "name");
    assert_int_equal(orm_path_type(&p), ORM_TYPE_TEXT);
    assert_string_equal(orm_path_step_model(&p, 1)->name, "Album");
}

static void test_ends_at_relation(void **state)
{
    orm_path p;
    orm_error err;
    ORM_TEST_OK(resolve(*state, "Track", "album__publisher", ORM_PATH_RELATION, &p, &err), &err);
    assert_int_equal(p.depth, 1);
    assert_int_equal(p.field, 2);
    assert_int_equal(orm_path_type(&p), ORM_TYPE_INT32);
    ORM_TEST_OK(resolve(*state, "Track", "album__in", ORM_PATH_LOOKUP, &p, &err), &err);
    assert_int_equal(p.depth, 0);
    assert_int_equal(p.lookup, ORM_LOOKUP_IN);
    ORM_TEST_OK(resolve(*state, "Track", "album__pk", ORM_PATH_LOOKUP, &p, &err), &err);
    assert_int_equal(p.depth, 1);
    assert_int_equal(p.field, 0);
}

static void test_order_and_field(void **state)
{
    orm_path p, q;
    orm_error err;
    ORM_TEST_OK(resolve(*state, "Track", "-album__name", ORM_PATH_ORDER, &p, &err), &err);
    assert_int_equal(p.descending, 1);
    ORM_TEST_OK(resolve(*state, "Track", "album__name", ORM_PATH_ORDER, &q, &err), &err);
    assert_int_equal(q.descending, 0);
    assert_true(p.hash != q.hash);
    ORM_TEST_OK(resolve(*state, "Track", "pk", ORM_PATH_FIELD, &p, &err), &err);
    assert_int_equal(p.field, 0);
    assert_int_equal(resolve(*state, "Track", "album__name", ORM_PATH_FIELD, &p, &err), ORM_EFIELD);
    assert_int_equal(resolve(*state, "Track", "-title", ORM_PATH_FIELD, &p, &err), ORM_EFIELD);
    assert_int_equal(resolve(*state, "Track", "title__exact", ORM_PATH_FIELD, &p, &err),
                     ORM_EFIELD);
    assert_int_equal(resolve(*state, "Track", "-title", ORM_PATH_LOOKUP, &p, &err), ORM_EFIELD);
}

/* Equal names give equal paths, byte for byte: they are compared and hashed so. */
static void test_plain_value(void **state)
{
    orm_path p, q;
    orm_error err;
    memset(&p, 0x55, sizeof p);
    memset(&q, 0xAA, sizeof q);
    ORM_TEST_OK(resolve(*state, "Track", "title", ORM_PATH_LOOKUP, &p, &err), &err);
    ORM_TEST_OK(resolve(*state, "Track", "title__exact", ORM_PATH_LOOKUP, &q, &err), &err);
    assert_memory_equal(&p, &q, sizeof p);
}

static void test_all_lookups(void **state)
{
    orm_path p;
    orm_error err;
    for (int i = 0; i < ORM_LOOKUP_COUNT; i++) {
        char text[64];
        bool moment = i >= ORM_LOOKUP_YEAR;
        snprintf(text, sizeof text, "%s__%s", moment ? "moment" : "text", orm_lookup_name(i));
        ORM_TEST_OK(resolve(*state, "Everything", text, ORM_PATH_LOOKUP, &p, &err), &err);
        assert_int_equal(p.lookup, i);
    }
    assert_string_equal(orm_lookup_name(-1), "?");
    assert_string_equal(orm_lookup_name(ORM_LOOKUP_COUNT), "?");
}

static void test_fits(void **state)
{
    (void)state;
    static const int always[] = {ORM_LOOKUP_EXACT, ORM_LOOKUP_NE, ORM_LOOKUP_IN, ORM_LOOKUP_NOT_IN,
                                 ORM_LOOKUP_ISNULL};
    for (int type = ORM_TYPE_BOOL; type < ORM_TYPE_REF; type++) {
        for (size_t i = 0; i < ORM_COUNT(always); i++)
            assert_true(orm_lookup_fits(always[i], type));
        bool text = type == ORM_TYPE_TEXT || type == ORM_TYPE_IP;
        assert_int_equal(orm_lookup_fits(ORM_LOOKUP_CONTAINS, type), text);
        assert_int_equal(orm_lookup_fits(ORM_LOOKUP_IREGEX, type), text);
        assert_int_equal(orm_lookup_fits(ORM_LOOKUP_DATE, type),
                         type == ORM_TYPE_DATETIME || type == ORM_TYPE_DATETIMETZ);
    }
}

/* What no user's text may get through: every one is an error that names it in one short line. */
static void test_hostile(void **state)
{
    static const char *const texts[] = {"",           "_",
                                        "__",         "___",
                                        "a__b__c",    "_connector",
                                        "_negated",   "__pk_only__",
                                        "__class__",  "title__",
                                        "__title",    "title____x",
                                        "album____",  "album__ __name",
                                        "title\"",    "title;--",
                                        "title'",     "id OR 1=1",
                                        "album.name", "title__exact__exact",
                                        "pk__pk",     "album__pk__pk",
                                        "\x01\x02",   "\xff\xfe",
                                        "title\n",    "PK",
                                        "Title",      "title__EXACT"};
    static const int accepts[] = {ORM_PATH_LOOKUP, ORM_PATH_ORDER, ORM_PATH_RELATION,
                                  ORM_PATH_FIELD};
    orm_path p;
    orm_error err;
    for (size_t i = 0; i < ORM_COUNT(texts); i++) {
        for (size_t k = 0; k < ORM_COUNT(accepts); k++) {
            assert_int_equal(resolve(*state, "Track", texts[i], accepts[k], &p, &err), ORM_EFIELD);
            assert_true(strlen(err.message) > 0 && strlen(err.message) < 225);
            assert_null(strchr(err.message, '\n'));
            assert_true(orm_utf8_is_valid(err.message, strlen(err.message)));
        }
    }
    const orm_model *track = fixture_model(*state, "Track");
    assert_int_equal(orm_path_resolve(track, "title\0x", 7, ORM_PATH_LOOKUP, &p, &err), ORM_EFIELD);
    assert_int_equal(orm_path_resolve(track, "title__exact\0", 13, ORM_PATH_LOOKUP, &p, &err),
                     ORM_EFIELD);
    static char big[10240];
    memset(big, 'a', sizeof big);
    assert_int_equal(orm_path_resolve(track, big, sizeof big, ORM_PATH_LOOKUP, &p, &err),
                     ORM_EFIELD);
    assert_non_null(strstr(err.message, "aaa..."));
    memset(big, '_', sizeof big);
    assert_int_equal(orm_path_resolve(track, big, sizeof big, ORM_PATH_LOOKUP, &p, &err),
                     ORM_EFIELD);
    assert_int_equal(orm_path_resolve(NULL, "a", 1, ORM_PATH_LOOKUP, &p, &err), ORM_EMISUSE);
}

static void test_depth(void **state)
{
    orm_path p;
    orm_error err;
    char text[200] = "in";
    for (int depth = 1; depth <= ORM_PATH_DEPTH + 1; depth++) {
        memmove(text + 8, text, strlen(text) + 1);
        memcpy(text, "parent__", 8);
        orm_status status = resolve(*state, "Node", text, ORM_PATH_LOOKUP, &p, &err);
        assert_int_equal(status, depth <= ORM_PATH_DEPTH ? ORM_OK : ORM_EFIELD);
    }
    assert_non_null(strstr(err.message, "at most 12 relations"));
}

static void assert_message(const orm_schema *schema, const char *model, const char *text,
                           int accept, const char *wanted)
{
    orm_path p;
    orm_error err;
    assert_int_equal(resolve(schema, model, text, accept, &p, &err), ORM_EFIELD);
    /* without memory a message does without its hints */
    if (orm_test_lacks_memory())
        assert_memory_equal(err.message, wanted, strcspn(wanted, ";"));
    else
        assert_string_equal(err.message, wanted);
}

static void test_messages(void **state)
{
    assert_message(*state, "Track", "titel", ORM_PATH_LOOKUP,
                   "Track has no field 'titel'; nearest: 'title'");
    assert_message(*state, "Seat", "pk", ORM_PATH_LOOKUP,
                   "Seat has a key of 2 fields, 'pk' cannot stand for them: name the fields");
    assert_message(*state, "Track", "position__contains", ORM_PATH_LOOKUP,
                   "lookup 'contains' does not apply to Track.position (integer)");
    assert_message(*state, "Track", "title", ORM_PATH_RELATION, "Track has no relation 'title'");
}

static orm_status path_body(void *arg)
{
    orm_path p;
    orm_error err;
    orm_status wrong = resolve(arg, "Track", "album__nmae", ORM_PATH_LOOKUP, &p, &err);
    if (wrong != ORM_EFIELD) return wrong;
    return resolve(arg, "Track", "album__name", ORM_PATH_LOOKUP, &p, &err);
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(path_body, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_steps),           FIXTURE_TEST(test_ends_at_relation),
        FIXTURE_TEST(test_order_and_field), FIXTURE_TEST(test_plain_value),
        FIXTURE_TEST(test_all_lookups),     FIXTURE_TEST(test_fits),
        FIXTURE_TEST(test_hostile),         FIXTURE_TEST(test_depth),
        FIXTURE_TEST(test_messages),        FIXTURE_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
