/* bulk.h - inside src/engine only: an insert of many rows, on its way.
 *
 *   bulk.c         embedded databases: prepared INSERTs in a tight loop; what both have in common
 *   bulk_server.c  servers: as few statements as there can be, one as a rule
 *
 * `values` are the operation's, row by row.  Rows are bound statement by statement, and the keys
 * that come back are kept in `made` until all is done: the caller sees all of them or none.
 */
#ifndef ORM_BULK_H
#define ORM_BULK_H
#include "engine.h"

typedef struct orm_bulk {
    orm_sink sink;                    /* servers: takes the keys of a single statement */
    const orm_value *values;
    size_t n_rows;
    int64_t *keys;                    /* the caller's, written when all is done; or NULL */
    int64_t *made;                    /* on the lane's thread; NULL = none are wanted */
    size_t batch;                     /* rows of one statement of `many`; 0 = one by one */
    orm_task many;
    orm_task rest;                    /* servers: the rows that do not fill a batch */
    orm_task keyless;                 /* servers: one row without its key, where some have theirs … */
    uint32_t key;                     /* … in this place of the fields */
    size_t row;                       /* servers: whose key comes next */
    orm_task newest;                  /* embedded: reads the row with the highest key */
    int64_t highest;
    bool unsure;                      /* embedded: keys of a batch are not as they should be */
    bool given;                       /* every row has its key already: made = those */
    orm_run_fn run;                   /* several statements, on the lane's thread */
    bool arrays;                      /* servers: a column's values travel as one array */
} orm_bulk;

/* Finds the plan of a statement of `rows` rows, with room for its parameters. */
orm_status orm_bulk_prepare(orm_op *op, orm_task *task, size_t rows);
/* Binds rows [row, row + n) to the parameters of the task; memory comes from `arena`. */
orm_status orm_bulk_bind(orm_op *op, orm_task *task, size_t row, size_t n, orm_arena *arena);

/* ---- bulk_server.c ---- */
orm_status orm_bulk_server_prepare(orm_op *op);
orm_status orm_bulk_server_run(orm_op *op, orm_lane *lane, orm_arena *scratch);
/* After the operation's run: its status, or ORM_PENDING when it goes another way now. */
orm_status orm_bulk_server_after(orm_op *op, orm_status status);

#endif
