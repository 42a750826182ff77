#include "fixture.h"

#include <pthread.h>
#include <stdio.h>

static int released;
static void count_release(void *owner)
{
    ++*(int *)owner;
}

/* A text whose release is counted. */
static orm_value counted(const char *text)
{
    orm_value v = orm_text(text);
    v.release = count_release;
    v.owner = &released;
    return v;
}

static orm_query *start(void **state)
{
    released = 0;
    return orm_query_new(fixture_model(*state, "Track"));
}

/* NULL is the query that ran out of memory. */
static orm_query *made(orm_query *query)
{
    assert_non_null(query);
    return query;
}

static orm_path path_to(const orm_query *query, const char *text)
{
    orm_path path;
    orm_error err;
    assert_non_null(query);
    ORM_TEST_OK(
        orm_path_resolve(orm_query_model(query), text, strlen(text), ORM_PATH_LOOKUP, &path, &err),
        &err);
    return path;
}

static void assert_dump(orm_query *query, const char *wanted)
{
    orm_buf out;
    orm_buf_init(&out, 4096);
    orm_query_dump(made(query), &out);
    ORM_TEST_OK(orm_buf_status(&out, NULL), NULL);
    assert_string_equal(out.ptr, wanted);
    orm_buf_dispose(&out);
    orm_query_unref(query);
}

static void test_dump(void **state)
{
    orm_query *q = orm_query_where(start(state), "album__name__iexact", orm_text("x"));
    q = orm_query_limit(orm_query_exclude(q, "rating", orm_null()), 3);
    q = orm_query_select_related(orm_query_order_by(q, "-album__name"), "album");
    q = orm_query_set(orm_query_where(q, "id__in", orm_list(NULL, 0)), ORM_QUERY_LOAD_FILTERED);
    assert_dump(q, "Track.filter(album.name iexact ?).exclude(rating exact null).limit(?)"
                   ".order_by(-album.name).select_related(album).filter(id in []).set(1)");
    assert_dump(orm_query_filter(start(state), NULL, 0, false), "Track");
    assert_dump(orm_query_filter(start(state), NULL, 0, true), "Track.exclude()");
    q = orm_query_where(orm_query_new(fixture_model(*state, "Album")), "name", orm_text("x"));
    orm_value sub = orm_null();
    sub.kind = ORM_V_QUERY;
    sub.as.query = q;
    assert_dump(orm_query_where(start(state), "album__in", sub),
                "Track.filter(album in Album.filter(name exact ?))");
    assert_dump(orm_query_where(start(state), "nope", orm_int(1)), "Track.error(ORM_EFIELD)");
    const orm_value null = orm_null();
    const uint16_t fields[] = {2, 5};
    q = orm_query_where(start(state), "note__isnull", orm_bool(false));
    q = orm_query_search(orm_query_where(q, "note__in", orm_list(&null, 1)), fields, 2,
                         orm_text("x"));
    assert_dump(
        orm_query_offset(q, 2),
        "Track.filter(note isnull false).filter(note in [null]).search(title, note).offset(?)");
}

/* Deriving changes nothing: the parent's shape and values stay what they were. */
static void test_parents_stay(void **state)
{
    uint64_t before[16], after[16];
    orm_query *parent = made(orm_query_where(start(state), "title", orm_text("a")));
    size_t n = orm_query_shape(parent, before, 16);
    orm_query *a = orm_query_limit(orm_query_ref(parent), 3);
    orm_query *b = orm_query_order_by(orm_query_where(orm_query_ref(parent), "id", orm_int(1)),
                                      "id");
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(orm_query_shape(parent, after, 16), n);
    assert_memory_equal(before, after, n * sizeof *before);
    assert_false(orm_query_is_sliced(parent));
    assert_false(orm_query_is_ordered(parent));
    assert_true(orm_query_is_sliced(a));
    assert_true(orm_query_is_ordered(b));
    assert_int_equal(orm_query_values(b, NULL, 0), 2);
    orm_query_unref(parent);
    orm_query_unref(a);
    orm_query_unref(b);
}

static void test_values_in_order(void **state)
{
    const orm_value *values[8];
    orm_query *sub = orm_query_new(fixture_model(*state, "Album"));
    sub = orm_query_where(orm_query_where(sub, "name", orm_int(3)), "id__gt", orm_int(4));
    orm_value inner = orm_null();
    inner.kind = ORM_V_QUERY;
    inner.as.query = sub;
    orm_query *q = orm_query_where(start(state), "title", orm_int(1));
    q = orm_query_where(q, "rating", orm_null());           /* no value */
    q = orm_query_where(q, "note__isnull", orm_bool(true)); /* no value */
    q = orm_query_limit(q, 9);
    orm_cond conds[] = {{.path = path_to(q, "position"), .value = orm_int(2)},
                        {.path = path_to(q, "album__in"), .value = inner},
                        {.path = path_to(q, "id__ne"), .value = orm_int(5)}};
    q = made(orm_query_filter(q, conds, 3, true));
    assert_int_equal(orm_query_values(q, values, 4), 5); /* too small: nothing is written */
    assert_int_equal(orm_query_values(q, values, 8), 5);
    for (int i = 0; i < 5; i++) assert_int_equal(values[i]->as.i, i + 1);
    orm_query_unref(q);
}

/* Words of a query built from one condition; its key too. */
static size_t shape_of(void **state, const char *path, orm_value value, uint64_t *words,
                       uint64_t *key)
{
    orm_query *q = made(orm_query_where(start(state), path, value));
    assert_null(orm_query_error(q));
    size_t n = orm_query_shape(q, words, 64);
    *key = q->key;
    orm_query_unref(q);
    return n;
}

static void test_key_order(void **state)
{
    static const struct {
        const char *first, *second;
        int order;
    } cases[] = {{NULL, NULL, 0},    {"id", NULL, 1},    {"-pk", NULL, -1},     {"title", NULL, 0},
                 {"title", "id", 1}, {"id", "title", 0}, {"album__id", NULL, 0}};
    assert_int_equal(orm_query_key_order(NULL), 0);
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_query *query = start(state);
        if (cases[i].first) query = orm_query_order_by(query, cases[i].first);
        if (cases[i].second) query = orm_query_order_by(query, cases[i].second); /* replaces */
        query = orm_query_where(query, "title", orm_text("x"));
        assert_int_equal(orm_query_key_order(made(query)), cases[i].order);
        orm_query_unref(query);
    }
}

static void test_shape_knows_facts_not_values(void **state)
{
    const orm_value three[] = {orm_text("a"), orm_text("b"), orm_text("c")};
    const orm_value four[] = {orm_text("a"), orm_text("b"), orm_text("c"), orm_text("d")};
    const orm_value five[] = {orm_text("a"), orm_text("b"), orm_text("c"), orm_text("d"),
                              orm_text("e")};
    const orm_value null[] = {orm_text("a"), orm_null(), orm_text("c"), orm_text("d")};
    const orm_value ints[] = {orm_int(1), orm_int(2), orm_int(3)};
    const struct {
        const char *path_a, *path_b;
        orm_value a, b;
        bool equal;
    } cases[] = {
        {"title", "title", orm_text("a"), orm_text("bcd"), true},
        {"title", "title__exact", orm_text("a"), orm_text("a"), true},
        {"title", "title", orm_text("a"), orm_null(), false},
        {"title", "note", orm_text("a"), orm_text("a"), false},
        {"title", "title__iexact", orm_text("a"), orm_text("a"), false},
        {"title", "album__name", orm_text("a"), orm_text("a"), false},
        {"album__name", "producer__name", orm_text("a"), orm_text("a"), false},
        {"rating__isnull", "rating__isnull", orm_bool(true), orm_bool(false), false},
        {"title__in", "title__in", orm_list(three, 3), orm_list(four, 4), true},
        {"title__in", "title__in", orm_list(four, 4), orm_list(five, 5), false},
        {"title__in", "title__in", orm_list(four, 4), orm_list(null, 4), false},
        {"title__in", "title__in", orm_list(four, 4), orm_list(NULL, 0), false},
        {"id__in", "id__in", orm_list(ints, 1), orm_list(ints, 3), true},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        uint64_t a[64], b[64], key_a, key_b;
        size_t n_a = shape_of(state, cases[i].path_a, cases[i].a, a, &key_a);
        size_t n_b = shape_of(state, cases[i].path_b, cases[i].b, b, &key_b);
        bool equal = n_a == n_b && memcmp(a, b, n_a * sizeof *a) == 0;
        if (equal != cases[i].equal) fail_msg("case %zu", i);
        assert_int_equal(key_a == key_b, equal);
    }
}

static void test_errors_stick(void **state)
{
    orm_query *q = orm_query_where(start(state), "titel", counted("x"));
    assert_int_equal(released, 1);
    assert_int_equal(orm_query_error(q)->status, ORM_EFIELD);
    q = orm_query_where(q, "title", counted("x"));
    q = orm_query_exclude(q, "title", counted("x"));
    assert_int_equal(released, 3);
    uint16_t title = 2;
    q = orm_query_search(q, &title, 1, counted("x"));
    assert_int_equal(released, 4);
    q = orm_query_order_by(orm_query_select_related(q, "nope"), "nope");
    q = orm_query_slice(orm_query_offset(orm_query_limit(q, -7), -7), -7, 1);
    q = orm_query_set(q, 1);
    orm_query *kept = orm_query_ref(q);
    assert_int_equal(orm_query_error(q)->status, ORM_EFIELD);
    assert_non_null(strstr(orm_query_error(q)->message, "titel"));
    orm_query_unref(q);
    orm_query_unref(kept);
}

static void test_null_query(void **state)
{
    orm_cond cond = {.value = counted("x")};
    released = 0;
    (void)state;
    assert_null(orm_query_where(NULL, "title", counted("x")));
    assert_null(orm_query_filter(NULL, &cond, 1, false));
    assert_null(orm_query_search(NULL, NULL, 0, counted("x")));
    assert_int_equal(released, 3);
    assert_null(orm_query_order_by(NULL, "x"));
    assert_null(orm_query_select_related(NULL, "x"));
    assert_null(orm_query_limit(NULL, 1));
    assert_null(orm_query_offset(NULL, 1));
    assert_null(orm_query_slice(NULL, 0, 1));
    assert_null(orm_query_set(NULL, 1));
    assert_null(orm_query_ref(NULL));
    orm_query_unref(NULL);
    assert_int_equal(orm_query_error(NULL)->status, ORM_ENOMEM);
    assert_null(orm_query_model(NULL));
    assert_int_equal(fixture_query_end(orm_query_new(NULL)), ORM_EMISUSE);
}

static void test_values_are_released_once(void **state)
{
    orm_query *q = orm_query_where(start(state), "title", counted("x"));
    orm_query *r = made(orm_query_limit(orm_query_ref(made(q)), 1));
    orm_query_unref(q);
    assert_int_equal(released, 0);
    orm_query_unref(r);
    assert_int_equal(released, 1);

    /* a failing condition in the middle: all three values go, each once */
    q = start(state);
    orm_cond conds[] = {{.path = path_to(q, "title"), .value = counted("a")},
                        {.path = path_to(q, "title__in"), .value = counted("b")},
                        {.path = path_to(q, "title"), .value = counted("c")}};
    q = orm_query_filter(q, conds, 3, false);
    assert_int_equal(released, 3);
    assert_int_equal(fixture_query_end(q), ORM_EDATA);
    assert_int_equal(released, 3);
}

static void test_bytes_are_copied_or_borrowed(void **state)
{
    char text[] = "abc";
    const orm_value *value;
    orm_query *q = orm_query_where(start(state), "title", orm_text(text));
    memset(text, 'x', 3);
    orm_query_values(made(q), &value, 1);
    assert_memory_equal(value->as.ptr, "abc", 3);
    orm_query_unref(q);
    q = orm_query_where(start(state), "title", counted(text));
    orm_query_values(made(q), &value, 1);
    assert_ptr_equal(value->as.ptr, text);
    orm_query_unref(q);
}

/* A borrowed list with a NULL in it: the NULL is a fact, the rest is the value. */
static void test_list_without_nulls(void **state)
{
    const orm_value members[] = {orm_null(), orm_text("a"), orm_null(), orm_text("b")};
    const orm_value *value;
    orm_value list = orm_list(members, 4);
    list.release = count_release;
    list.owner = &released;
    orm_query *q = made(orm_query_where(start(state), "note__in", list));
    assert_int_equal(orm_query_values(q, &value, 1), 1);
    assert_int_equal(value->len, 2);
    assert_memory_equal(value->as.list[1].as.ptr, "b", 1);
    assert_int_equal(released, 0);
    orm_query_unref(q);
    assert_int_equal(released, 1);
    list.len = 1;
    q = made(orm_query_where(start(state), "note__in", list));
    assert_int_equal(orm_query_values(q, &value, 1), 0);
    orm_query_unref(q);
    assert_int_equal(released, 1);
}

static void test_foreign_path(void **state)
{
    orm_query *album = orm_query_new(fixture_model(*state, "Album"));
    orm_path path = path_to(album, "name");
    orm_cond cond = {.path = path, .value = counted("x")};
    orm_query *q = orm_query_filter(start(state), &cond, 1, false);
    assert_int_equal(released, 1);
    assert_int_equal(fixture_query_end(q), ORM_EMISUSE);
    assert_int_equal(fixture_query_end(orm_query_order(start(state), &path, 1)), ORM_EMISUSE);
    assert_int_equal(fixture_query_end(orm_query_related(start(state), &path, 1)), ORM_EMISUSE);
    assert_int_equal(fixture_query_end(orm_query_related(album, &path, 1)), ORM_EFIELD);
}

static orm_value subquery(orm_query *query)
{
    orm_value v = orm_null();
    v.kind = ORM_V_QUERY;
    v.as.query = query;
    return v;
}

static void test_subqueries(void **state)
{
    orm_query *bad = orm_query_where(orm_query_new(fixture_model(*state, "Album")), "nope",
                                     orm_int(1));
    assert_int_equal(fixture_query_end(orm_query_where(start(state), "album__in", subquery(bad))),
                     ORM_EFIELD);
    assert_int_equal(fixture_query_end(orm_query_where(start(state), "album__in", subquery(NULL))),
                     ORM_ENOMEM);
    orm_query *q = start(state);
    for (int i = 0; i < ORM_QUERY_NESTING; i++) {
        q = made(orm_query_where(start(state), "id__in", subquery(made(q))));
        assert_null(orm_query_error(q));
    }
    q = orm_query_where(start(state), "id__in", subquery(q));
    assert_int_equal(fixture_query_end(q), ORM_ETOOCOMPLEX);
    /* its slice is part of the shape: it stands as numbers in the SQL */
    orm_query *a = orm_query_where(start(state), "id__in",
                                   subquery(orm_query_limit(start(state), 1)));
    orm_query *b = orm_query_where(start(state), "id__in",
                                   subquery(orm_query_limit(start(state), 2)));
    assert_true(made(a)->key != made(b)->key);
    orm_query_unref(a);
    orm_query_unref(b);
}

static void test_slices(void **state)
{
    static const struct {
        int64_t limit, offset, start, stop, out_limit, out_offset;
    } cases[] = {
        {-1, 0, 0, -1, -1, 0}, {-1, 0, 2, 5, 3, 2}, {8, 2, 1, 3, 2, 3},  {8, 2, 7, 20, 1, 9},
        {5, 0, 7, -1, 0, 7},   {5, 0, 3, -1, 2, 3}, {-1, 0, 5, 2, 0, 5}, {0, 0, 0, 9, 0, 0},
    };
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        orm_query *q = orm_query_offset(start(state), cases[i].offset);
        q = orm_query_slice(orm_query_limit(q, cases[i].limit), cases[i].start, cases[i].stop);
        assert_non_null(q);
        assert_int_equal(q->limit, cases[i].out_limit);
        assert_int_equal(q->offset, cases[i].out_offset);
        orm_query_unref(q);
    }
    assert_int_equal(fixture_query_end(orm_query_limit(start(state), -2)), ORM_EDATA);
    assert_int_equal(fixture_query_end(orm_query_offset(start(state), -1)), ORM_EDATA);
    assert_int_equal(fixture_query_end(orm_query_slice(start(state), -1, 2)), ORM_EDATA);
    assert_int_equal(fixture_query_end(orm_query_slice(start(state), 0, -2)), ORM_EDATA);
    orm_query *far = orm_query_offset(start(state), INT64_MAX);
    assert_int_equal(fixture_query_end(orm_query_slice(far, 1, -1)), ORM_EDATA);
    orm_query *q = orm_query_limit(orm_query_limit(start(state), 5), -1);
    assert_false(orm_query_is_sliced(q));
    orm_query_unref(q);
}

/* A chain of a hundred thousand steps is made, read and dropped without recursion. */
static void test_long_chain(void **state)
{
    enum {
        STEPS = 100000
    };
    orm_query *q = start(state);
    orm_path path = path_to(q, "position__ne");
    for (int i = 0; i < STEPS; i++) {
        orm_cond cond = {.path = path, .value = orm_int(i)};
        q = orm_query_filter(q, &cond, 1, false);
    }
    assert_int_equal(orm_query_values(made(q), NULL, 0), STEPS);
    size_t n = orm_query_shape(q, NULL, 0);
    uint64_t *words = orm_alloc(n * sizeof *words);
    assert_non_null(words);
    assert_int_equal(orm_query_shape(q, words, n), n);
    orm_dealloc(words);
    orm_query_unref(q);
}

/* The path that every query takes allocates exactly one node. */
static void test_hot_path_allocates_once(void **state)
{
    uint64_t words[16], key;
    const orm_value *value;
    orm_query_unref(start(state)); /* the root is made once */
    orm_query *root = start(state);
    orm_cond cond = {.path = path_to(root, "id"), .value = orm_int(7)};
    size_t before = orm_test_allocations();
    orm_query *q = made(orm_query_filter(root, &cond, 1, false));
    assert_int_equal(orm_test_allocations(), before + 1);
    orm_plan_shape(ORM_OP_GET, q, NULL, words, 16, &key);
    orm_query_values(q, &value, 1);
    assert_int_equal(orm_test_allocations(), before + 1);
    orm_query_unref(q);
}

static void *derive(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        orm_query *q = orm_query_limit(orm_query_ref(arg), i);
        orm_query_unref(q);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    orm_query *q = made(orm_query_where(start(state), "title", counted("x")));
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, derive, q);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(released, 0);
    orm_query_unref(q);
    assert_int_equal(released, 1);
}

/* A query keeps its schema alive. */
static void test_outlives_schema(void **state)
{
    (void)state;
    orm_schema *schema = fixture_schema(NULL);
    assert_non_null(schema);
    orm_query *q = orm_query_new(fixture_model(schema, "Track"));
    q = orm_query_where(q, "album__name", orm_text("x"));
    orm_schema_unref(schema);
    assert_dump(q, "Track.filter(album.name exact ?)");
}

static orm_status query_body(void *arg)
{
    const orm_value members[] = {orm_text("a"), orm_null(), orm_text("b")};
    const orm_value ints[] = {orm_int(1), orm_int(2)};
    uint16_t title = 2;
    const orm_model *track = fixture_model(arg, "Track"), *album = fixture_model(arg, "Album");
    orm_query *q = orm_query_where(orm_query_new(track), "title", orm_text("x"));
    q = orm_query_exclude(q, "note__in", orm_list(members, 3));
    q = orm_query_where(q, "id__in", orm_list(ints, 2));
    q = orm_query_filter(q, NULL, 0, true);
    orm_query *sub = orm_query_where(orm_query_new(album), "name", orm_text("y"));
    q = orm_query_where(q, "album__in", subquery(sub));
    q = orm_query_search(q, &title, 1, orm_text("z"));
    q = orm_query_select_related(orm_query_order_by(q, "-album__name"), "album");
    q = orm_query_slice(orm_query_set(q, 1), 1, 5);
    orm_query *failed = orm_query_where(orm_query_ref(q), "nope", orm_text("x"));
    orm_status wrong = fixture_query_end(failed);
    orm_status status = fixture_query_end(q);
    if (wrong != ORM_EFIELD && wrong != ORM_ENOMEM) return ORM_EINTERNAL;
    return status < 0 || wrong == ORM_EFIELD ? status : wrong;
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(query_body, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_dump),
        FIXTURE_TEST(test_parents_stay),
        FIXTURE_TEST(test_values_in_order),
        FIXTURE_TEST(test_key_order),
        FIXTURE_TEST(test_shape_knows_facts_not_values),
        FIXTURE_TEST(test_errors_stick),
        cmocka_unit_test(test_null_query),
        FIXTURE_TEST(test_values_are_released_once),
        FIXTURE_TEST(test_bytes_are_copied_or_borrowed),
        FIXTURE_TEST(test_list_without_nulls),
        FIXTURE_TEST(test_foreign_path),
        FIXTURE_TEST(test_subqueries),
        FIXTURE_TEST(test_slices),
        FIXTURE_TEST(test_long_chain),
        FIXTURE_TEST(test_hot_path_allocates_once),
        FIXTURE_TEST(test_threads),
        cmocka_unit_test(test_outlives_schema),
        FIXTURE_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
