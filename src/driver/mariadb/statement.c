/* statement.c - a statement's phases.
 *
 *   start:  READY -> SETTLE (-> PREPARE) -> EXECUTE -> STORE -> ROWS -> ENDED   (no rows: to ENDED)
 *                       any of them, on an error inside a transaction, -> FAILED -> ENDED
 *   reset:  any -> READY
 *
 * A phase that has to wait answers ORM_WANT_…; step comes back to it.  In FAILED the server is
 * asked where the transaction stands, because its errors do not say: a deadlock rolls back all of
 * it, a duplicate key the statement alone, and a failed ALTER TABLE has committed first.
 */
#include "mariadb.h"
#include <errmsg.h>
#include <mysqld_error.h>

/* Rows between two looks at the budget; 4 KiB of text count as a row. */
enum {
    ROWS_PER_CHECK = 32,
    ROW_BYTES_SHIFT = 12
};

/* ---- prepare --------------------------------------------------------------------------------- */

orm_status maria_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                         orm_stmt **out, orm_error *err)
{
    bool is_single;
    (void)budget;
    if (len > conn->max_packet)
        return orm_fail(err, ORM_ETOOCOMPLEX,
                        "the SQL text takes %zu bytes; the server accepts %llu "
                        "(max_allowed_packet)",
                        len, (unsigned long long)conn->max_packet);
    if (text_is_empty(sql, len)) return orm_fail(err, ORM_EPROGRAMMING, "the statement is empty");
    size_t used = text_first_statement(sql, len, &is_single);
    if (!is_single)
        return orm_fail(err, ORM_EPROGRAMMING,
                        "there is text behind the first statement; expected one statement at a "
                        "time");
    if (text_calls(sql, used))
        return orm_fail(err, ORM_ENOTSUPPORTED,
                        "CALL answers with more than one result; this driver takes one");
    orm_stmt *stmt = orm_alloc0(sizeof(*stmt));
    char *copy = orm_strdup_n(sql, used);
    if (!stmt || !copy) {
        orm_dealloc(stmt);
        orm_dealloc(copy);
        return orm_fail_nomem(err);
    }
    stmt->conn = conn;
    stmt->sql = copy;
    stmt->sql_len = used;
    stmt->reads = text_reads(copy, used);
    stmt->is_dml = text_is_dml(copy, used);
    stmt->next = conn->statements;
    stmt->link = &conn->statements;
    if (stmt->next) stmt->next->link = &stmt->next;
    conn->statements = stmt;
    *out = stmt;
    return ORM_OK;
}

void maria_finalize(orm_conn *conn, orm_stmt *stmt)
{
    if (!stmt) return;
    maria_reset(conn, stmt);
    call_abandon(conn, stmt, true);
    if (stmt->handle) mysql_stmt_close(stmt->handle);
    *stmt->link = stmt->next;
    if (stmt->next) stmt->next->link = stmt->link;
    columns_dispose(stmt);
    orm_dealloc(stmt->params);
    orm_dealloc(stmt->failure);
    orm_dealloc(stmt->sql);
    orm_dealloc(stmt);
}

size_t maria_column_count(orm_stmt *stmt)
{
    return stmt->n_columns;
}

const char *maria_column_name(orm_stmt *stmt, size_t i)
{
    const MYSQL_FIELD *fields = stmt->handle ? mariadb_stmt_fetch_fields(stmt->handle) : NULL;
    return fields && i < stmt->n_columns ? fields[i].name : NULL;
}

bool maria_is_readonly(orm_stmt *stmt)
{
    return stmt->reads;
}

/* ---- start and reset ------------------------------------------------------------------------- */

orm_status maria_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                       orm_error *err)
{
    if (ORM_UNLIKELY(stmt->phase != PHASE_READY))
        return orm_fail(err, ORM_EMISUSE,
                        "the statement is running; reset it before it starts again");
    ORM_TRY(params_check(conn, stmt, params, n, err));
    stmt->values = params;
    stmt->n_values = n;
    stmt->delivered = 0;
    stmt->has_sent = false;
    stmt->phase = PHASE_SETTLE;
    return ORM_OK;
}

void maria_reset(orm_conn *conn, orm_stmt *stmt)
{
    if (stmt->phase == PHASE_READY) return;
    call_abandon(conn, stmt, false);
    /* the rows are here already: nothing is read from the socket */
    if (stmt->handle && stmt->handle != conn->left) mysql_stmt_free_result(stmt->handle);
    columns_release(stmt);
    stmt->values = NULL;
    stmt->phase = PHASE_READY;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static orm_status fail_budget(orm_stmt *stmt, orm_status status, orm_error *err)
{
    orm_fail(err, status,
             status == ORM_ECANCELLED ? "the statement was cancelled"
                                      : "the statement ran into its deadline");
    if (err) {
        memcpy(err->backend, MARIADB_NAME, sizeof(MARIADB_NAME));
        if (stmt->has_sent && !stmt->reads) err->outcome = ORM_OUTCOME_UNKNOWN;
    }
    return status;
}

/* ORM_OK, or which end the budget asks for. */
static orm_status budget_end(const orm_budget *budget)
{
    if (!budget) return ORM_OK;
    if (__atomic_load_n(&budget->stop, __ATOMIC_ACQUIRE)) return ORM_ECANCELLED;
    bool late = budget->deadline_ns && orm_now_ns() >= budget->deadline_ns;
    return late ? ORM_EQUERYTIMEOUT : ORM_OK;
}

/* The statement is over with the error in err; what its transaction became is known now. */
static orm_status stmt_end_failed(orm_stmt *stmt, orm_error *err)
{
    bool is_broken = stmt->conn->broken;
    bool in_tx = !is_broken && stmt->conn->status & SERVER_STATUS_IN_TRANS;
    bool has_happened = err->native == CR_NEW_STMT_METADATA; /* its rows do not fit, that is all */
    stmt->phase = PHASE_ENDED;
    if (stmt->was_in_tx && !in_tx && stmt->is_dml)
        err->outcome = ORM_OUTCOME_ROLLED_BACK;
    else if (stmt->has_sent && !stmt->reads && !in_tx && (is_broken || has_happened))
        err->outcome = ORM_OUTCOME_UNKNOWN;
    return err->status;
}

/* A call has failed, and err says how.  Inside a transaction, or when rows may be left, the error
 * is kept until the server has said how things stand: ORM_OK, in phase FAILED. */
static orm_status stmt_fail(orm_stmt *stmt, const orm_budget *budget, orm_error *err)
{
    orm_status end = budget_end(budget);
    if (err->native == ER_QUERY_INTERRUPTED && end < 0) {
        fail_budget(stmt, end, err);
        err->native = ER_QUERY_INTERRUPTED;
        err->outcome = ORM_OUTCOME_NONE; /* the server has undone it */
    }
    bool is_clear = !stmt->was_in_tx && !stmt->conn->left;
    if (is_clear || stmt->conn->broken) return stmt_end_failed(stmt, err);
    if (!stmt->failure) stmt->failure = orm_alloc(sizeof(*stmt->failure));
    if (!stmt->failure) return stmt_end_failed(stmt, err);
    *stmt->failure = *err;
    stmt->phase = PHASE_FAILED;
    stmt->has_asked = 0;
    return ORM_OK;
}

/* ---- phases: ORM_OK = go on with the next -------------------------------------------------------- */

static orm_status phase_settle(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    orm_status status = maria_settle(conn, err);
    if (status == ORM_EMISUSE) return status;
    if (status < 0) stmt->phase = PHASE_ENDED;
    if (status != ORM_OK) return status;
    stmt->was_in_tx = conn->status & SERVER_STATUS_IN_TRANS;
    stmt->phase = stmt->is_prepared ? PHASE_EXECUTE : PHASE_PREPARE;
    return ORM_OK;
}

static orm_status phase_prepare(orm_conn *conn, orm_stmt *stmt, const orm_budget *budget,
                                orm_error *err)
{
    if (!stmt->handle) {
        stmt->handle = mysql_stmt_init(conn->mysql);
        if (!stmt->handle) {
            stmt->phase = PHASE_ENDED;
            return orm_fail_nomem(err);
        }
    }
    orm_status status = call_drive(conn, CALL_PREPARE, stmt);
    if (status != ORM_OK) return status;
    if (conn->result) {
        maria_fail(conn, stmt->handle, err);
        return stmt_fail(stmt, budget, err);
    }
    stmt->is_prepared = true;
    stmt->n_params = mysql_stmt_param_count(stmt->handle);
    stmt->n_columns = mysql_stmt_field_count(stmt->handle);
    stmt->phase = PHASE_EXECUTE;
    return ORM_OK;
}

/* The handle is of no use any more, and rows may be waiting in it: the next start prepares the
 * statement again. */
static void forget_handle(orm_stmt *stmt)
{
    stmt->conn->left = stmt->handle;
    stmt->conn->left_closes = true;
    stmt->handle = NULL;
    stmt_forget(stmt);
}

void stmt_forget(orm_stmt *stmt)
{
    if (stmt->handle) mysql_stmt_close(stmt->handle);
    stmt->handle = NULL;
    stmt->is_prepared = false;
    columns_dispose(stmt);
    orm_dealloc(stmt->params);
    stmt->params = NULL;
    stmt->shape = 0;
}

static orm_status phase_execute(orm_conn *conn, orm_stmt *stmt, const orm_budget *budget,
                                orm_error *err)
{
    if (conn->call == CALL_NONE) {
        orm_status bound = params_bind(stmt, err);
        if (bound < 0) {
            stmt->phase = PHASE_ENDED;
            return bound;
        }
        stmt->has_sent = true;
    }
    orm_status status = call_drive(conn, CALL_EXECUTE, stmt);
    if (status != ORM_OK) return status;
    stmt->n_columns = conn->result ? 0 : mysql_stmt_field_count(stmt->handle);
    status = conn->result ? maria_fail(conn, stmt->handle, err) : ORM_OK;
    if (stmt->n_columns) status = columns_bind(stmt, err);
    if (status < 0) {
        if (status == ORM_ECACHEDSTMT || stmt->n_columns) forget_handle(stmt);
        if (status == ORM_ECACHEDSTMT && stmt->reads) err->flags |= ORM_ERROR_RETRYABLE;
        return stmt_fail(stmt, budget, err);
    }
    stmt->phase = stmt->n_columns ? PHASE_STORE : PHASE_ENDED;
    return ORM_OK;
}

static orm_status phase_store(orm_conn *conn, orm_stmt *stmt, const orm_budget *budget,
                              orm_error *err)
{
    orm_status status = call_drive(conn, CALL_STORE, stmt);
    if (status != ORM_OK) return status;
    if (conn->result) {
        maria_fail(conn, stmt->handle, err);
        /* the library believes that its rows are still to come, and would wait for them before it
         * runs the handle again */
        stmt_forget(stmt);
        return stmt_fail(stmt, budget, err);
    }
    stmt->phase = PHASE_ROWS;
    return ORM_OK;
}

static orm_status phase_failed(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    orm_status status = call_settle_left(conn, NULL);
    if (status == ORM_OK) status = call_drive(conn, CALL_FENCE, stmt);
    if (status == ORM_WANT_READ || status == ORM_WANT_WRITE) return status;
    if (status == ORM_OK && conn->result) maria_fail(conn, NULL, NULL);
    /* a KILL that came late has ended the question: ask once more */
    if (conn->result && !conn->broken && stmt->has_asked++ == 0) return ORM_OK;
    *err = *stmt->failure;
    return stmt_end_failed(stmt, err);
}

/* ---- rows -------------------------------------------------------------------------------------- */

/* Ends a statement between two rows: it has done all its work. */
static orm_status rows_fail(orm_stmt *stmt, orm_status status, orm_error *err)
{
    bool in_tx = stmt->conn->status & SERVER_STATUS_IN_TRANS;
    stmt->phase = PHASE_ENDED;
    if (!stmt->reads && !in_tx && err) err->outcome = ORM_OUTCOME_UNKNOWN;
    return status;
}

static orm_status fetch_fail(orm_stmt *stmt, orm_error *err)
{
    return rows_fail(stmt, maria_fail(stmt->conn, stmt->handle, err), err);
}

/* One row to the target.  ORM_OK: go on. */
static orm_status row_take(orm_stmt *stmt, const orm_row_target *target, size_t *bytes,
                           orm_error *err)
{
    stmt->delivered++;
    if (!target || !target->row) return ORM_OK;
    ORM_TRY(columns_read(stmt, bytes, err));
    return target->row(target->self, stmt->cells, err);
}

static orm_status phase_rows(orm_stmt *stmt, const orm_row_target *target, orm_budget *budget,
                             orm_error *err)
{
    size_t rows_left = ROWS_PER_CHECK;
    for (;;) {
        int code = mysql_stmt_fetch(stmt->handle);
        if (code == MYSQL_NO_DATA) break;
        if (ORM_UNLIKELY(code != 0 && code != MYSQL_DATA_TRUNCATED)) return fetch_fail(stmt, err);
        size_t bytes = 0;
        orm_status status = row_take(stmt, target, &bytes, err);
        if (ORM_UNLIKELY(status < 0)) return rows_fail(stmt, status, err);
        if (status == ORM_DONE) break;
        size_t weight = 1 + (bytes >> ROW_BYTES_SHIFT);
        if (ORM_LIKELY(weight < rows_left)) {
            rows_left -= weight;
            continue;
        }
        rows_left = ROWS_PER_CHECK;
        orm_status end = budget_end(budget);
        if (end < 0 && stmt->reads) {
            stmt->phase = PHASE_ENDED;
            return fail_budget(stmt, end, err);
        }
        if (budget && budget->yield_ns && orm_now_ns() >= budget->yield_ns) return ORM_PENDING;
    }
    stmt->phase = PHASE_ENDED;
    return ORM_OK;
}

/* ---- step -------------------------------------------------------------------------------------- */

static void info_fill(const orm_stmt *stmt, orm_exec_info *info)
{
    *info = (orm_exec_info){.delivered = stmt->delivered};
    if (stmt->reads) return;
    if (stmt->n_columns) {
        /* RETURNING: the server counts nothing then */
        info->affected = stmt->is_dml ? (int64_t)mysql_stmt_num_rows(stmt->handle) : 0;
        return;
    }
    info->affected = (int64_t)mysql_stmt_affected_rows(stmt->handle);
    if (info->affected < 0) info->affected = 0;
    info->last_key = (int64_t)mysql_stmt_insert_id(stmt->handle);
}

static orm_status phase_run(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                            orm_budget *budget, orm_error *err)
{
    switch (stmt->phase) {
    case PHASE_SETTLE: return phase_settle(conn, stmt, err);
    case PHASE_PREPARE: return phase_prepare(conn, stmt, budget, err);
    case PHASE_EXECUTE: return phase_execute(conn, stmt, budget, err);
    case PHASE_STORE: return phase_store(conn, stmt, budget, err);
    case PHASE_FAILED: return phase_failed(conn, stmt, err);
    default: return phase_rows(stmt, target, budget, err);
    }
}

orm_status maria_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                      orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    orm_error own = {0};
    if (ORM_UNLIKELY(stmt->phase == PHASE_READY || stmt->phase == PHASE_ENDED))
        return orm_fail(err, ORM_EMISUSE, "the statement is not running; start it first");
    if (!err) err = &own;
    if (budget) budget->rewound = false;
    while (stmt->phase != PHASE_ENDED) {
        /* an answer that has come counts, even if it is late */
        bool begins = stmt->phase <= PHASE_EXECUTE && conn->owner != stmt;
        orm_status end = begins ? budget_end(budget) : ORM_OK;
        orm_status status = end < 0 ? end : phase_run(conn, stmt, target, budget, err);
        if (status == ORM_WANT_READ || status == ORM_WANT_WRITE) {
            end = budget_end(budget);
            if (end >= 0) return status;
        }
        if (end < 0) {
            call_abandon(conn, stmt, false);
            stmt->phase = PHASE_ENDED;
            return fail_budget(stmt, end, err);
        }
        if (status != ORM_OK) return status;
    }
    if (info) info_fill(stmt, info);
    return ORM_DONE;
}

const orm_driver orm_mariadb_driver = {
    .size = sizeof(orm_driver),
    .name = MARIADB_NAME,
    .open = maria_open,
    .close = maria_close,
    .state = maria_state,
    .prepare = maria_prepare,
    .finalize = maria_finalize,
    .column_count = maria_column_count,
    .column_name = maria_column_name,
    .is_readonly = maria_is_readonly,
    .start = maria_start,
    .step = maria_step,
    .reset = maria_reset,
    .cancel = maria_cancel,
    .settle = maria_settle,
    .renew = maria_renew,
    .max_params = maria_max_params,
    .options = maria_options,
};
