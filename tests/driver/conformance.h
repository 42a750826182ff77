/* conformance.h - every promise of include/orm/driver.h as a test, for any driver.
 *
 * A driver's own test program fills a fixture (how to open a database, and what a few
 * statements are in its dialect) and calls conformance_run.  What a driver cannot do at all it
 * leaves out of `can`; tests that need it are then reported as skipped.
 *
 * The table of the fixture, made by `create`, in a database that is empty at first:
 *
 *   item  id    integer, generated key
 *         name  text, not null, unique
 *         n     integer, more than 0
 *         peer  integer, refers to item.id, checked at COMMIT where that can be
 */
#ifndef ORM_TEST_CONFORMANCE_H
#define ORM_TEST_CONFORMANCE_H
#include "../c/harness.h"
#include <orm/driver.h>

enum {                  /* conformance.can */
    CAN_SQL = 1,        /* understands SQL and keeps what is written */
    CAN_LOCK = 2,       /* one writer per database; others wait for it */
    CAN_BLOCK = 4,      /* steps inside of which time passes: `endless` */
    CAN_WAIT = 8,       /* answers ORM_WANT_READ to `waits` */
    CAN_REWIND = 16,    /* yields inside a step (embedded drivers) */
    CAN_DEFER = 32,     /* `peer` is checked at COMMIT */
    CAN_KEYS = 64,      /* says which key was generated */
    CAN_INFINITY = 128, /* holds infinite numbers */
    CAN_NUL = 256,      /* holds NUL characters in text */
    CAN_DATES = 512     /* binds dates and times by itself */
};

typedef struct conformance {
    const orm_driver *driver;
    uint32_t can;
    void (*setup)(void); /* before every test; or NULL */
    /* A database that is new and empty, or once more the one before. */
    void (*config)(orm_conn_config *config, bool fresh);
    void (*ready)(void); /* CAN_WAIT: makes the descriptor readable */

    const char *create;
    const char *insert;                    /* (name, n): 2 parameters */
    const char *insert_peer;               /* (name, peer): 2 parameters; n is 1 */
    const char *update;                    /* sets n of every row: 1 parameter */
    const char *remove;                    /* every row with that id: 1 parameter */
    const char *select;                    /* id, name, n of all rows by id */
    const char *insert_rollback;           /* like insert; an error rolls the transaction back;
                                              or NULL */
    const char *begin, *commit, *rollback; /* begin takes the writer's lock */
    const char *echo;                      /* one row: the parameter */
    const char *two_statements, *with_comment, *syntax, *no_table, *no_column;
    const char *thousand;   /* rows 1 … 1000, integers */
    const char *slow_read;  /* CAN_REWIND: one row, after 100 ms at least */
    const char *endless;    /* a read that lasts until it is told to end */
    const char *slow_write; /* writes one row named 'slow' after 50 ms at least */
    const char *waits;
} conformance;

/* Waits until the server has ended that connection. */
void conformance_wait_hangup(orm_conn *conn);

/* Runs every test; returns the number that failed. */
int conformance_run(const conformance *fixture);

#endif
