/* orm/driver.h - what a database driver is: one table of functions.
 *
 * Every backend (SQLite, PostgreSQL, MariaDB, the mock of the tests, a binding's own) is an
 * orm_driver.  The engine owns scheduling, pools, transactions, deadlines and statement caches;
 * a driver only speaks to one connection at a time and says what it waits for.
 *
 * RULES
 *   A connection is used by one thread at a time; which one may change between calls.
 *   No call runs the user's code; no call blocks unless its comment says "may block".
 *   MUST slots are never NULL, MAY slots may be.
 *   Errors: the class by the backend's code (never by its text), native code, SQLSTATE and the
 *   names that the backend gives; the message scrubbed of secrets.
 */
#ifndef ORM_DRIVER_H
#define ORM_DRIVER_H
#include <orm/orm.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct orm_conn orm_conn;     /* the driver's own; its first member is orm_conn_base */
typedef struct orm_stmt orm_stmt;     /* the driver's own; a prepared statement */

typedef struct orm_conn_base {
    const struct orm_driver *driver;
    int fd;                           /* to wait on after WANT_READ/WANT_WRITE; -1 = none */
} orm_conn_base;

enum {                                /* orm_driver.flags */
    ORM_DRIVER_EMBEDDED = 1,          /* calls compute rather than wait: never WANT_*; bounded
                                         work runs inline, the rest on workers */
    ORM_DRIVER_GUEST = 2              /* connections are somebody else's and may be in a transaction
                                         of his: what is to be undone by itself always comes with
                                         a BEGIN, which is a savepoint there */
};

/* What a connection needs to know; borrowed during open. */
typedef struct orm_conn_config {
    const char *database;             /* SQLite: a path, or "file:…?vfs=memdb" when memory is set */
    bool memory;
    bool read_only;
    bool create;                      /* make the file when it is missing */
    uint32_t busy_timeout_ms;
    const orm_str *option_names, *option_values; /* of the URL, those the engine does not take */
    size_t n_options;
    /* servers; NULL or 0 = the URL does not say */
    const char *host;                 /* name, address, or a path that begins with "/" */
    const char *user, *password;
    uint16_t port;
    uint32_t connect_timeout_ms;      /* for all of open; 0 = 10 s */
    void *driver_user;                /* of orm_options, for a driver that the program brought */
} orm_conn_config;

/* How long a step may go on.  The engine sets it; another thread may set stop. */
typedef struct orm_budget {
    volatile int stop;                /* non-zero: end the statement (ORM_ECANCELLED) */
    uint64_t yield_ns;                /* monotonic: give back ORM_PENDING; 0 = never */
    uint64_t deadline_ns;             /* monotonic: ORM_EQUERYTIMEOUT; 0 = never */
    uint64_t lock_deadline_ns;        /* monotonic: wait for locks until then; 0 = do not wait:
                                         ORM_ELOCKTIMEOUT with native SQLITE_BUSY at once */
    bool rewound;                     /* out, with ORM_PENDING: the statement was reset and must
                                         be started again (rows so far are void) */
} orm_budget;

typedef struct orm_exec_info {        /* out: after a statement has ended */
    int64_t affected;                 /* rows changed by it */
    int64_t last_key;                 /* the integer key it generated; 0 = none.  Where the
                                         server reports no keys: what the last row of an INSERT …
                                         RETURNING has in its first column, if an integer */
    int64_t delivered;                /* rows that it had to offer before it ended */
    int64_t cascaded;                 /* rows changed by its triggers and foreign key actions */
} orm_exec_info;

enum {                                /* orm_driver.state */
    ORM_CONN_IDLE = 0,                /* no transaction */
    ORM_CONN_IN_TX = 1,
    ORM_CONN_FAILED_TX = 2,           /* only ROLLBACK is accepted */
    ORM_CONN_BROKEN = 3,              /* close it */
    ORM_CONN_BUSY = 4                 /* servers: a statement was left while it ran: settle it */
};

enum {                                /* orm_driver.traits */
    ORM_TRAIT_CONCURRENT = 1,         /* readers and the writer do not block each other (SQLite:
                                         WAL): short writes and shared reads may run inline */
    ORM_TRAIT_DURABLE = 2             /* a commit waits for the disk (SQLite: synchronous FULL
                                         or EXTRA): never on the caller's thread */
};

/* Receives the cells of a row.  The engine's batch, or a sink directly. */
typedef struct orm_row_target {
    orm_status (*row)(void *self, const orm_cell *cells, orm_error *err);
    void *self;
} orm_row_target;

/* What ends a statement on its server, without its connection: that may be closed meanwhile. */
typedef struct orm_kill {
    /* On any thread, one at a time, and again if it came before its statement.  May block for as
     * long as the client library does.  ORM_OK: the server has taken it.  Below 0: not known. */
    orm_status (*send)(struct orm_kill *self, orm_error *err);
    void (*free)(struct orm_kill *self);
} orm_kill;

typedef struct orm_driver {
    uint32_t size;                    /* sizeof(orm_driver) */
    uint32_t flags;
    const char *name;                 /* also the dialect's name */

    /* MUST. Opens a connection with every session setting made and read back.  May block (servers: on
     * a thread of its own, which is left there when connect_timeout_ms is over; it must end by
     * itself some time).  *out only on success. */
    orm_status (*open)(const orm_conn_config *config, orm_conn **out, orm_error *err);
    /* MUST. Frees it, statements included.  May block.  NULL is accepted. */
    void (*close)(orm_conn *conn);
    /* MUST. Where the connection stands, from its own state: asks nothing of a server. */
    int (*state)(const orm_conn *conn);

    /* MUST. One statement of SQL; text behind it is ORM_EPROGRAMMING.  Embedded drivers prepare
     * here and may have to read the schema from the file: `budget` says how long they wait for
     * its lock (NULL: not at all).  Servers keep the text and prepare it within the first step,
     * which then reports what is wrong with it. */
    orm_status (*prepare)(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                          orm_stmt **out, orm_error *err);
    /* MUST. NULL is accepted. */
    void (*finalize)(orm_conn *conn, orm_stmt *stmt);
    /* MUST. Number of result columns, 0 for statements without rows (valid after prepare for
     * embedded drivers, after the first step for others); and their names, borrowed until the
     * next call on the statement (NULL: out of memory). */
    size_t (*column_count)(orm_stmt *stmt);
    const char *(*column_name)(orm_stmt *stmt, size_t i);
    /* MUST. True when the statement only reads: it may be run again from its start.  False for
     * writes, DDL, and what begins or ends a transaction. */
    bool (*is_readonly)(orm_stmt *stmt);

    /* MUST. Binds the parameters (borrowed until reset) and begins.  ORM_EDATA for what the
     * backend cannot hold, before anything is sent; what depends on types that only the server
     * knows may be refused by it, in step. */
    orm_status (*start)(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                        orm_error *err);
    /* MUST. Goes on: rows to `target` (may be NULL for none).  ORM_DONE: ended, info is filled.
     * ORM_PENDING: the budget's yield time has come.  ORM_WANT_READ: wait until fd, which is
     * only known then, can be read, ORM_WANT_WRITE: read or written, and step again; a step that
     * comes too early does no harm.  When the budget ends a statement that runs on a server, step
     * returns at once: cancel and settle.  What `row` returns below 0 is passed on.  A row function that returns
     * ORM_DONE ends the statement early: step returns ORM_DONE. */
    orm_status (*step)(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                       orm_budget *budget, orm_exec_info *info, orm_error *err);
    /* MUST. After ORM_DONE or an error, or to abandon: frees what start borrowed; afterwards the
     * statement can be started again. */
    void (*reset)(orm_conn *conn, orm_stmt *stmt);

    /* MAY. Text without parameters and rows that begins a transaction or a savepoint: kept, and
     * sent together with the next statement, in front of it.  From now on the connection's state
     * is that of the transaction.  Should it fail, that statement fails with its error and is not
     * run.  ORM_CONN_FAILED_TX takes none.  NULL: it is run by itself, and waited for. */
    orm_status (*lead)(orm_conn *conn, const char *sql, size_t len, orm_error *err);
    /* MAY. What it takes to end what runs on the server; the statement then fails with
     * ORM_ECANCELLED, or ORM_EQUERYTIMEOUT if its deadline has passed.  Does not block: the engine
     * sends it on a thread of its own.  Meanwhile the connection may be stepped, settled or
     * closed, and runs nothing new until it was sent; what could not be sent, or not in time, may
     * yet reach whatever runs next: then the connection is closed.  NULL: budget.stop does. */
    orm_status (*cancel)(orm_conn *conn, orm_kill **out, orm_error *err);
    /* MAY. ORM_CONN_BUSY: reads to its end what a statement left behind, and takes back the
     * trace of a cancel.  ORM_OK: the connection is as state says; ORM_WANT_…: wait and call
     * again; below 0: it is broken.  A step does the same before it begins.  NULL: never busy. */
    orm_status (*settle)(orm_conn *conn, orm_error *err);
    /* MAY. Makes an idle session what open has made it: settings, temporary tables, locks,
     * LISTEN, variables of the session.  Prepared statements stay good.  May block, but not for
     * longer than two seconds.  Below 0: close the connection; NULL (servers): it is closed. */
    orm_status (*renew)(orm_conn *conn, orm_error *err);
    /* MAY. Limits that SQL text must respect; NULL: none. */
    size_t (*max_params)(const orm_conn *conn);
    /* MAY. Housekeeping on a worker while idle (SQLite: checkpoint).  May block. */
    void (*maintain)(orm_conn *conn);
    /* MAY. Cheap: is it time to call maintain on this connection?  Ask after writes. */
    bool (*wants_maintenance)(const orm_conn *conn);
    /* MAY. A word that is equal for connections of the same file in this process, and a counter
     * that every writing commit to it in this process advances (atomically).  Valid until this
     * connection is closed. */
    volatile uint64_t *(*write_counter)(orm_conn *conn);
    /* MAY. ORM_TRAIT_… of an open connection, from its settings as read back.  NULL: none. */
    uint32_t (*traits)(const orm_conn *conn);
    /* MAY. Names of the URL options that open understands, NULL at the end; NULL: none.  Others
     * are refused when the URL is parsed. */
    const char *const *options;
} orm_driver;

/* Makes a driver known by name, for every database opened afterwards.  Static tables only.  One
 * that serves some databases only is not registered: orm_options.driver names it to orm_open. */
ORM_API ORM_NODISCARD orm_status orm_driver_register(const orm_driver *driver, orm_error *err);

#ifdef __cplusplus
}
#endif
#endif
