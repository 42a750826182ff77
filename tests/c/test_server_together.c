/* Reads by key that share a statement, on a scripted server: who gets which row, and who leaves
 * before it is there. */
#include "engine_fixture.h"

#include "driver/mock/mock.h"

static const orm_cell one_row[] = {{.kind = ORM_V_INT, .as.i = 1},
                                   {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "a"}};
static const orm_cell two_rows[] = {{.kind = ORM_V_INT, .as.i = 3},
                                    {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "c"},
                                    {.kind = ORM_V_INT, .as.i = 2},
                                    {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "b"}};

static orm_mock_answer rows_answer(const orm_cell *cells, size_t n_rows)
{
    return (orm_mock_answer){
        .sql = "SELECT*", .times = 1, .n_columns = 2, .cells = cells, .n_rows = n_rows};
}

static orm_op *text_op(orm_engine *engine, const char *sql)
{
    return orm_raw(engine, sql, strlen(sql), NULL, 0, NULL, NULL);
}

static int mock_setup(void **state)
{
    orm_error err;
    world *w = calloc(1, sizeof *w);
    static const orm_mock_answer nothing = {.sql = "SHOW nothing"};
    orm_mock_driver.name = "sqlite"; /* its dialect; without the flag of embedded drivers */
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_mock_expect(&nothing);
    ORM_TEST_OK(ORM_CONNECT("sqlite:///mock?max_size=2", &w->db, &err, &Album_model, &Track_model),
                &err);
    RUN(text_op(w->db, "SHOW nothing")); /* a connection is open */
    *state = w;
    return 0;
}

static int mock_teardown(void **state)
{
    world_teardown(state);
    assert_int_equal(orm_mock_connections(), 0);
    assert_int_equal(orm_mock_statements(), 0);
    return 0;
}

/* Statements that read, and in whose parameters `text` stands. */
static int selects(const char *text)
{
    int n = 0;
    for (const char *line = orm_mock_log(); (line = strstr(line, "start SELECT")); line++) {
        const char *end = strchr(line, '\n');
        const char *found = strstr(line, text);
        if (found && found < end) n++;
    }
    return n;
}

static orm_op *get_op(const world *w, int64_t id)
{
    return orm_get(w->db, orm_query_where(albums(w), "id", orm_int(id)), NULL);
}

/* What an operation gave: the name of its album, or a status. */
typedef struct given {
    int count;
    struct {
        orm_status status;
        int64_t id;
        char name[16];
    } at[16];
} given;

static void give(orm_op *op, void *user)
{
    given *to = user;
    to->at[to->count].status = orm_op_status(op);
    if (orm_op_status(op) == ORM_ENOMEM) orm_test_note_int(ORM_ENOMEM);
    orm_result *result = orm_op_take(op);
    if (result) {
        const Album *row = orm_result_rows(result);
        to->at[to->count].id = row->id;
        snprintf(to->at[to->count].name, sizeof to->at->name, "%s", row->name);
    }
    to->count++;
    orm_result_free(result);
    orm_op_free(op);
}

static void wait_given(const world *w, const given *to, int count)
{
    for (int i = 0; to->count < count && i < 1000; i++) orm_wait(w->db, 100);
    assert_int_equal(to->count, count);
}

static const char *name_of(const given *to, int64_t id)
{
    for (int i = 0; i < to->count; i++)
        if (to->at[i].id == id) return to->at[i].name;
    return "";
}

static int count_of(const given *to, orm_status status)
{
    int n = 0;
    for (int i = 0; i < to->count; i++) n += to->at[i].status == status;
    return n;
}

/* Reads that there is no memory to share go alone, each by itself, and what a test says of those
 * that share does not hold.  What still does: when the engine is closed each has been told. */
static bool went_alone(world *w, const given *to, int count)
{
    if (!orm_test_lacks_memory()) return false;
    orm_close_engine(w->db);
    w->db = NULL;
    assert_int_equal(to->count, count);
    return true;
}

/* ---- the tests ---------------------------------------------------------------------------- */

static void test_each_gets_its_own_row(void **state)
{
    world *w = *state;
    orm_mock_answer first = rows_answer(one_row, 1), shared = rows_answer(two_rows, 2);
    orm_mock_expect(&first);
    orm_mock_expect(&shared);
    given to = {0};
    const int64_t keys[] = {1, 2, 2, 9, 3};
    for (size_t i = 0; i < ORM_COUNT(keys); i++) orm_then(get_op(w, keys[i]), give, &to);
    wait_given(w, &to, 5);
    if (went_alone(w, &to, 5)) return;
    assert_int_equal(count_of(&to, ORM_OK), 4);
    assert_int_equal(count_of(&to, ORM_ENOMATCH), 1);
    assert_string_equal(name_of(&to, 1), "a");
    assert_string_equal(name_of(&to, 2), "b");
    assert_string_equal(name_of(&to, 3), "c");
    assert_int_equal(selects(""), 2);
    assert_int_equal(selects("[2,2,9,3]"), 1);
}

/* One alone in its turn waits for nobody; other keys, other plans are no company. */
static void test_what_differs_goes_alone(void **state)
{
    world *w = *state;
    orm_mock_answer answer = rows_answer(one_row, 1);
    answer.times = 0;
    orm_mock_expect(&answer);
    given to = {0};
    orm_then(get_op(w, 1), give, &to);
    assert_int_equal(selects(""), 1); /* before the turn ends */
    wait_given(w, &to, 1);
    orm_then(get_op(w, 1), give, &to);
    orm_then(orm_get(w->db, orm_query_where(albums(w), "name", orm_text("a")), NULL), give, &to);
    orm_then(orm_get(w->db,
                     orm_query_where(orm_query_where(albums(w), "id", orm_int(1)), "name",
                                     orm_text("a")),
                     NULL),
             give, &to);
    orm_then(orm_get(w->db, orm_query_limit(orm_query_where(albums(w), "id", orm_int(1)), 1), NULL),
             give, &to);
    wait_given(w, &to, 5);
    assert_int_equal(count_of(&to, ORM_OK), 5);
    assert_int_equal(selects(""), 5);
    assert_int_equal(selects("]'"), 0); /* no list of keys */
}

/* What was asked for after a write that waits is read after it. */
static void test_no_read_passes_a_write(void **state)
{
    world *w = *state;
    orm_mock_answer answer = rows_answer(one_row, 1);
    static const orm_mock_answer insert = {.sql = "INSERT*", .info = {.affected = 1}};
    answer.times = 0;
    orm_mock_expect(&answer);
    orm_mock_expect(&insert);
    given to = {0};
    told t = {0};
    Album row = {.name = "new"};
    orm_then(get_op(w, 1), give, &to);
    orm_then(get_op(w, 1), give, &to);
    orm_then(ORM_INSERT(w->db, Album, &row), tell, &t);
    orm_then(get_op(w, 1), give, &to);
    wait_given(w, &to, 3);
    wait_for(w, &t, 1);
    assert_int_equal(count_of(&to, ORM_OK), 3);
    assert_int_equal(selects("[1,1]"), 0);
}

/* Three reads, the last two of them in one statement that waits for the server. */
static bool start_waiting(world *w, orm_op *ops[3], given *to)
{
    orm_mock_answer first = rows_answer(one_row, 1), shared = rows_answer(two_rows, 2);
    shared.want_read = 1;
    orm_mock_expect(&first);
    orm_mock_expect(&shared);
    for (int i = 0; i < 3; i++) {
        ops[i] = get_op(w, i + 1);
        orm_then(ops[i], give, to);
    }
    for (int i = 0; i < 1000 && selects("[2,3]") == 0 && !orm_test_lacks_memory(); i++)
        orm_wait(w->db, 10);
    if (went_alone(w, to, 3)) return false;
    assert_int_equal(selects("[2,3]"), 1);
    return true;
}

static void test_one_that_is_cancelled_leaves_the_others(void **state)
{
    world *w = *state;
    orm_op *ops[3];
    given to = {0};
    if (!start_waiting(w, ops, &to)) return;
    int before = to.count;
    orm_cancel(ops[1]);
    wait_given(w, &to, before + 1);
    assert_int_equal(count_of(&to, ORM_ECANCELLED), 1);
    orm_mock_ready();
    wait_given(w, &to, before + 2);
    assert_string_equal(name_of(&to, 3), "c");
    assert_string_equal(name_of(&to, 2), "");
}

static void test_all_may_leave(void **state)
{
    world *w = *state;
    orm_op *ops[3];
    given to = {0};
    if (!start_waiting(w, ops, &to)) return;
    int before = to.count;
    orm_op_free(ops[1]);
    orm_op_free(ops[2]);
    orm_mock_ready();
    RUN(text_op(w->db, "SHOW nothing"));
    assert_int_equal(to.count, before);
}

static void test_a_deadline_concerns_its_own(void **state)
{
    world *w = *state;
    given to = {0};
    orm_mock_answer first = rows_answer(one_row, 1), shared = rows_answer(two_rows, 2);
    shared.want_read = 1;
    orm_mock_expect(&first);
    orm_mock_expect(&shared);
    for (int i = 0; i < 3; i++) {
        orm_op *op = get_op(w, i + 1);
        if (i == 1) orm_op_set_deadline(op, 30);
        orm_then(op, give, &to);
    }
    for (int i = 0; to.count < 2 && !orm_test_lacks_memory() && i < 1000; i++) orm_wait(w->db, 100);
    if (went_alone(w, &to, 3)) return;
    assert_int_equal(to.count, 2);
    assert_int_equal(count_of(&to, ORM_EQUERYTIMEOUT), 1);
    orm_mock_ready();
    wait_given(w, &to, 3);
    assert_string_equal(name_of(&to, 3), "c");
}

static void test_an_error_is_everybodys(void **state)
{
    world *w = *state;
    orm_mock_answer first = rows_answer(one_row, 1);
    static const orm_mock_answer refused = {
        .sql = "SELECT*", .times = 1, .status = ORM_ENOTABLE, .message = "no"};
    orm_mock_expect(&first);
    orm_mock_expect(&refused);
    given to = {0};
    for (int i = 0; i < 3; i++) orm_then(get_op(w, i + 1), give, &to);
    wait_given(w, &to, 3);
    if (went_alone(w, &to, 3)) return;
    assert_int_equal(count_of(&to, ORM_OK), 1);
    assert_int_equal(count_of(&to, ORM_ENOTABLE), 2);
}

static void test_closing_tells_everybody(void **state)
{
    world *w = *state;
    orm_op *ops[3];
    given to = {0};
    if (!start_waiting(w, ops, &to)) return;
    orm_close_engine(w->db);
    w->db = NULL;
    assert_int_equal(to.count, 3);
    assert_int_equal(count_of(&to, ORM_EPOOLCLOSED), 2);
}

/* ---- without memory ----------------------------------------------------------------------- */

static orm_status run_life(void *arg)
{
    (void)arg;
    orm_error err;
    world w = {0};
    orm_status status = ORM_CONNECT("sqlite:///mock?max_size=2", &w.db, &err, &Album_model,
                                    &Track_model);
    if (status >= 0) status = orm_await(text_op(w.db, "SHOW nothing"), NULL, &err);
    orm_op *ops[4] = {NULL};
    for (int i = 0; i < 4 && status >= 0; i++) {
        ops[i] = get_op(&w, 2);
        (void)orm_start(ops[i], NULL, NULL);
    }
    for (int i = 0; i < 4 && ops[i]; i++) {
        orm_status got = orm_await(ops[i], NULL, &err);
        if (status >= 0) status = got;
    }
    orm_close_engine(w.db);
    return status;
}

static void test_a_life_without_memory(void **state)
{
    (void)state;
    orm_error err;
    static const orm_cell rows[] = {{.kind = ORM_V_INT, .as.i = 2},
                                    {.kind = ORM_V_TEXT, .len = 1, .as.ptr = "b"}};
    static const orm_mock_answer nothing = {.sql = "SHOW nothing"};
    orm_mock_driver.name = "sqlite";
    ORM_TEST_OK(orm_driver_register(&orm_mock_driver, &err), &err);
    orm_mock_reset();
    orm_mock_answer answer = rows_answer(rows, 1);
    answer.times = 0;
    orm_mock_expect(&nothing);
    orm_mock_expect(&answer);
    orm_test_with_failing_allocations(run_life, NULL);
    assert_int_equal(orm_mock_connections(), 0);
}

#define MOCK_TEST(f) cmocka_unit_test_setup_teardown(f, mock_setup, mock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOCK_TEST(test_each_gets_its_own_row),
        MOCK_TEST(test_what_differs_goes_alone),
        MOCK_TEST(test_no_read_passes_a_write),
        MOCK_TEST(test_one_that_is_cancelled_leaves_the_others),
        MOCK_TEST(test_all_may_leave),
        MOCK_TEST(test_a_deadline_concerns_its_own),
        MOCK_TEST(test_an_error_is_everybodys),
        MOCK_TEST(test_closing_tells_everybody),
        cmocka_unit_test(test_a_life_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
