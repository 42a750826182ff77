/* route.h - the driver whose statements somebody else's connection runs.
 *
 * One more orm_driver (decision DB1): SQL text and bound values go to a coroutine in Python, and
 * its rows come back as cells.  The engine sees a server: a statement is sent, a descriptor
 * becomes readable, the answer is stepped through.
 *
 *   engine's thread, or a worker                loop's thread, with the GIL
 *   route_driver.c                              route.c
 *     open         a line to the hub
 *     first step   route_post(request) ------>  the hub's descriptor: the loop calls the Route,
 *                                               which makes a Job of each request and hands it
 *                                               to Python
 *     later step   <------ route_answer(reply)  Job.finish or Job.fail
 *     settle, reset: what nobody waits for any more is dropped
 *
 * THREADS  route_driver.c never touches Python: a worker has no GIL, and the loop may be waiting
 * for that very worker.  What crosses is copied into a request or a reply, which one side owns at
 * a time; the hub's mutex guards its queue and the lines' `expected` and `reply`.
 *
 * LIFE  The hub and the lines count references: a coroutine may answer long after the engine has
 * closed its connection, and then answers into the void.
 */
#ifndef ORM_PY_ROUTE_H
#define ORM_PY_ROUTE_H
#include <orm/driver.h>
#include <pthread.h>

typedef struct route_hub route_hub;
typedef struct route_line route_line;

/* Memory of one message: parts of it are taken, all of it is freed. */
typedef struct route_memory {
    struct route_part *last;
} route_memory;
void *route_memory_take(route_memory *self, size_t size);       /* NULL: out of memory */
void *route_memory_copy(route_memory *self, const void *bytes, size_t size); /* and a NUL */
void route_memory_free(route_memory *self);

enum { ROUTE_RUN, ROUTE_CANCEL, ROUTE_CLOSE };                  /* route_request.kind */

typedef struct route_request {
    struct route_request *next;
    route_memory memory;
    route_line *line;                 /* a reference */
    uint64_t serial;                  /* of the statement, among those of its line */
    uint8_t kind;
    const char *sql;
    size_t sql_len;
    orm_value *values;                /* lists with their members; without release functions */
    size_t n_values;
} route_request;

typedef struct route_reply {
    route_memory memory;
    const char **names;               /* of the columns */
    size_t n_columns, n_rows;
    orm_cell *cells;                  /* n_rows * n_columns */
    int64_t affected, key;
    bool in_transaction;              /* where the line stands now */
    orm_error error;                  /* status 0: it ended well */
} route_reply;

/* ---- the hub ---- */
route_hub *route_hub_new(void);       /* NULL: no memory, or no descriptor */
void route_hub_close(route_hub *hub); /* nobody takes requests any more: statements fail */
void route_hub_unref(route_hub *hub); /* closed before */
int route_hub_fd(const route_hub *hub);         /* readable: there are requests */
route_request *route_hub_take(route_hub *hub);  /* the next one, or NULL; then the fd is quiet */
void route_request_free(route_request *request);/* NULL is accepted */

/* ---- a line: one connection of the engine ---- */
uint64_t route_line_number(const route_line *line);
/* Gives the answer to a statement (taken); dropped when nobody waits for it any more. */
void route_answer(const route_request *request, route_reply *reply);
route_reply *route_reply_new(void);
void route_reply_free(route_reply *reply);      /* NULL is accepted */

/* The driver for a dialect ("sqlite", "postgresql", "mariadb"), or NULL; orm_options.driver_user
 * is the hub, which outlives the database. */
const orm_driver *route_driver(const char *dialect);
#endif
