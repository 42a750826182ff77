/* statement.c - prepare, start, step, reset.
 *
 *   IDLE --start--> STARTED --step--> PREPARING --> STARTED --> RUNNING --> ROWS --> ENDED
 *                                     (first run, or when the types did not fit)
 *
 * A step sends what is due and reads until the Sync that closes it; the connection is idle again
 * before the first row reaches the target.  Nothing waits: where the socket has no more to give
 * or to take, step says so.
 */
#include "postgresql.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ROWS_PER_CHECK = 32
};

/* ---- prepare ------------------------------------------------------------------------------ */

static void stmt_free(orm_stmt *stmt)
{
    PQclear(stmt->described);
    PQclear(stmt->result);
    orm_arena_dispose(&stmt->arena);
    orm_dealloc(stmt->declared);
    orm_dealloc(stmt->cells);
    orm_dealloc(stmt->sql);
    orm_dealloc(stmt);
}

static orm_status sql_check(const char *sql, size_t len, pg_scan *scan, orm_error *err)
{
    if (len > PG_MAX_BYTES)
        return orm_fail(err, ORM_ETOOCOMPLEX, "the SQL text is too long: %zu bytes", len);
    if (len && memchr(sql, 0, len))
        return orm_fail(err, ORM_EPROGRAMMING, "the SQL text holds a NUL character");
    pg_scan_sql(sql, len, scan);
    if (scan->empty) return orm_fail(err, ORM_EPROGRAMMING, "the statement is empty");
    if (scan->n_params > PG_MAX_PARAMS)
        return orm_fail(err, ORM_ETOOCOMPLEX, "a statement takes at most %d parameters",
                        PG_MAX_PARAMS);
    return ORM_OK;
}

/* Sends nothing: what the server thinks of the text shows in the first step. */
orm_status pg_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                      orm_stmt **out, orm_error *err)
{
    pg_scan scan = {0};
    (void)budget;
    ORM_TRY(sql_check(sql, len, &scan, err));
    orm_stmt *stmt = orm_alloc0(sizeof *stmt);
    if (!stmt) return orm_fail_nomem(err);
    orm_arena_init(&stmt->arena, 512);
    stmt->scan = scan;
    stmt->sql = orm_strdup_n(sql, len);
    stmt->declared = orm_alloc0(scan.n_params * sizeof(Oid) + 1);
    if (!stmt->sql || !stmt->declared) {
        stmt_free(stmt);
        return orm_fail_nomem(err);
    }
    stmt->conn = conn;
    stmt->next = conn->statements;
    stmt->link = &conn->statements;
    if (stmt->next) stmt->next->link = &stmt->next;
    conn->statements = stmt;
    *out = stmt;
    return ORM_OK;
}

/* The server may forget the name; told at the next occasion. */
static void stmt_drop(orm_conn *conn, orm_stmt *stmt)
{
    PQclear(stmt->described);
    stmt->described = NULL;
    if (stmt->is_known && stmt->name[0])
        orm_buf_add(&conn->dropped, stmt->name, strlen(stmt->name) + 1);
    stmt->is_known = false;
}

void pg_finalize(orm_conn *conn, orm_stmt *stmt)
{
    if (!stmt) return;
    pg_reset(conn, stmt);
    stmt_drop(conn, stmt);
    *stmt->link = stmt->next;
    if (stmt->next) stmt->next->link = stmt->link;
    stmt_free(stmt);
}

/* A result says itself what its columns are: with prepare=off the table may have changed since the
 * statement was described. */
static const PGresult *columns_of(const orm_stmt *stmt)
{
    return stmt->phase == PG_ROWS ? stmt->result : stmt->described;
}

size_t pg_column_count(orm_stmt *stmt)
{
    const PGresult *from = columns_of(stmt);
    return from ? (size_t)PQnfields(from) : 0;
}

const char *pg_column_name(orm_stmt *stmt, size_t i)
{
    return i < pg_column_count(stmt) ? PQfname(columns_of(stmt), (int)i) : NULL;
}

bool pg_is_readonly(orm_stmt *stmt)
{
    return stmt->scan.reads;
}

/* ---- start -------------------------------------------------------------------------------- */

orm_status pg_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                    orm_error *err)
{
    if (stmt->phase != PG_IDLE)
        return orm_fail(err, ORM_EMISUSE,
                        "the statement is running; reset it before it starts again");
    if (n != stmt->scan.n_params)
        return orm_fail(err, ORM_EPROGRAMMING, "the statement has %u parameters, %zu were given",
                        stmt->scan.n_params, n);
    ORM_TRY(pg_params_check(params, n, err));
    stmt->params = params;
    stmt->was_in_tx = pg_state(conn) != ORM_CONN_IDLE;
    stmt->phase = PG_STARTED;
    return ORM_OK;
}

/* ---- sending ------------------------------------------------------------------------------ */

/* Outside of transactions only: a failure would take the caller's transaction with it. */
static bool send_dropped(orm_conn *conn)
{
    orm_buf *names = &conn->dropped;
    if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE) return true;
    for (size_t at = 0; at < names->len; at += strlen(names->ptr + at) + 1) {
        char sql[64];
        snprintf(sql, sizeof sql, "DEALLOCATE %s", names->ptr + at);
        if (!PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 1) ||
            !PQpipelineSync(conn->pg))
            return false;
        conn->ignored++;
    }
    orm_buf_reset(names);
    return true;
}

/* What goes out in front of a statement. */
static bool send_before(orm_conn *conn)
{
    return send_dropped(conn) && pg_leads_send(conn);
}

static orm_status send_prepare(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    stmt_drop(conn, stmt);
    if (!conn->unprepared)
        snprintf(stmt->name, sizeof stmt->name, "orm_%08x_%llu", conn->nonce,
                 (unsigned long long)++conn->names);
    bool sent = send_before(conn) &&
                PQsendPrepare(conn->pg, stmt->name, stmt->sql, (int)stmt->scan.n_params,
                              stmt->declared) &&
                PQsendDescribePrepared(conn->pg, stmt->name) && PQpipelineSync(conn->pg);
    if (!sent) return pg_fail(conn, NULL, NULL, err);
    stmt->phase = PG_PREPARING;
    return ORM_OK;
}

static orm_status send_run(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    pg_params params = {0};
    orm_arena_reset(&stmt->arena);
    orm_status status = pg_params_encode(stmt, &stmt->arena, &params, err);
    if (status == ORM_PENDING) return send_prepare(conn, stmt, err);
    if (status < 0) return status;
    int n = (int)stmt->scan.n_params;
    bool sent = send_before(conn) &&
                (conn->unprepared
                     ? PQsendQueryParams(conn->pg, stmt->sql, n, params.types, params.values,
                                         params.lengths, params.formats, 1)
                     : PQsendQueryPrepared(conn->pg, stmt->name, n, params.values, params.lengths,
                                           params.formats, 1)) &&
                PQpipelineSync(conn->pg);
    if (!sent) return pg_fail(conn, NULL, NULL, err);
    stmt->phase = PG_RUNNING;
    return ORM_OK;
}

static orm_status stmt_send(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    if (conn->running && conn->running != stmt)
        return orm_fail(err, ORM_EMISUSE, "another statement runs on this connection");
    if (PQstatus(conn->pg) != CONNECTION_OK) return pg_fail(conn, NULL, NULL, err);
    stmt->was_in_tx = pg_state(conn) != ORM_CONN_IDLE;
    stmt->failed_first = false;
    ORM_TRY(stmt->is_known ? send_run(conn, stmt, err) : send_prepare(conn, stmt, err));
    conn->running = stmt;
    return ORM_OK;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static bool is_failure(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY;
}

/* Of the messages of one Sync the first failure counts, or else the last answer. */
static void result_keep(orm_stmt *stmt, PGresult *result)
{
    if (stmt->failed_first) {
        PQclear(result);
        return;
    }
    PQclear(stmt->result);
    stmt->result = result;
    stmt->failed_first = is_failure(result);
}

static bool is_copy(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

static orm_status fail_copy(orm_conn *conn, PGresult *result, orm_error *err)
{
    PQclear(result);
    conn->broken = true;
    return orm_fail(err, ORM_ENOTSUPPORTED, "COPY is not supported");
}

/* Takes what is there already.  ORM_OK: the statement's Sync has come, or without a statement
 * the last one that nobody waits for; ORM_WANT_READ: more is to come. */
static orm_status results_take(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    enum {
        MAX_SILENCE = 4
    }; /* a NULL separates results; more of them mean that none is due */
    int silence = 0;
    while (stmt || conn->ignored) {
        if (PQisBusy(conn->pg)) return ORM_WANT_READ;
        PGresult *result = PQgetResult(conn->pg);
        if (!result) {
            if (++silence > MAX_SILENCE) return pg_fail(conn, NULL, NULL, err);
            continue;
        }
        silence = 0;
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            if (conn->ignored == 0) return ORM_OK;
            conn->ignored--;
        } else if (is_copy(result)) {
            return fail_copy(conn, result, err);
        } else if (conn->ignored) {
            PQclear(result);
        } else {
            result_keep(stmt, result);
        }
    }
    return ORM_OK;
}

static orm_status results_receive(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    int unsent = PQflush(conn->pg);
    bool alive = unsent >= 0 && PQconsumeInput(conn->pg);
    conn->base.fd = PQsocket(conn->pg);
    for (PGnotify *note; (note = PQnotifies(conn->pg));) PQfreemem(note);
    /* what came before the end may be the reason of the end */
    orm_status status = results_take(conn, stmt, err);
    if (status != ORM_WANT_READ) return status;
    if (!alive || PQstatus(conn->pg) != CONNECTION_OK)
        return pg_fail(conn, stmt && stmt->failed_first ? stmt->result : NULL, NULL, err);
    return unsent ? ORM_WANT_WRITE : ORM_WANT_READ;
}

orm_status pg_settle(orm_conn *conn, orm_error *err)
{
    if (conn->running || conn->ignored == 0) return ORM_OK;
    return results_receive(conn, NULL, err);
}

/* ---- the end of a statement --------------------------------------------------------------- */

/* Nobody waits for its answer any more: the connection is busy until that has come. */
static void stmt_leave(orm_conn *conn, orm_stmt *stmt)
{
    /* the server may know the name by then, or not */
    if (stmt->phase == PG_PREPARING) {
        stmt->is_known = true;
        stmt_drop(conn, stmt);
    }
    conn->ignored++;
    conn->running = NULL;
}

static void stmt_end(orm_conn *conn, orm_stmt *stmt)
{
    stmt->phase = PG_ENDED;
    if (conn->running == stmt) conn->running = NULL;
}

/* What became of the statement, or of its transaction. */
static uint8_t outcome_find(const orm_conn *conn, const orm_stmt *stmt, uint8_t phase)
{
    bool lost = pg_state(conn) >= ORM_CONN_BROKEN;
    bool ran = phase == PG_RUNNING;
    if (pg_state(conn) == ORM_CONN_BUSY && stmt->was_in_tx && !stmt->scan.commits)
        return ORM_OUTCOME_NONE; /* whatever it does, its transaction decides */
    if (stmt->was_in_tx && !(lost && ran && stmt->scan.commits)) {
        bool over = lost || pg_state(conn) == ORM_CONN_IDLE;
        return over ? ORM_OUTCOME_ROLLED_BACK : ORM_OUTCOME_NONE;
    }
    return lost && ran && !stmt->scan.reads ? ORM_OUTCOME_UNKNOWN : ORM_OUTCOME_NONE;
}

static orm_status stmt_fail(orm_conn *conn, orm_stmt *stmt, orm_status status, orm_error *err)
{
    uint8_t phase = stmt->phase;
    stmt_end(conn, stmt);
    if (status == ORM_ECACHEDSTMT) stmt_drop(conn, stmt);
    if (err) err->outcome = outcome_find(conn, stmt, phase);
    return status;
}

/* The server's error; a cancel beyond the deadline was the deadline's. */
static orm_status answer_fail(orm_conn *conn, orm_stmt *stmt, const orm_budget *budget,
                              orm_error *err)
{
    orm_status status = pg_fail(conn, stmt->result, stmt->sql, err);
    bool late = budget && budget->deadline_ns && orm_now_ns() >= budget->deadline_ns;
    if (status == ORM_ECANCELLED && late && !__atomic_load_n(&budget->stop, __ATOMIC_RELAXED)) {
        status = ORM_EQUERYTIMEOUT;
        if (err) err->status = status;
    }
    return status;
}

static orm_status cells_reserve(orm_stmt *stmt, size_t columns, orm_error *err)
{
    if (columns <= stmt->n_cells) return ORM_OK;
    orm_cell *cells = orm_realloc(stmt->cells, columns * sizeof *cells);
    if (!cells) return orm_fail_nomem(err);
    memset(cells, 0, columns * sizeof *cells);
    stmt->cells = cells;
    stmt->n_cells = columns;
    return ORM_OK;
}

static orm_status stmt_describe(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    stmt->is_known = true;
    stmt->described = stmt->result;
    stmt->result = NULL;
    stmt->phase = PG_STARTED;
    conn->running = NULL;
    if (PQnparams(stmt->described) != (int)stmt->scan.n_params)
        return orm_fail(err, ORM_EPROGRAMMING, "the statement has %d parameters, %u were given",
                        PQnparams(stmt->described), stmt->scan.n_params);
    return cells_reserve(stmt, (size_t)PQnfields(stmt->described), err);
}

/* COMMIT of a failed transaction succeeds, and what it did was ROLLBACK. */
static orm_status commit_check(orm_stmt *stmt, orm_error *err)
{
    if (!stmt->scan.commits || strcmp(PQcmdStatus(stmt->result), "ROLLBACK") != 0) return ORM_OK;
    return orm_fail(err, ORM_EROLLEDBACK, "the transaction had failed: COMMIT has rolled it back");
}

/* The answer of a run is complete. */
static orm_status answer_check(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    conn->running = NULL;
    if (PQresultStatus(stmt->result) == PGRES_EMPTY_QUERY)
        return orm_fail(err, ORM_EPROGRAMMING, "the statement is empty");
    ORM_TRY(commit_check(stmt, err));
    ORM_TRY(cells_reserve(stmt, (size_t)PQnfields(stmt->result), err));
    stmt->row = 0;
    stmt->phase = PG_ROWS;
    return ORM_OK;
}

static bool tag_begins(const PGresult *result, const char *word)
{
    return strncmp(PQcmdStatus((PGresult *)result), word, strlen(word)) == 0;
}

/* The key that an INSERT generated is what it RETURNs first. */
static void info_fill(orm_exec_info *info, const PGresult *result)
{
    bool inserts = tag_begins(result, "INSERT");
    bool writes = inserts || tag_begins(result, "UPDATE") || tag_begins(result, "DELETE") ||
                  tag_begins(result, "MERGE");
    int rows = PQntuples(result);
    *info = (orm_exec_info){.delivered = rows};
    if (writes) info->affected = strtoll(PQcmdTuples((PGresult *)result), NULL, 10);
    if (inserts && rows > 0 && PQnfields(result) > 0)
        (void)pg_cell_int(result, rows - 1, 0, &info->last_key);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* What the budget says before anything is sent, and between rows. */
static orm_status budget_ask(const orm_budget *budget, bool may_yield, orm_error *err)
{
    if (!budget) return ORM_OK;
    uint64_t now = budget->deadline_ns || budget->yield_ns ? orm_now_ns() : 0;
    if (__atomic_load_n(&budget->stop, __ATOMIC_RELAXED))
        return orm_fail(err, ORM_ECANCELLED, "the statement was cancelled");
    if (budget->deadline_ns && now >= budget->deadline_ns)
        return orm_fail(err, ORM_EQUERYTIMEOUT, "the statement ran into its deadline");
    return may_yield && budget->yield_ns && now >= budget->yield_ns ? ORM_PENDING : ORM_OK;
}

/* One row to the target. */
static orm_status row_deliver(orm_stmt *stmt, const orm_row_target *target, orm_error *err)
{
    orm_arena_reset(&stmt->arena);
    ORM_TRY(pg_row_decode(stmt->result, stmt->row++, stmt->cells, &stmt->arena, err));
    return target->row ? target->row(target->self, stmt->cells, err) : ORM_OK;
}

static orm_status rows_deliver(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                               const orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    int n = target && target->row ? PQntuples(stmt->result) : 0;
    for (size_t done = 0; stmt->row < n; done++) {
        orm_status status = ORM_OK;
        if (done == ROWS_PER_CHECK) {
            done = 0;
            status = budget_ask(budget, true, err);
            if (status == ORM_PENDING) return status;
        }
        if (status >= 0) status = row_deliver(stmt, target, err);
        if (status < 0) { /* a write has been done all the same */
            stmt_end(conn, stmt);
            if (err && !stmt->scan.reads && !stmt->was_in_tx) err->outcome = ORM_OUTCOME_UNKNOWN;
            return status;
        }
        if (status == ORM_DONE) break;
    }
    if (info) info_fill(info, stmt->result);
    stmt_end(conn, stmt);
    return ORM_DONE;
}

/* ---- step --------------------------------------------------------------------------------- */

/* Sends, or reads on; ORM_OK: the phase has changed. */
static orm_status step_once(orm_conn *conn, orm_stmt *stmt, const orm_budget *budget,
                            orm_error *err)
{
    if (stmt->phase == PG_STARTED) {
        ORM_TRY(budget_ask(budget, false, err));
        orm_status settled = pg_settle(conn, err);
        if (settled != ORM_OK) return settled;
        ORM_TRY(stmt_send(conn, stmt, err));
        /* what has just left is not answered yet: no need to look */
        return PQflush(conn->pg) == 0 ? ORM_WANT_READ : ORM_OK;
    }
    orm_status status = results_receive(conn, stmt, err);
    if (status == ORM_WANT_READ || status == ORM_WANT_WRITE) {
        orm_status asked = budget_ask(budget, false, err);
        if (asked < 0) stmt_leave(conn, stmt);
        return asked < 0 ? asked : status;
    }
    if (status != ORM_OK) return status;
    if (!stmt->result) return pg_fail(conn, NULL, NULL, err);
    if (stmt->failed_first) return answer_fail(conn, stmt, budget, err);
    return stmt->phase == PG_PREPARING ? stmt_describe(conn, stmt, err)
                                       : answer_check(conn, stmt, err);
}

orm_status pg_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target, orm_budget *budget,
                   orm_exec_info *info, orm_error *err)
{
    if (stmt->phase == PG_IDLE || stmt->phase == PG_ENDED)
        return orm_fail(err, ORM_EMISUSE, "the statement is not running; start it first");
    if (budget) budget->rewound = false;
    while (stmt->phase != PG_ROWS) {
        orm_status status = step_once(conn, stmt, budget, err);
        if (status < 0) return stmt_fail(conn, stmt, status, err);
        if (status != ORM_OK) return status;
    }
    return rows_deliver(conn, stmt, target, budget, info, err);
}

void pg_reset(orm_conn *conn, orm_stmt *stmt)
{
    if (conn->running == stmt) {
        stmt_leave(conn, stmt);
        (void)pg_settle(conn, NULL); /* the answer may be here by now */
    }
    PQclear(stmt->result);
    stmt->result = NULL;
    stmt->params = NULL;
    orm_arena_reset(&stmt->arena);
    stmt->phase = PG_IDLE;
}

const orm_driver orm_postgresql_driver = {
    .size = sizeof(orm_driver),
    .name = "postgresql",
    .open = pg_open,
    .close = pg_close,
    .state = pg_state,
    .prepare = pg_prepare,
    .finalize = pg_finalize,
    .column_count = pg_column_count,
    .column_name = pg_column_name,
    .is_readonly = pg_is_readonly,
    .lead = pg_lead,
    .start = pg_start,
    .step = pg_step,
    .reset = pg_reset,
    .cancel = pg_cancel,
    .settle = pg_settle,
    .renew = pg_renew,
    .max_params = pg_max_params,
    .options = pg_options,
};
