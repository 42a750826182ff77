/* Random programs: operations, transactions, cancels, drops in any order.  What was acknowledged
 * is there afterwards, what failed is not, and nothing is left behind.
 */
#include "engine_fixture.h"

enum {
    STEPS = 1500,
    LIVE = 40,
    TXS = 4
};

typedef struct ledger {
    unsigned seed;
    int next_name;
    unsigned char *fate; /* of each name: 0 unknown, 1 acknowledged, 2 failed */
} ledger;

typedef struct entry {
    orm_op *op; /* NULL: free, or told */
    ledger *book;
    int name; /* -1: not an autocommit insert */
} entry;

static unsigned pick(ledger *book, unsigned n)
{
    book->seed = book->seed * 1103515245u + 12345u;
    return (book->seed >> 16) % n;
}

static void on_end(orm_op *op, void *user)
{
    entry *e = user;
    assert_ptr_equal(e->op, op);
    orm_status status = orm_op_status(op);
    assert_int_not_equal(status, ORM_PENDING);
    assert_int_not_equal(status, ORM_EMISUSE);
    if (e->name >= 0) e->book->fate[e->name] = status == ORM_OK ? 1 : 2;
    if (e->name >= 0 && orm_op_error(op)->outcome == ORM_OUTCOME_UNKNOWN)
        e->book->fate[e->name] = 0;
    orm_op_free(op);
    e->op = NULL;
}

static orm_op *insert(orm_engine *engine, world *w, ledger *book, int *name)
{
    char text[16];
    *name = book->next_name++;
    snprintf(text, sizeof text, "%d", *name);
    orm_value v[] = {orm_text(text)};
    return orm_insert(engine, orm_engine_model(w->db, &Album_model), (uint16_t[]){1}, 1, v);
}

static orm_op *make_op(world *w, orm_engine *engine, ledger *book, int *name)
{
    char text[16];
    *name = -1;
    snprintf(text, sizeof text, "%u", pick(book, 200));
    switch (pick(book, 10)) {
    case 0: return orm_all(engine, albums(w), NULL);
    case 1: return orm_count(engine, albums(w));
    case 2: return orm_get(engine, orm_query_where(albums(w), "id", orm_int(pick(book, 99))), NULL);
    case 3: return orm_raw(engine, "SELECT * FROM album", 19, NULL, 0, NULL, NULL);
    case 4: return orm_exists(engine, orm_query_where(albums(w), "name__iexact", orm_text(text)));
    case 5: return slow_op(engine, 60);
    default: return insert(engine, w, book, name);
    }
}

static void start_one(world *w, ledger *book, orm_engine **txs, entry *entries)
{
    entry *e = &entries[pick(book, LIVE)];
    if (e->op) return;
    orm_engine *tx = txs[pick(book, TXS)];
    bool plain = !tx || pick(book, 2);
    static const char callers[8];
    orm_engine_set_caller(w->db, plain ? &callers[pick(book, 8)] : NULL);
    e->book = book;
    e->op = make_op(w, plain ? w->db : tx, book, &e->name);
    if (!plain) e->name = -1; /* its fate is the transaction's */
    if (pick(book, 4) == 0) orm_op_set_deadline(e->op, 1 + pick(book, 30));
    orm_then(e->op, on_end, e);
    orm_engine_set_caller(w->db, NULL);
}

static void step(world *w, ledger *book, orm_engine **txs, entry *entries)
{
    entry *e = &entries[pick(book, LIVE)];
    orm_engine **tx = &txs[pick(book, TXS)];
    switch (pick(book, 12)) {
    case 0:
        if (e->op) orm_cancel(e->op);
        break;
    case 1:
        if (!e->op) break;
        orm_op_free(e->op);
        e->op = NULL;
        break;
    case 2:
        if (!*tx) *tx = orm_begin(w->db, 0, pick(book, 3) == 0);
        break;
    case 3:
        if (*tx && pick(book, 2)) {
            orm_op *op = orm_commit(*tx);
            (void)orm_start(op, NULL, NULL);
            orm_op_free(op);
        }
        orm_close_engine(*tx);
        *tx = NULL;
        break;
    case 4: orm_wait(w->db, 1); break;
    case 5: orm_process(w->db, 0); break;
    default: start_one(w, book, txs, entries); break;
    }
}

/* How many were acknowledged. */
static int check_ledger(world *w, const ledger *book)
{
    orm_result *result = world_rows(orm_all(w->db, albums(w), NULL));
    unsigned char *there = calloc((size_t)book->next_name + 1, 1);
    ORM_EACH(Album, row, result) there[atoi(row->name)]++;
    int acknowledged = 0;
    for (int i = 0; i < book->next_name; i++) {
        if (there[i] > 1) fail_msg("name %d is there twice", i);
        if (book->fate[i] == 1 && !there[i]) fail_msg("name %d was acknowledged and is lost", i);
        if (book->fate[i] == 2 && there[i]) fail_msg("name %d failed and is there", i);
        acknowledged += book->fate[i] == 1;
    }
    free(there);
    orm_result_free(result);
    return acknowledged;
}

static void test_random(void **state)
{
    world *w = *state;
    int acknowledged = 0;
    for (unsigned seed = 1; seed <= 3; seed++) {
        entry entries[LIVE] = {{0}};
        orm_engine *txs[TXS] = {0};
        ledger book = {.seed = seed, .fate = calloc(STEPS + 1, 1)};
        RUN(orm_raw(w->db, "DELETE FROM album", 17, NULL, 0, NULL, NULL));
        for (int i = 0; i < STEPS; i++) step(w, &book, txs, entries);
        for (int i = 0; i < TXS; i++) orm_close_engine(txs[i]);
        for (int i = 0; i < LIVE; i++)
            if (entries[i].op) orm_cancel(entries[i].op);
        uint64_t began = orm_now_ns();
        while (world_stats(w).operations && orm_now_ns() - began < ORM_TEST_SOON_NS)
            orm_wait(w->db, 20);
        assert_int_equal(world_stats(w).operations, 0);
        for (int i = 0; i < LIVE; i++) assert_null(entries[i].op);
        acknowledged += check_ledger(w, &book);
        free(book.fate);
    }
    assert_true(acknowledged > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {WORLD_TESTS(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
