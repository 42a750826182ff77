/* mariadb.h - inside of the MariaDB driver; nobody outside this folder includes it.
 *
 *   open.c       what the URL says, connecting, settings (each read back), cancel, closing
 *   greeting.c   what the server says first: without TLS it gets no login from who wants TLS
 *   call.c       one call of the client library at a time: started, continued, settled
 *   statement.c  prepare, start, step, reset: the phases of a statement
 *   param.c      values -> parameters of the binary protocol
 *   row.c        columns of the binary protocol -> cells
 *   text.c       what SQL text can be known by: its first word, where it ends
 *   error.c      error numbers -> classes of error
 *
 * MariaDB Connector/C runs each of its calls on a small stack of its own: `…_start` begins it,
 * and when it has to wait for the socket it answers what for; `…_cont` goes on.  A connection has
 * one such call at a time.  A statement that is abandoned leaves its call behind: the connection
 * is then ORM_CONN_BUSY until the call is settled.
 *
 * Results are read as a whole (mysql_stmt_store_result) before the first row is handed out, so
 * that a connection is free for the next statement while rows are still being taken.
 */
#ifndef ORM_DRIVER_MARIADB_H
#define ORM_DRIVER_MARIADB_H
#include "../driver_internal.h"
#include <mysql.h>

#define MARIADB_NAME "mariadb"
#define MARIADB_MAX_PARAMS 65535u

/* What is needed to make a connection, and to make another one for KILL.  One block. */
typedef struct maria_target {
    volatile uint32_t refs;  /* the connection's, and of each cancel under way */
    volatile uint32_t kills; /* KILLs that were sent, by whichever thread */
    char *host, *socket, *user, *password, *database; /* terminated; socket NULL = TCP */
    char *ssl_ca, *ssl_cert, *ssl_key;
    uint16_t port;
    uint8_t ssl; /* SSL_… */
    uint32_t timeout_ms;
    uint32_t lock_wait_s, innodb_lock_wait_s;
    bool read_only;
} maria_target;

enum {
    SSL_OFF = 0,
    SSL_REQUIRED, /* encrypted, to whomever */
    SSL_VERIFIED  /* … and the certificate is good for the host */
};

/* A call of the client library that may be suspended. */
enum {
    CALL_NONE = 0,
    CALL_PREPARE,
    CALL_EXECUTE,
    CALL_STORE,
    CALL_DISCARD, /* the rows of a statement that nobody wants */
    CALL_FENCE    /* a statement that does nothing: takes the trace of a KILL, and tells where the
                     transaction stands */
};

struct orm_conn {
    orm_conn_base base;
    MYSQL *mysql;
    maria_target *target;
    orm_stmt *statements; /* all that are prepared, for close */
    unsigned long thread; /* the server's number for this connection */
    uint64_t max_packet;  /* bytes that the server takes in one statement */
    unsigned status;      /* SERVER_STATUS_…, as last heard */

    int call;         /* CALL_… under way */
    int waits;        /* MYSQL_WAIT_…: what it is suspended for */
    int result;       /* of the call, when it is complete */
    my_bool no;       /* the same, of calls that answer so */
    orm_stmt *owner;  /* whose call it is; NULL = abandoned, or nobody's */
    MYSQL_STMT *left; /* the handle of an abandoned call */
    bool left_closes; /* … and it is to be closed afterwards */

    uint32_t fenced; /* of target->kills: those of which no trace is left */
    bool broken;     /* close it */
};

/* Kinds of columns: how the binary protocol brings them. */
enum {
    COLUMN_INT = 0,
    COLUMN_UNSIGNED,
    COLUMN_FLOAT,
    COLUMN_DOUBLE,
    COLUMN_TEXT,
    COLUMN_BLOB,
    COLUMN_BIT,
    COLUMN_DATE,
    COLUMN_TIME,
    COLUMN_DATETIME
};

typedef struct maria_column {
    uint8_t kind; /* COLUMN_… */
    my_bool is_null, is_cut;
    unsigned long len;
    union {
        int64_t i;
        uint64_t u;
        double f;
        float single;
        uint8_t bits[8];
        MYSQL_TIME time;
    } as;
    char *bytes; /* COLUMN_TEXT, COLUMN_BLOB: `size` of them, in the statement's arena */
    size_t size;
    char *long_; /* a value that is longer; on the heap until the statement is reset */
    size_t long_size;
    char note[32]; /* the text of what has no cell: 0000-00-00, a TIME of many days … */
} maria_column;

enum {               /* orm_stmt.phase */
    PHASE_READY = 0, /* not started */
    PHASE_SETTLE,    /* what others left on the connection */
    PHASE_PREPARE,
    PHASE_EXECUTE,
    PHASE_STORE,
    PHASE_ROWS,
    PHASE_FAILED, /* the error stands in `failure`: where does the transaction stand now? */
    PHASE_ENDED
};

struct orm_stmt {
    orm_conn *conn;
    orm_stmt *next, **link; /* conn->statements */
    MYSQL_STMT *handle;     /* NULL until it is prepared */
    char *sql;
    size_t sql_len;
    uint8_t phase;
    bool is_prepared, reads, was_in_tx, has_sent;
    bool is_dml; /* SELECT, INSERT, UPDATE …: does not end a transaction by itself */
    size_t n_params;
    const orm_value *values; /* the caller's, until reset */
    size_t n_values;

    MYSQL_BIND *params; /* n_params, and a time for each; one block */
    MYSQL_TIME *times;

    uint64_t shape; /* hash of the columns' names; 0 = none yet */
    uint64_t types; /* … of what the bindings depend on */
    size_t n_columns;
    maria_column *columns;
    MYSQL_BIND *results;
    orm_cell *cells;
    orm_arena arena;    /* of the columns */
    int64_t delivered;  /* rows so far */
    uint8_t has_asked;  /* PHASE_FAILED: times */
    orm_error *failure; /* PHASE_FAILED */
};

/* ---- error.c ---- */
/* The class of an error number. */
orm_status maria_class(unsigned number);
/* Fills err from what the handle or the connection says; marks the connection broken where only
 * a new one helps.  Returns the class. */
orm_status maria_fail(orm_conn *conn, MYSQL_STMT *handle, orm_error *err);
/* The same of a connection that is not yet one: what is lost could not be made. */
orm_status maria_fail_connect(MYSQL *mysql, orm_error *err);

/* ---- call.c ---- */
/* Starts `call` for a statement (NULL: CALL_FENCE), or goes on with it.  ORM_OK: it is complete,
 * conn->result is not 0 when it failed.  ORM_WANT_…: it waits. */
orm_status call_drive(orm_conn *conn, int call, orm_stmt *stmt);
/* The statement lets go of the call that it has under way; closes: its handle is not needed. */
void call_abandon(orm_conn *conn, orm_stmt *stmt, bool closes);
/* Runs what was abandoned to its end. */
orm_status call_settle_left(orm_conn *conn, orm_error *err);
orm_status maria_settle(orm_conn *conn, orm_error *err);
int maria_state(const orm_conn *conn);
/* Waits, on this thread, until a call of the library can go on: what came, in MYSQL_WAIT_…, or
 * MYSQL_WAIT_TIMEOUT after the deadline. */
int wait_blocking(MYSQL *mysql, int waits, uint64_t deadline_ns);

/* greeting.c: waits for the server's greeting and takes nothing of it.  ORM_OK: it offers TLS, or
 * there is none and the library says why; ORM_ETLS; ORM_WANT_READ: it was not complete by the
 * deadline; ORM_WANT_WRITE: the socket is not connected yet. */
orm_status maria_greeting_check(int fd, uint64_t deadline_ns, orm_error *err);

/* ---- param.c ---- */
/* Whether every value can be a parameter, and how many bytes they take; touches no bytes. */
orm_status params_check(orm_conn *conn, const orm_stmt *stmt, const orm_value *values, size_t n,
                        orm_error *err);
/* Binds the statement's values to its handle. */
orm_status params_bind(orm_stmt *stmt, orm_error *err);

/* ---- row.c ---- */
/* Makes the bindings fit the result that has come. */
orm_status columns_bind(orm_stmt *stmt, orm_error *err);
/* Fills the cells from the row that was fetched; *bytes is the size of its texts. */
orm_status columns_read(orm_stmt *stmt, size_t *bytes, orm_error *err);
void columns_release(orm_stmt *stmt); /* the long values of the last row */
void columns_dispose(orm_stmt *stmt);

/* ---- text.c ---- */
/* The bytes up to the end of the first statement when nothing but blanks, comments and semicolons
 * follow; `len` otherwise.  *is_single: whether that was so. */
size_t text_first_statement(const char *sql, size_t len, bool *is_single);
bool text_is_empty(const char *sql, size_t len);
/* SELECT and its like, without a word that may write or lock. */
bool text_reads(const char *sql, size_t len);
/* Begins with a word of reading or changing rows. */
bool text_is_dml(const char *sql, size_t len);
/* CALL: several results for one statement. */
bool text_calls(const char *sql, size_t len);

/* ---- open.c ---- the vtable's slots */
orm_status maria_open(const orm_conn_config *config, orm_conn **out, orm_error *err);
void maria_close(orm_conn *conn);
orm_status maria_cancel(orm_conn *conn, orm_kill **out, orm_error *err);
orm_status maria_renew(orm_conn *conn, orm_error *err);
/* The server has forgotten the statement: its next start prepares it again. */
void stmt_forget(orm_stmt *stmt);
size_t maria_max_params(const orm_conn *conn);
extern const char *const maria_options[];

/* ---- statement.c ---- the vtable's slots */
orm_status maria_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                         orm_stmt **out, orm_error *err);
void maria_finalize(orm_conn *conn, orm_stmt *stmt);
size_t maria_column_count(orm_stmt *stmt);
const char *maria_column_name(orm_stmt *stmt, size_t i);
bool maria_is_readonly(orm_stmt *stmt);
orm_status maria_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                       orm_error *err);
orm_status maria_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                      orm_budget *budget, orm_exec_info *info, orm_error *err);
void maria_reset(orm_conn *conn, orm_stmt *stmt);

#endif
