/* postgresql.h - inside of the PostgreSQL driver; nobody outside this folder includes it.
 *
 *   connect.c    a connection: opening with its own deadline, settings read back
 *   cancel.c     ending what runs on the server
 *   statement.c  prepare, start, step, reset: what is sent, and what comes back
 *   lead.c       BEGIN and SAVEPOINT, which travel with what comes next
 *   scan.c       what a statement's text says by itself: its parameters, whether it only reads
 *   encode.c     parameters: values -> the wire
 *   decode.c     results: the wire -> cells
 *   error.c      SQLSTATE -> classes of error
 *
 * The connection is in libpq's pipeline mode from its opening to its end: messages are queued
 * without waiting, and each group ends with its own Sync, so that one statement's failure
 * concerns no other.  libpq is never asked to block; open alone waits, with poll().
 *
 * A statement's first run takes two round trips (Parse and Describe, then Bind and Execute):
 * what the server says of the parameters' types decides how values are written.  With
 * prepare=off only that answer is kept: each run is one round trip with Parse, Bind and Execute of
 * the nameless statement in it, which any session behind a pooler understands.
 */
#ifndef ORM_DRIVER_POSTGRESQL_H
#define ORM_DRIVER_POSTGRESQL_H
#include "../driver_internal.h"
#include <libpq-fe.h>

enum {
    PG_MAX_PARAMS = 65535,
    PG_MAX_BYTES = 0x3fffffff /* of one value; of all of one statement too */
};

/* Types by the number that the server gives them, which never changes. */
enum {
    PG_BOOL = 16, PG_BYTEA = 17, PG_CHAR = 18, PG_NAME = 19, PG_INT8 = 20, PG_INT2 = 21,
    PG_INT4 = 23, PG_TEXT = 25, PG_OID = 26, PG_JSON = 114, PG_CIDR = 650, PG_FLOAT4 = 700,
    PG_FLOAT8 = 701, PG_UNKNOWN = 705, PG_INET = 869, PG_BPCHAR = 1042, PG_VARCHAR = 1043,
    PG_DATE = 1082, PG_TIME = 1083, PG_TIMESTAMP = 1114, PG_TIMESTAMPTZ = 1184,
    PG_INTERVAL = 1186, PG_TIMETZ = 1266, PG_NUMERIC = 1700, PG_VOID = 2278, PG_UUID = 2950,
    PG_JSONB = 3802,
    PG_FIRST_USER_TYPE = 16384 /* enums, domains, extensions */
};

/* The server counts days and microseconds from 2000-01-01. */
#define PG_EPOCH_DAYS 10957ll
#define PG_EPOCH_US (PG_EPOCH_DAYS * ORM_US_PER_DAY)

struct orm_conn {
    orm_conn_base base;
    PGconn *pg;
    orm_stmt *statements; /* all that are prepared, for close */
    orm_stmt *running;    /* whose answer is awaited */
    uint64_t names;       /* given to statements so far */
    uint32_t nonce;       /* in all of them: behind a pooler no other client's name is ours */
    bool unprepared;      /* prepare=off: the server keeps nothing between two statements */
    size_t ignored;       /* Syncs of messages whose answers nobody waits for */
    orm_buf leads;        /* SQL that travels with the next statement, each terminated */
    orm_buf dropped;      /* names that the server may forget, each terminated */
    orm_buf setup;        /* SQL that makes the session's settings */
    bool broken;          /* close it */
};

/* What the text of a statement says. */
typedef struct pg_scan {
    uint32_t n_params; /* the highest $n */
    bool empty;        /* nothing but white space and comments */
    bool reads;        /* see is_readonly in driver.h */
    bool commits;      /* COMMIT or END: may be answered with ROLLBACK */
} pg_scan;

/* How far a statement has come. */
enum {
    PG_IDLE = 0,  /* prepared in our sense: the server may not know it yet */
    PG_STARTED,   /* nothing is sent yet */
    PG_PREPARING, /* Parse, Describe, Sync are sent */
    PG_RUNNING,   /* Bind, Execute, Sync are sent */
    PG_ROWS,      /* the whole result is here and goes to the target */
    PG_ENDED
};

/* Parameters as libpq takes them: arrays of n. */
typedef struct pg_params {
    const char **values;
    int *lengths;
    int *formats; /* 0 = text, terminated; 1 = binary */
    Oid *types;   /* what they are written as; 0 = the server decides */
} pg_params;

struct orm_stmt {
    orm_conn *conn;
    orm_stmt *next, **link; /* conn->statements */
    char *sql;              /* terminated */
    pg_scan scan;
    char name[40];          /* on the server; "" = none, as it is with prepare=off */
    bool is_known;          /* the server knows the name */
    Oid *declared;          /* n_params types given to Parse; 0 = the server decides */
    PGresult *described;    /* what Describe said: parameters and columns */

    uint8_t phase;          /* PG_… */
    bool was_in_tx;
    bool failed_first;      /* of the messages in flight one has failed: `result` is its error */
    const orm_value *params; /* borrowed from start to reset */
    PGresult *result;
    int row;                /* that goes to the target next */
    orm_cell *cells;
    size_t n_cells;
    orm_arena arena;        /* of one run's parameters, then of one row's texts */
};

/* ---- scan.c ---- */
void pg_scan_sql(const char *sql, size_t len, pg_scan *out);

/* ---- lead.c ---- the vtable's slot, and what stmt_send does with it */
orm_status pg_lead(orm_conn *conn, const char *sql, size_t len, orm_error *err);
bool pg_leads_send(orm_conn *conn);

/* ---- encode.c ---- */
/* What no server could take, found before anything is sent: ORM_EDATA, ORM_EMISUSE. */
orm_status pg_params_check(const orm_value *params, size_t n, orm_error *err);
/* Writes the parameters in the types that `described` says; memory is the arena's, or the
 * values' own.  ORM_PENDING: the server took some for text that are none; their types stand in
 * `declared` now, and the statement must be prepared anew. */
orm_status pg_params_encode(orm_stmt *stmt, orm_arena *arena, pg_params *out, orm_error *err);

/* ---- decode.c ---- */
/* Fills cells from row `row`.  What no kind can hold (infinity, years beyond 9999, NaN) comes as
 * text in the server's notation: the decoder of the column's type refuses it, by name. */
orm_status pg_row_decode(const PGresult *result, int row, orm_cell *cells, orm_arena *arena,
                         orm_error *err);
/* A whole number that a result holds in binary; false: it is no integer, or NULL. */
bool pg_cell_int(const PGresult *result, int row, int column, int64_t *out);

/* ---- error.c ---- */
orm_status pg_class(const char *sqlstate);
/* From an answer of the server (NULL: there was none).  `sql`: the statement, to name what is
 * missing in it; NULL = unknown.  Marks the connection broken where only a new one can help. */
orm_status pg_fail(orm_conn *conn, const PGresult *result, const char *sql, orm_error *err);
/* After a failed attempt to connect: the class by the SQLSTATE in libpq's verbose message. */
orm_status pg_fail_connect(PGconn *pg, const char *password, bool in_tls, orm_error *err);

/* ---- connect.c ---- the vtable's slots */
orm_status pg_open(const orm_conn_config *config, orm_conn **out, orm_error *err);
void pg_close(orm_conn *conn);
int pg_state(const orm_conn *conn);
orm_status pg_cancel(orm_conn *conn, orm_kill **out, orm_error *err);
orm_status pg_renew(orm_conn *conn, orm_error *err);
size_t pg_max_params(const orm_conn *conn);
extern const char *const pg_options[]; /* of the URL, NULL at the end */

/* ---- statement.c ---- the vtable's slots */
orm_status pg_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                      orm_stmt **out, orm_error *err);
void pg_finalize(orm_conn *conn, orm_stmt *stmt);
size_t pg_column_count(orm_stmt *stmt);
const char *pg_column_name(orm_stmt *stmt, size_t i);
bool pg_is_readonly(orm_stmt *stmt);
orm_status pg_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                    orm_error *err);
orm_status pg_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                   orm_budget *budget, orm_exec_info *info, orm_error *err);
void pg_reset(orm_conn *conn, orm_stmt *stmt);
orm_status pg_settle(orm_conn *conn, orm_error *err);

#endif
