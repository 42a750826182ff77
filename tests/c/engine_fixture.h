/* engine_fixture.h - what the tests of the engine share: two models, an engine on a database of
 * the test's own, and short forms for "run this to its end".
 *
 * Set up and torn down around each test: *state is a `world`.  The address of the database comes
 * from the kind of test: in memory, a file without waiting for the disk, a file with.
 */
#ifndef ORM_TEST_ENGINE_FIXTURE_H
#define ORM_TEST_ENGINE_FIXTURE_H
#include "harness.h"

#include <orm/models.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct Album {
    int64_t id;
    const char *name;
} Album;
typedef struct Track {
    int64_t id;
    ORM_REF(Album) album;
    const char *title;
    ORM_OPT(int32_t) position;
} Track;

ORM_MODEL(Album, "album", ORM_FIELD(Album, id, .primary_key = 1),
          ORM_FIELD(Album, name, .max_length = 100, .unique = 1));
ORM_MODEL(Track, "track", ORM_FIELD(Track, id, .primary_key = 1), ORM_FK(Track, album, Album),
          ORM_FIELD(Track, title, .max_length = 100), ORM_FIELD(Track, position));

typedef struct world {
    orm_engine *db;
    char path[256];
    char url[320];
} world;

#define WORLD_MEMORY "sqlite:///:memory:"
#define WORLD_NORMAL "?synchronous=normal"
#define WORLD_FULL ""

/* Runs an operation to its end; the status, with the error in *err. */
static inline orm_status world_run(orm_op *op, orm_error *err)
{
    orm_status status = orm_await(op, NULL, err);
    (void)orm_test_note_int(status); /* an operation for which there is no memory is one, too */
    return status;
}

#define RUN(op)                                     \
    do {                                            \
        orm_error run_error_;                       \
        orm_status run_ = world_run(op, &run_error_); \
        ORM_TEST_OK(run_, &run_error_);             \
    } while (0)

#define RUN_FAILS(op, wanted)                             \
    do {                                                  \
        orm_error run_error_ = {0};                       \
        orm_status run_ = world_run(op, &run_error_);     \
        ORM_TEST_FAILS(run_, wanted, &run_error_);        \
    } while (0)

static inline orm_result *world_rows(orm_op *op)
{
    orm_result *result = NULL;
    orm_error err;
    ORM_TEST_OK(orm_await(op, &result, &err), &err);
    return result;
}

static inline orm_query *albums(const world *w)
{
    return ORM_FROM(w->db, Album);
}

static inline orm_query *tracks(const world *w)
{
    return ORM_FROM(w->db, Track);
}

/* The number of an operation that is driven by hand, without orm_await. */
static inline int64_t world_number(const world *w, orm_op *op)
{
    while (orm_start(op, NULL, NULL) == ORM_PENDING) orm_wait(w->db, 1000);
    ORM_TEST_OK(orm_op_status(op), orm_op_error(op));
    int64_t number = orm_op_number(op);
    orm_op_free(op);
    return number;
}

static inline int64_t count_albums(const world *w)
{
    return world_number(w, orm_count(w->db, albums(w)));
}

static inline int64_t add_album(orm_engine *engine, const char *name)
{
    Album row = {.name = name};
    RUN(ORM_INSERT(engine, Album, &row));
    assert_true(row.id > 0);
    return row.id;
}

static inline orm_engine_stats world_stats(const world *w)
{
    orm_engine_stats stats;
    orm_engine_get_stats(w->db, &stats);
    return stats;
}

static inline int world_open(void **state, const char *options)
{
    static int n;
    world *w = calloc(1, sizeof *w);
    orm_error err;
    snprintf(w->path, sizeof w->path, "%s/%d.db", orm_test_temp_dir(), n++);
    if (options[0] == 's')
        snprintf(w->url, sizeof w->url, "%s", options);
    else
        snprintf(w->url, sizeof w->url, "sqlite:///%s%s", w->path, options);
    ORM_TEST_OK(ORM_CONNECT(w->url, &w->db, &err, &Album_model, &Track_model), &err);
    RUN(orm_create_all(w->db, NULL));
    *state = w;
    return 0;
}

static inline int memory_setup(void **state)
{
    return world_open(state, WORLD_MEMORY);
}
static inline int normal_setup(void **state)
{
    return world_open(state, WORLD_NORMAL);
}
static inline int full_setup(void **state)
{
    return world_open(state, WORLD_FULL);
}
static inline int world_teardown(void **state)
{
    world *w = *state;
    orm_close_engine(w->db);
    free(w);
    return 0;
}
#define MEMORY_TEST(f) cmocka_unit_test_setup_teardown(f, memory_setup, world_teardown)
#define NORMAL_TEST(f) cmocka_unit_test_setup_teardown(f, normal_setup, world_teardown)
#define FULL_TEST(f) cmocka_unit_test_setup_teardown(f, full_setup, world_teardown)
/* The same on all three. */
#define WORLD_TESTS(f)                                                                  \
    {#f " in memory", f, memory_setup, world_teardown, NULL},                           \
        {#f " normal", f, normal_setup, world_teardown, NULL},                          \
        {#f " full", f, full_setup, world_teardown, NULL}

/* A statement that runs for about `seconds` on any connection. */
static inline orm_op *slow_op(orm_engine *engine, int seconds)
{
    char sql[200];
    int len = snprintf(sql, sizeof sql,
                       "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE "
                       "x < %d0000000) SELECT count(*) FROM c",
                       seconds);
    return orm_raw(engine, sql, (size_t)len, NULL, 0, NULL, NULL);
}

static inline orm_engine *world_begin(orm_engine *engine, int isolation, bool readonly)
{
    orm_engine *tx = orm_begin(engine, isolation, readonly);
    assert_non_null(tx);
    return tx;
}

/* Remembers what was called back, in order. */
typedef struct told {
    int count;
    orm_status status[512];
    orm_error error[8];
} told;

static inline void tell(orm_op *op, void *user)
{
    told *t = user;
    if (orm_op_status(op) == ORM_ENOMEM) orm_test_note_int(ORM_ENOMEM);
    if (t->count < 8) t->error[t->count] = *orm_op_error(op);
    t->status[t->count++] = orm_op_status(op);
    orm_op_free(op);
}

static inline void wait_for(const world *w, const told *t, int count)
{
    for (int i = 0; t->count < count && i < 1000; i++) orm_wait(w->db, 1000);
    assert_int_equal(t->count, count);
}

#endif
