/* sqlite.h - inside of the SQLite driver; nobody outside this folder includes it.
 *
 *   open.c       a connection: opening, its settings (each read back), closing, checkpoints
 *   statement.c  prepare, start, step, reset: the hot path
 *   budget.c     how long a step may go on: the progress handler and the wait for locks
 *   error.c      result codes -> classes of error
 *   diagnose.c   which table or column is missing, where SQLite gives no code for it
 *   functions.c  the SQL functions and the collation that generated SQL uses
 *   file.c       the process's open files: one counter of commits per file
 *
 * SQLite is opened without its own mutexes: one thread at a time uses a connection, which is
 * the rule of driver.h.  No file descriptor of a database file is ever opened or closed here:
 * closing one would drop the POSIX locks that SQLite holds on the file.
 */
#ifndef ORM_DRIVER_SQLITE_H
#define ORM_DRIVER_SQLITE_H
#include "../driver_internal.h"
#include <sqlite3.h>

/* One database file (or named memory database) that is open in this process. */
typedef struct sqlite_file {
    struct sqlite_file *next;
    uint64_t device, inode;
    size_t refs;               /* connections; guarded by the list's lock */
    volatile uint64_t commits; /* advanced atomically after every commit of a write */
} sqlite_file;

/* Why a running statement was told to end. */
enum {
    STOP_NONE = 0,
    STOP_CANCEL,
    STOP_DEADLINE,
    STOP_YIELD
};

struct orm_conn {
    orm_conn_base base;
    sqlite3 *db;
    sqlite3_stmt *running; /* what the call under way steps, or NULL */
    sqlite_file *file;
    orm_stmt *statements; /* all that are prepared, for close */

    /* of the call that runs; budget is NULL between calls */
    orm_budget *budget;
    int stop;        /* STOP_…: what the handlers decided */
    bool may_rewind; /* the statement only reads: a yield may interrupt it */
    bool yield_due;  /* the yield time has passed; seen between rows */

    bool broken;       /* close it */
    bool has_written;  /* since the last commit */
    uint32_t traits;   /* ORM_TRAIT_… */
    int wal_pages;     /* in the write-ahead log, after the last commit */
    int checked_pages; /* … when maintain last looked */
    int wal_limit;     /* pages that make maintenance worth while */
};

struct orm_stmt {
    orm_conn *conn;
    orm_stmt *next, **link; /* conn->statements */
    sqlite3_stmt *handle;
    orm_cell *cells; /* n_cells of them */
    size_t n_cells, n_columns;
    uint64_t shape;               /* hash of the columns' names */
    int reprepared;               /* SQLite's count when shape was taken */
    bool reads;                   /* see is_readonly in driver.h */
    bool writes;                  /* SQLite does not call it read-only */
    bool keeps_rowid;             /* uses last_insert_rowid(): leave it alone */
    bool started, ended, checked; /* start to reset; DONE or error; shape was compared */
    bool bound_pointers;          /* parameters point into the caller's memory */
    bool was_in_tx;
    int64_t changes_before, rowid_before, delivered;
};

/* ---- error.c ---- */
/* Fills err from the connection's last error, `code` being an extended result code; returns
 * the class.  Marks the connection broken where only a new one can help. */
orm_status sqlite_fail(orm_conn *conn, int code, orm_error *err);
/* The class alone: of an extended code, or of its primary code. */
orm_status sqlite_class(int code);

/* ---- diagnose.c ---- */
/* After SQLITE_ERROR for `sql`: sharpens ORM_EPROGRAMMING in err to ORM_ENOTABLE, ORM_ENOCOLUMN
 * or ORM_ESYNTAX and names the thing, by looking at the SQL and at the schema.  Returns the
 * class.  `offset` is sqlite3_error_offset of that error. */
orm_status sqlite_diagnose(orm_conn *conn, const char *sql, size_t len, int offset, orm_error *err);

/* ---- budget.c ---- */
/* Puts the budget in force until budget_leave; NULL = unlimited time, no waiting for locks. */
/* `running`: the statement that the call steps, or NULL. */
void budget_enter(orm_conn *conn, orm_budget *budget, sqlite3_stmt *running, bool may_rewind);
void budget_leave(orm_conn *conn);
/* What the budget says now: STOP_…; reads the clock only if it has a time. */
int budget_check(const orm_budget *budget);
/* Makes the two handlers of a new connection. */
void budget_install(orm_conn *conn);

/* ---- functions.c ---- */
/* orm_fold(x) orm_startswith(x, p) orm_endswith(x, p) orm_regexp(p, x) orm_iregexp(p, x)
 * orm_exact(table, column, number) and the collation orm_decimal.  Returns SQLite's result code. */
int functions_install(sqlite3 *db);

/* ---- file.c ---- */
/* The entry of an open file, made when it is new; release it once.  Memory databases pass
 * device 0 and a hash of their name. */
orm_status file_acquire(uint64_t device, uint64_t inode, sqlite_file **out, orm_error *err);
void file_release(sqlite_file *file);

/* ---- open.c ---- the vtable's slots */
orm_status sqlite_open(const orm_conn_config *config, orm_conn **out, orm_error *err);
void sqlite_close(orm_conn *conn);
int sqlite_state(const orm_conn *conn);
size_t sqlite_max_params(const orm_conn *conn);
bool sqlite_wants_maintenance(const orm_conn *conn);
void sqlite_maintain(orm_conn *conn);
volatile uint64_t *sqlite_write_counter(orm_conn *conn);
uint32_t sqlite_traits(const orm_conn *conn);
extern const char *const sqlite_options[]; /* of the URL, NULL at the end */

/* ---- statement.c ---- the vtable's slots */
orm_status sqlite_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                          orm_stmt **out, orm_error *err);
void sqlite_finalize(orm_conn *conn, orm_stmt *stmt);
size_t sqlite_column_count(orm_stmt *stmt);
const char *sqlite_column_name(orm_stmt *stmt, size_t i);
bool sqlite_is_readonly(orm_stmt *stmt);
orm_status sqlite_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                        orm_error *err);
orm_status sqlite_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                       orm_budget *budget, orm_exec_info *info, orm_error *err);
void sqlite_reset(orm_conn *conn, orm_stmt *stmt);

#endif
