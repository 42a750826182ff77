/* The table of plans: hits, what is dropped when it is full, histories; and prepared statements
 * that follow it.
 */
#include "engine_fixture.h"

#include "engine/engine.h"

static orm_plan *make(uint64_t key, const uint64_t *words, size_t n)
{
    orm_plan *plan = orm_plan_new_raw("SELECT 1", 8, key, words, n);
    assert_non_null(plan);
    return plan;
}

static void test_words_decide(void **state)
{
    (void)state;
    orm_plans plans;
    uint64_t one[] = {1, 2}, two[] = {1, 3};
    assert_int_equal(orm_plans_init(&plans, 4, NULL), ORM_OK);
    orm_plan *a = make(7, one, 2), *b = make(7, two, 2);
    orm_plans_add(&plans, a);
    assert_null(orm_plans_find(&plans, 7, two, 2));
    orm_plans_add(&plans, b);
    orm_plan *found = orm_plans_find(&plans, 7, two, 2);
    assert_ptr_equal(found, b);
    orm_plan_unref(found);
    assert_null(orm_plans_find(&plans, 7, one, 1));
    assert_null(orm_plans_find(&plans, 8, one, 2));
    assert_true(a->serial != b->serial && a->slot != b->slot);
    orm_plan_unref(a);
    orm_plan_unref(b);
    orm_plans_dispose(&plans);
}

static void test_a_full_table_drops_what_was_not_used(void **state)
{
    (void)state;
    enum {
        SIZE = 8
    };
    orm_plans plans;
    assert_int_equal(orm_plans_init(&plans, SIZE, NULL), ORM_OK);
    uint64_t keep[] = {424242};
    orm_plan *kept = make(3, keep, 1);
    orm_plans_add(&plans, kept);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t word = i;
        orm_plan *plan = make(i % 5, &word, 1); /* many share a key: long runs of entries */
        orm_plans_add(&plans, plan);
        assert_ptr_equal(plans.slots[plan->slot], plan);
        orm_plan_unref(plan);
        orm_plan *found = orm_plans_find(&plans, 3, keep, 1);
        assert_ptr_equal(found, kept); /* used every time: it stays */
        orm_plan_unref(found);
    }
    assert_int_equal(plans.count, SIZE);
    int present = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t word = i;
        orm_plan *found = orm_plans_find(&plans, i % 5, &word, 1);
        present += found != NULL;
        orm_plan_unref(found);
    }
    assert_int_equal(present, SIZE - 1);
    orm_plan_unref(kept);
    orm_plans_dispose(&plans);
}

static void test_history(void **state)
{
    (void)state;
    uint64_t word = 1;
    orm_plan *plan = make(1, &word, 1);
    assert_false(orm_plan_is_quick(plan)); /* unknown */
    orm_plan_note_run(plan, 10 * ORM_QUICK_NS, 0);
    assert_false(orm_plan_is_quick(plan));
    orm_plan_note_run(plan, ORM_QUICK_NS / 2, 0);
    assert_true(orm_plan_is_quick(plan));
    orm_plan_note_run(plan, 10 * ORM_QUICK_NS, 10000); /* long, but quick for each row */
    assert_true(orm_plan_is_quick(plan));
    /* After each overflow it owes more quick runs. */
    for (int level = 1; level <= 12; level++) {
        orm_plan_note_overflow(plan);
        int owed = 0;
        for (; !orm_plan_is_quick(plan) && owed < 5000; owed++) orm_plan_note_run(plan, 1, 0);
        assert_int_equal(owed, 1 << (level < 10 ? level : 10));
    }
    plan->flags |= ORM_PLAN_BOUNDED;
    plan->history = 0;
    assert_true(orm_plan_is_quick(plan));
    orm_plan_note_run(plan, 1000 * ORM_QUICK_NS, 0); /* opening the file took long */
    assert_true(orm_plan_is_quick(plan));
    orm_plan_unref(plan);
}

static void test_many_texts_stay_bounded(void **state)
{
    world *w = *state, small = {.db = NULL};
    orm_error err;
    orm_db *db;
    ORM_TEST_OK(orm_open(w->url, &ORM_OPTIONS(.statement_cache_size = 8), &db, &err), &err);
    ORM_TEST_OK(orm_engine_new(db, &small.db, &err), &err);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 60; i++) {
            char sql[64];
            int len = snprintf(sql, sizeof sql, "SELECT %d", i);
            orm_op *op = orm_raw(small.db, sql, (size_t)len, NULL, 0, NULL, NULL);
            assert_int_equal(world_number(&small, op), 1);
        }
    }
    assert_int_equal(world_stats(&small).plans, 8);
    orm_buf large;
    orm_buf_init(&large, 0);
    orm_buf_adds(&large, "SELECT '");
    for (int i = 0; i < 4000; i++) orm_buf_adds(&large, "longtext");
    orm_buf_adds(&large, "'");
    ORM_TEST_OK(orm_buf_status(&large, &err), &err);
    for (int i = 0; i < 2; i++) RUN(orm_raw(small.db, large.ptr, large.len, NULL, 0, NULL, NULL));
    assert_int_equal(world_stats(&small).plans, 8);
    orm_buf_dispose(&large);
    orm_close_engine(small.db);
    orm_close(db);
}

static void test_equal_shapes_share_a_plan(void **state)
{
    world *w = *state;
    for (int i = 0; i < 10; i++)
        RUN(orm_exists(w->db, orm_query_where(albums(w), "id", orm_int(i))));
    uint64_t compiled = world_stats(w).plans_compiled;
    for (int i = 0; i < 10; i++)
        RUN(orm_exists(w->db, orm_query_where(albums(w), "id", orm_int(i))));
    assert_int_equal(world_stats(w).plans_compiled, compiled);
    RUN(orm_exists(w->db, orm_query_where(albums(w), "id", orm_null())));
    assert_int_equal(world_stats(w).plans_compiled, compiled + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_decide),
        cmocka_unit_test(test_a_full_table_drops_what_was_not_used),
        cmocka_unit_test(test_history),
        NORMAL_TEST(test_many_texts_stay_bounded),
        MEMORY_TEST(test_equal_shapes_share_a_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
