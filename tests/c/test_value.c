#include "harness.h"

static int released;

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void test_own_copies_bytes(void **state)
{
    (void)state;
    char bytes[] = "a\0b";
    orm_value copy, in = orm_textn(bytes, 3);
    assert_int_equal(orm_value_own(&copy, &in, NULL), ORM_OK);
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(copy.kind, ORM_V_TEXT);
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.as.ptr, "a\0b", 4);
    orm_value_dispose(&copy);
    assert_int_equal(copy.kind, ORM_V_NULL);
    assert_null(copy.release);
    orm_value_dispose(&copy);
    orm_value_dispose(NULL);
}

static void test_own_keeps_plain_values(void **state)
{
    (void)state;
    size_t before = orm_test_allocations();
    const orm_value plain[] = {orm_null(), orm_bool(true), orm_int(INT64_MIN), orm_float(1.5)};
    for (size_t i = 0; i < ORM_COUNT(plain); i++) {
        orm_value copy;
        assert_int_equal(orm_value_own(&copy, &plain[i], NULL), ORM_OK);
        assert_int_equal(copy.kind, plain[i].kind);
        assert_int_equal(copy.as.i, plain[i].as.i);
        orm_value_dispose(&copy);
    }
    assert_int_equal(orm_test_allocations(), before);
    orm_value text = orm_text(NULL);
    assert_int_equal(text.kind, ORM_V_NULL);
}

static void test_own_takes_what_has_a_release(void **state)
{
    (void)state;
    char bytes[] = "abc";
    orm_value copy, in = orm_text(bytes);
    in.release = count_release;
    in.owner = &released;
    released = 0;
    assert_int_equal(orm_value_own(&copy, &in, NULL), ORM_OK);
    assert_ptr_equal(copy.as.ptr, bytes);
    orm_value_dispose(&copy);
    orm_value_dispose(&copy);
    assert_int_equal(released, 1);
}

static void test_own_copies_lists_deeply(void **state)
{
    (void)state;
    char name[] = "abc", owned[] = "def";
    orm_value inner[] = {orm_text(name), orm_int(7)};
    orm_value outer[] = {orm_list(inner, 2), orm_text(owned), orm_list(NULL, 0)};
    outer[1].release = count_release;
    outer[1].owner = &released;
    released = 0;
    orm_value copy, in = orm_list(outer, 3);
    assert_int_equal(orm_value_own(&copy, &in, NULL), ORM_OK);
    memset(name, 'x', 3);
    memset(inner, 0xff, sizeof inner);
    memset(outer, 0xff, sizeof outer);
    const orm_value *members = copy.as.list;
    assert_int_equal(copy.len, 3);
    assert_memory_equal(members[0].as.list[0].as.ptr, "abc", 3);
    assert_int_equal(members[0].as.list[1].as.i, 7);
    assert_ptr_equal(members[1].as.ptr, owned);
    assert_int_equal(members[2].len, 0);
    assert_int_equal(released, 0);
    orm_value_dispose(&copy);
    assert_int_equal(released, 1);
}

/* A taken list without an owner: its members are ended all the same. */
static void test_dispose_ends_members(void **state)
{
    (void)state;
    orm_value inner[] = {orm_text("a")}, outer[] = {orm_int(1), orm_list(inner, 1)};
    inner[0].release = count_release;
    inner[0].owner = &released;
    released = 0;
    orm_value list = orm_list(outer, 2);
    orm_value_dispose(&list);
    assert_int_equal(released, 1);
}

static void test_lists_nested_too_deep(void **state)
{
    (void)state;
    orm_value lists[100];
    orm_error err;
    lists[0] = orm_list(NULL, 0);
    for (size_t i = 1; i < ORM_COUNT(lists); i++) lists[i] = orm_list(&lists[i - 1], 1);
    size_t before = orm_test_blocks();
    orm_value copy;
    assert_int_equal(orm_value_own(&copy, &lists[99], &err), ORM_EDATA);
    assert_non_null(strstr(err.message, "32"));
    assert_int_equal(copy.kind, ORM_V_NULL);
    assert_int_equal(orm_test_blocks(), before);
    assert_int_equal(orm_value_own(&copy, &lists[31], &err), ORM_OK);
    orm_value_dispose(&copy);
    orm_value huge = orm_list(lists, SIZE_MAX / 2);
    assert_int_equal(orm_value_own(&copy, &huge, &err), ORM_ENOMEM);
}

static void test_queries_pass_through(void **state)
{
    (void)state;
    orm_value copy, in = orm_null();
    int query;
    in.kind = ORM_V_QUERY;
    in.as.query = (orm_query *)(void *)&query;
    in.release = count_release;
    in.owner = &released;
    released = 0;
    assert_int_equal(orm_value_own(&copy, &in, NULL), ORM_OK);
    assert_ptr_equal(copy.as.query, &query);
    orm_value_dispose(&copy);
    assert_int_equal(released, 1);
}

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(orm_value_kind_name(ORM_V_TEXT), "text");
    assert_string_equal(orm_value_kind_name(ORM_V_QUERY), "query");
    for (int kind = ORM_V_NULL; kind <= ORM_V_QUERY; kind++)
        assert_non_null(orm_value_kind_name(kind));
    assert_string_equal(orm_value_kind_name(14), "unknown value");
    assert_string_equal(orm_value_kind_name(-1), "unknown value");
}

/* A failed copy leaves what it was to take with its owner. */
static orm_status own_list(void *arg)
{
    (void)arg;
    orm_value inner[] = {orm_text("a"), orm_text("b"), orm_text("c")};
    orm_value outer[] = {orm_text("d"), orm_list(inner, 3), orm_bytes("e", 1), orm_int(1)};
    inner[1].release = count_release;
    inner[1].owner = &released;
    released = 0;
    orm_value copy, in = orm_list(outer, 4);
    orm_status status = orm_value_own(&copy, &in, NULL);
    assert_int_equal(released, 0);
    orm_value_dispose(status < 0 ? &in : &copy);
    assert_int_equal(released, 1);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(own_list, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_copies_bytes),
        cmocka_unit_test(test_own_keeps_plain_values),
        cmocka_unit_test(test_own_takes_what_has_a_release),
        cmocka_unit_test(test_own_copies_lists_deeply),
        cmocka_unit_test(test_dispose_ends_members),
        cmocka_unit_test(test_lists_nested_too_deep),
        cmocka_unit_test(test_queries_pass_through),
        cmocka_unit_test(test_kind_names),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
