/* Expressions: how they are checked, kept, compared and dropped; their SQL is in tests/golden. */
#include "fixture.h"

static int released;
static void count_release(void *owner)
{
    ++*(int *)owner;
}

static orm_value counted(const char *text)
{
    orm_value v = orm_text(text);
    v.release = count_release;
    v.owner = &released;
    return v;
}

/* NULL is the query that ran out of memory. */
static orm_query *made(orm_query *query)
{
    assert_non_null(query);
    return query;
}

static orm_query *start(void **state)
{
    released = 0;
    return made(orm_query_new(fixture_model(*state, "Track")));
}

static orm_term cond(const orm_query *query, const char *text, orm_value value)
{
    orm_term term = {.op = ORM_TERM_COND, .cond.value = value};
    orm_error err;
    ORM_TEST_OK(orm_path_resolve(orm_query_model(query), text, strlen(text), ORM_PATH_LOOKUP,
                                 &term.cond.path, &err),
                &err);
    return term;
}

static orm_term many(int op, uint32_t n)
{
    return (orm_term){.op = (uint8_t)op, .n = n};
}

static orm_term sql(const char *text, orm_value *values, uint32_t n)
{
    return (orm_term){.op = ORM_TERM_SQL, .n = n, .sql = {text, strlen(text)}, .values = values};
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
    orm_query *q = start(state);
    orm_value values[] = {orm_int(1), orm_text("x")};
    orm_term terms[] = {many(ORM_TERM_OR, 3),
                        cond(q, "title", orm_text("a")),
                        many(ORM_TERM_NOT, 0),
                        many(ORM_TERM_AND, 2),
                        cond(q, "rating__gt", orm_int(3)),
                        cond(q, "note", orm_null()),
                        sql("a = \1 OR b = \1", values, 2)};
    assert_dump(orm_query_match(q, terms, ORM_COUNT(terms)),
                "Track.match(or(title exact ?, not(and(rating gt ?, note exact null)), "
                "a = ? OR b = ?))");
    q = start(state);
    orm_term plain[] = {many(ORM_TERM_AND, 2), cond(q, "title", orm_text("a")),
                        cond(q, "rating", orm_int(3))};
    assert_dump(orm_query_match(orm_query_ref(q), plain, 3),
                "Track.filter(title exact ?, rating exact ?)");
    assert_dump(orm_query_match(orm_query_ref(q), plain, 0), "Track");
    plain[1] = many(ORM_TERM_NOT, 0);
    assert_dump(orm_query_match(q, plain + 1, 2), "Track.exclude(rating exact ?)");
    q = start(state);
    orm_term across = cond(q, "album__name", orm_text("a"));
    assert_dump(orm_query_match(q, &across, 1), "Track.match(album.name exact ?)");
}

static void test_values_in_order(void **state)
{
    const orm_value *values[8];
    orm_query *q = made(orm_query_where(start(state), "title", orm_int(0)));
    orm_value raw[] = {orm_int(2), orm_int(3)};
    orm_term terms[] = {many(ORM_TERM_OR, 4), cond(q, "rating", orm_int(1)), sql("\1 = \1", raw, 2),
                        cond(q, "note", orm_null()), cond(q, "id", orm_int(4))};
    q = made(orm_query_match(q, terms, ORM_COUNT(terms)));
    assert_int_equal(orm_query_values(q, values, 8), 5);
    for (int i = 0; i < 5; i++) assert_int_equal(values[i]->as.i, i);
    orm_query_unref(q);
}

/* Whether the two expressions over title and rating have one shape. */
static bool same_shape(void **state, orm_term *a, size_t n_a, orm_term *b, size_t n_b)
{
    uint64_t words_a[64], words_b[64];
    orm_query *one = made(orm_query_match(start(state), a, n_a));
    orm_query *two = made(orm_query_match(start(state), b, n_b));
    size_t n = orm_query_shape(one, words_a, 64), m = orm_query_shape(two, words_b, 64);
    bool same = n == m && memcmp(words_a, words_b, n * sizeof *words_a) == 0;
    assert_true(n <= 64 && m <= 64);
    assert_int_equal(same, one->key == two->key);
    orm_query_unref(one);
    orm_query_unref(two);
    return same;
}

static void test_shape(void **state)
{
    orm_query *q = start(state);
    orm_value one = orm_int(1), two = orm_text("2");
    orm_term or2[] = {many(ORM_TERM_OR, 2), cond(q, "title", orm_text("a")),
                      cond(q, "rating", orm_int(1))};
    orm_term same[] = {many(ORM_TERM_OR, 2), cond(q, "title", orm_text("b")),
                       cond(q, "rating", orm_int(2))};
    orm_term not_or[] = {many(ORM_TERM_NOT, 0), or2[0], or2[1], or2[2]};
    orm_term with_sql[] = {many(ORM_TERM_OR, 2), or2[1], sql("x = \1", &one, 1)};
    orm_term same_sql[] = {many(ORM_TERM_OR, 2), or2[1], sql("x = \1", &two, 1)};
    orm_term other_sql[] = {many(ORM_TERM_OR, 2), or2[1], sql("y = \1", &one, 1)};
    assert_true(same_shape(state, or2, 3, same, 3));
    assert_false(same_shape(state, or2, 3, not_or, 4));
    assert_false(same_shape(state, or2, 3, with_sql, 3));
    assert_true(same_shape(state, with_sql, 3, same_sql, 3));
    assert_false(same_shape(state, with_sql, 3, other_sql, 3));
    orm_query_unref(q);
}

static void test_what_is_no_expression(void **state)
{
    orm_value raw[] = {counted("x"), counted("y")};
    orm_query *q = start(state);
    orm_term a = cond(q, "title", counted("a"));
    orm_query_unref(q);
    orm_term cases[][4] = {
        {a, a},                       /* two */
        {many(ORM_TERM_AND, 2), a},   /* one operand is missing */
        {many(ORM_TERM_NOT, 0)},      /* so is this one */
        {many(9, 0)},                 /* no operator */
        {many(ORM_TERM_OR, 1), a, a}, /* one too many */
        {sql("x = \1", raw, 2)},      /* one place, two values */
        {sql("", NULL, 0)},           /* no text */
    };
    const struct {
        size_t n;
        int values;
    } counts[] = {{2, 2}, {2, 1}, {1, 0}, {1, 0}, {3, 2}, {1, 2}, {1, 0}};
    for (size_t i = 0; i < ORM_COUNT(cases); i++) {
        q = orm_query_match(start(state), cases[i], counts[i].n);
        assert_int_equal(released, counts[i].values); /* dropped, each once */
        assert_int_equal(fixture_query_end(q), ORM_EMISUSE);
    }
}

static void test_levels(void **state)
{
    orm_term terms[ORM_TERM_NESTING + 1];
    for (size_t i = 0; i < ORM_COUNT(terms); i++) terms[i] = many(ORM_TERM_NOT, 0);
    orm_query *q = start(state);
    size_t n = ORM_TERM_NESTING - 1;
    terms[n] = cond(q, "title", orm_text("a"));
    q = made(orm_query_match(q, terms, n + 1));
    assert_null(orm_query_error(q));
    terms[n + 1] = terms[n];
    terms[n] = many(ORM_TERM_NOT, 0);
    assert_int_equal(fixture_query_end(orm_query_match(q, terms, n + 2)), ORM_ETOOCOMPLEX);
}

static void test_values_are_released_once(void **state)
{
    orm_query *q = start(state);
    orm_value raw[] = {counted("x"), counted("y")};
    orm_term terms[] = {many(ORM_TERM_OR, 2), cond(q, "title", counted("a")),
                        sql("\1 = \1", raw, 2)};
    q = made(orm_query_match(q, terms, 3));
    assert_int_equal(released, 0);
    orm_query_unref(q);
    assert_int_equal(released, 3);

    /* a term that fails in the middle: those before it and behind it go, too */
    q = start(state);
    orm_term bad[] = {many(ORM_TERM_OR, 3), cond(q, "title", counted("a")),
                      cond(q, "title__in", counted("b")), sql("\1 = \1", raw, 2)};
    q = orm_query_match(q, bad, 4);
    assert_int_equal(released, 4);
    assert_int_equal(fixture_query_end(q), ORM_EDATA);

    /* so do the values of SQL behind one that is no plain value */
    q = start(state);
    orm_value list = orm_list(NULL, 0);
    list.release = count_release;
    list.owner = &released;
    orm_value odd[] = {counted("x"), list, counted("y")};
    orm_term with_list[] = {many(ORM_TERM_NOT, 0), sql("\1\1\1", odd, 3)};
    q = orm_query_match(q, with_list, 2);
    assert_int_equal(released, 3);
    assert_int_equal(fixture_query_end(q), ORM_EDATA);

    /* a query that has failed, or is none */
    q = orm_query_where(start(state), "nope", orm_int(1));
    q = orm_query_match(q, terms, 3);
    assert_int_equal(released, 3);
    assert_int_equal(fixture_query_end(q), ORM_EFIELD);
    assert_null(orm_query_match(NULL, terms, 3));
    assert_int_equal(released, 6);
}

static void test_joins_are_relations(void **state)
{
    orm_error err;
    orm_query *q = start(state);
    orm_path paths[2];
    ORM_TEST_OK(
        orm_path_resolve(orm_query_model(q), "album", 5, ORM_PATH_RELATION, &paths[0], &err), &err);
    paths[1] = cond(q, "title", orm_null()).cond.path;
    orm_term term = sql("x", NULL, 0);
    term.joins = paths;
    term.n_joins = 1;
    q = made(orm_query_match(q, &term, 1));
    assert_null(orm_query_error(q));
    term.n_joins = 2;
    assert_int_equal(fixture_query_end(orm_query_match(q, &term, 1)), ORM_EMISUSE);
}

static orm_status body(void *arg)
{
    orm_error err = {0};
    orm_plan *plan = NULL;
    orm_query *q = orm_query_new(fixture_model(arg, "Track"));
    if (!q || orm_query_error(q)) return fixture_query_end(q);
    orm_value raw[] = {orm_text("x"), orm_int(3)};
    orm_term terms[] = {many(ORM_TERM_NOT, 0), many(ORM_TERM_OR, 2),
                        cond(q, "title", orm_text("a")), sql("track.title = \1 OR \1 = 3", raw, 2)};
    orm_term plain[] = {many(ORM_TERM_AND, 1), cond(q, "title", orm_text("a"))};
    q = orm_query_match(orm_query_match(q, terms, 4), plain, 2);
    orm_status status = orm_compile(orm_dialect_find("sqlite"), ORM_OP_ALL, q, NULL, &plan, &err);
    orm_plan_unref(plan);
    orm_query_unref(q);
    return status;
}

static void test_failing_allocations(void **state)
{
    orm_test_with_failing_allocations(body, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_dump),
        FIXTURE_TEST(test_values_in_order),
        FIXTURE_TEST(test_shape),
        FIXTURE_TEST(test_what_is_no_expression),
        FIXTURE_TEST(test_levels),
        FIXTURE_TEST(test_values_are_released_once),
        FIXTURE_TEST(test_joins_are_relations),
        FIXTURE_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
