#include "harness.h"

static void test_pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    orm_arena arena;
    char *pieces[500];
    orm_arena_init(&arena, 0);
    for (size_t i = 0; i < ORM_COUNT(pieces); i++) {
        pieces[i] = orm_arena_alloc(&arena, i % 77);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xff), i % 77);
        if (i) assert_ptr_not_equal(pieces[i], pieces[i - 1]);
    }
    for (size_t i = 0; i < ORM_COUNT(pieces); i++)
        for (size_t k = 0; k < i % 77; k++) assert_int_equal((unsigned char)pieces[i][k], i & 0xff);
    orm_arena_dispose(&arena);
    assert_null(arena.head);
}

static void test_pieces_larger_than_a_chunk(void **state)
{
    (void)state;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    for (int i = 0; i < 4; i++) {
        char *large = orm_arena_alloc(&arena, 5000000), *small = orm_arena_alloc(&arena, 1);
        assert_non_null(large);
        assert_non_null(small);
        memset(large, 1, 5000000);
        *small = 2;
    }
    assert_true(arena.bytes >= 4 * 5000001);
    orm_arena_dispose(&arena);
}

static void test_absurd_sizes_are_refused(void **state)
{
    (void)state;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    assert_null(orm_arena_alloc(&arena, SIZE_MAX));
    assert_null(orm_arena_alloc(&arena, SIZE_MAX - 15));
    assert_null(orm_arena_copy(&arena, "x", SIZE_MAX));
    assert_int_equal(arena.bytes, 0);
    orm_arena_dispose(&arena);
}

static void test_copy_is_terminated(void **state)
{
    (void)state;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    const char *title = orm_arena_copy(&arena, "title", 3), *empty = orm_arena_copy(&arena, "", 0);
    const char *nul = orm_arena_copy(&arena, "a\0b", 3);
    assert_non_null(title);
    assert_non_null(empty);
    assert_non_null(nul);
    assert_string_equal(title, "tit");
    assert_string_equal(empty, "");
    assert_memory_equal(nul, "a\0b", 4);
    orm_arena_dispose(&arena);
}

static void test_chunks_grow(void **state)
{
    (void)state;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    size_t before = orm_test_blocks();
    for (int i = 0; i < 65536; i++) assert_non_null(orm_arena_alloc(&arena, 16));
#ifdef ORM_ARENA_DEBUG
    assert_int_equal(orm_test_blocks() - before, 65536); /* a block for every piece */
#else
    assert_in_range(orm_test_blocks() - before, 1, 16);
#endif
    orm_arena_dispose(&arena);
    assert_int_equal(orm_test_blocks(), before);
}

static void test_reset_starts_anew(void **state)
{
    (void)state;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    orm_arena_reset(&arena); /* also when nothing is there */
    for (int i = 0; i < 1000; i++) assert_non_null(orm_arena_alloc(&arena, 100));
    orm_arena_reset(&arena);
    assert_int_equal(arena.bytes, 0);
#ifndef ORM_ARENA_DEBUG
    size_t allocations = orm_test_allocations();
    for (int i = 0; i < 100; i++) assert_non_null(orm_arena_alloc(&arena, 100));
    assert_int_equal(orm_test_allocations(), allocations); /* the newest chunk was kept */
#endif
    orm_arena_dispose(&arena);
    orm_arena_dispose(&arena);
}

static orm_status fill(void *arg)
{
    (void)arg;
    orm_arena arena;
    orm_arena_init(&arena, 256);
    orm_status status = ORM_OK;
    for (int i = 0; i < 40 && status == ORM_OK; i++) {
        char *copy = orm_arena_copy(&arena, "a text of some length", 21);
        if (!copy) status = ORM_ENOMEM;
    }
    orm_arena_dispose(&arena);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    orm_test_with_failing_allocations(fill, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_apart),
        cmocka_unit_test(test_pieces_larger_than_a_chunk),
        cmocka_unit_test(test_absurd_sizes_are_refused),
        cmocka_unit_test(test_copy_is_terminated),
        cmocka_unit_test(test_chunks_grow),
        cmocka_unit_test(test_reset_starts_anew),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
