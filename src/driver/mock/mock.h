/* mock.h - a driver without a database, for the tests of what stands above drivers.
 *
 * It answers SQL as the test has scripted it and writes down what it was asked:
 *
 *   static const orm_cell cells[] = { { .kind = ORM_V_INT, .as.i = 7 } };
 *   orm_mock_reset();
 *   orm_mock_expect(&(orm_mock_answer){ .sql = "SELECT*", .n_columns = 1, .cells = cells,
 *                                       .n_rows = 1, .pending = 2 });
 *   … drive an engine whose driver is &orm_mock_driver …
 *   assert_string_equal(orm_mock_log(), "open db\nprepare SELECT 1\nstart SELECT 1\n…");
 *
 * There is one script per process.  Everything here may be called from any thread.  It is no
 * part of the library: tests link it.
 *
 * Without a script it knows BEGIN, COMMIT, ROLLBACK, SAVEPOINT and RELEASE (they change the
 * connection's state and give nothing back); any other SQL that no answer fits fails in prepare.
 */
#ifndef ORM_DRIVER_MOCK_H
#define ORM_DRIVER_MOCK_H
#include "../driver_internal.h"

/* What one SQL text is answered with.  All that it points at is borrowed until orm_mock_reset. */
typedef struct orm_mock_answer {
    const char *sql; /* the exact text; with a `*` at the end a prefix; NULL = any;
                                         "open": an attempt to connect */
    int times;       /* executions that it serves; 0 = any number */

    size_t n_columns;
    const char *const *columns; /* their names; NULL: c1, c2, … */
    const orm_cell *cells;      /* n_rows * n_columns */
    size_t n_rows;
    bool echo; /* instead: one row, the parameters themselves */
    orm_exec_info info;

    orm_status status; /* below 0: the execution ends with this error … */
    int native;
    uint16_t flags;
    const char *message;
    bool in_prepare; /* … or prepare already does */

    int pending;     /* steps that answer ORM_PENDING first */
    bool rewinds;    /* … each of them having reset the statement */
    int want_read;   /* bytes from orm_mock_ready that a step waits for */
    bool busy_when_left; /* reset while it waits leaves the connection ORM_CONN_BUSY */
    bool blocks;     /* a step blocks: until orm_mock_release, stop, deadline; an attempt to
                      * connect: until orm_mock_release */
    int state_after; /* ORM_CONN_… + 1 to be in afterwards; 0 = as SQL says */
} orm_mock_answer;

/* Its name and flags may be changed before it is registered: called "sqlite" it takes the place
 * of the built-in driver. */
extern orm_driver orm_mock_driver;

/* Forgets answers, log and releases.  No connection may be open. */
void orm_mock_reset(void);
/* Adds an answer behind the others; the first that fits and has executions left is used. */
void orm_mock_expect(const orm_mock_answer *answer);
/* One line per call: "open NAME", "prepare SQL", "start SQL", "step SQL", "reset SQL",
 * "finalize SQL", "close"; parameters follow start as " [7, 'text', NULL]".  What goes
 * beyond 64 KiB is left out. */
const char *orm_mock_log(void);
/* Lets one blocked step or attempt go on; released in advance, the next one does not block. */
void orm_mock_release(void);
/* Sends a byte to the descriptor of every open connection. */
void orm_mock_ready(void);
/* Attempts to connect that are blocked now. */
size_t orm_mock_opening(void);
/* Open connections; prepared statements not yet finalized. */
size_t orm_mock_connections(void);
size_t orm_mock_statements(void);

#endif
