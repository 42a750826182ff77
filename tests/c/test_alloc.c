#include "harness.h"

#include <stdlib.h>

static void test_alloc_gives_blocks_of_their_own(void **state)
{
    (void)state;
    size_t before = orm_test_blocks();
    void *a = orm_alloc(0), *b = orm_alloc(0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_int_equal(orm_test_blocks(), before + 2);
    orm_dealloc(a);
    orm_dealloc(b);
    orm_dealloc(NULL);
    assert_int_equal(orm_test_blocks(), before);
}

static void test_alloc0_is_zero(void **state)
{
    (void)state;
    char zeros[300] = {0};
    char *p = orm_alloc(sizeof zeros);
    assert_non_null(p);
    memset(p, 0xff, sizeof zeros);
    orm_dealloc(p);
    p = orm_alloc0(sizeof zeros);
    assert_non_null(p);
    assert_memory_equal(p, zeros, sizeof zeros);
    orm_dealloc(p);
}

static void test_realloc_keeps_the_bytes(void **state)
{
    (void)state;
    char *p = orm_realloc(NULL, 4);
    assert_non_null(p);
    memcpy(p, "abc", 4);
    p = orm_realloc(p, 100000);
    assert_non_null(p);
    assert_string_equal(p, "abc");
    p = orm_realloc(p, 2);
    assert_non_null(p);
    assert_memory_equal(p, "ab", 2);
    orm_dealloc(p);
}

static void test_strdup_terminates(void **state)
{
    (void)state;
    char *p = orm_strdup_n("abc", 2);
    assert_non_null(p);
    assert_string_equal(p, "ab");
    orm_dealloc(p);
    p = orm_strdup_n(NULL, 0);
    assert_non_null(p);
    assert_string_equal(p, "");
    orm_dealloc(p);
    assert_null(orm_strdup_n("abc", SIZE_MAX));
}

static size_t calls;

static void *own_alloc(void *p, size_t size, void *user)
{
    ++*(size_t *)user;
    if (size) return realloc(p, size);
    free(p);
    return NULL;
}

/* Last in the list: it takes the harness's allocator away. */
static void test_set_allocator_replaces_it(void **state)
{
    (void)state;
    size_t before = orm_test_blocks();
    orm_set_allocator(own_alloc, &calls);
    void *p = orm_alloc(10);
    p = orm_realloc(p, 20);
    orm_dealloc(p);
    assert_int_equal(calls, 3);
    orm_set_allocator(NULL, NULL);
    p = orm_alloc(10);
    assert_non_null(p);
    orm_dealloc(p);
    assert_int_equal(calls, 3);
    assert_int_equal(orm_test_blocks(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_gives_blocks_of_their_own),
        cmocka_unit_test(test_alloc0_is_zero),
        cmocka_unit_test(test_realloc_keeps_the_bytes),
        cmocka_unit_test(test_strdup_terminates),
        cmocka_unit_test(test_set_allocator_replaces_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
