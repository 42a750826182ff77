/* statement.c - prepare, start, step, reset: the driver's hot path.
 *
 * States of a statement:   prepared --start--> started --step: DONE or error--> ended
 *                             ^-----------------------reset----------------------'
 * A step that answers ORM_PENDING leaves it started, or (rewound) prepared.
 */
#include "sqlite.h"
#include <limits.h>
#include <math.h>

/* Rows between two looks at the budget; 4 KiB of text count as a row. */
enum {
    ROWS_PER_CHECK = 32,
    ROW_BYTES_SHIFT = 12
};

/* ---- prepare ------------------------------------------------------------------------------ */

/* What follows the first statement is nothing but white space, comments and semicolons. */
static bool tail_is_empty(const char *at, const char *end)
{
    while (at < end) {
        char c = *at;
        if (c == ' ' || c == ';' || (c >= '\t' && c <= '\r')) {
            at++;
        } else if (c == '-' && end - at > 1 && at[1] == '-') {
            while (at < end && *at != '\n') at++;
        } else if (c == '/' && end - at > 1 && at[1] == '*') {
            at += 2;
            while (end - at > 1 && !(at[0] == '*' && at[1] == '/')) at++;
            at = end - at > 1 ? at + 2 : end;
        } else {
            return false;
        }
    }
    return true;
}

static bool text_mentions(const char *text, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= len; i++)
        if ((text[i] | 0x20) == word[0] && sqlite3_strnicmp(text + i, word, (int)n) == 0)
            return true;
    return false;
}

static orm_status columns_hash(sqlite3_stmt *handle, uint64_t *out)
{
    int n = sqlite3_column_count(handle);
    uint64_t hash = (uint64_t)n;
    for (int i = 0; i < n; i++) {
        const char *name = sqlite3_column_name(handle, i);
        if (!name) return ORM_ENOMEM;
        hash = orm_hash_bytes(name, strlen(name), hash);
    }
    *out = hash;
    return ORM_OK;
}

static orm_status stmt_init_columns(orm_stmt *stmt, orm_error *err)
{
    stmt->n_columns = (size_t)sqlite3_column_count(stmt->handle);
    stmt->n_cells = stmt->n_columns;
    if (stmt->n_cells) {
        stmt->cells = orm_alloc0(stmt->n_cells * sizeof(orm_cell));
        if (!stmt->cells) return orm_fail_nomem(err);
    }
    if (columns_hash(stmt->handle, &stmt->shape) < 0) return orm_fail_nomem(err);
    stmt->reprepared = sqlite3_stmt_status(stmt->handle, SQLITE_STMTSTATUS_REPREPARE, 0);
    return ORM_OK;
}

static void stmt_free(orm_stmt *stmt)
{
    sqlite3_finalize(stmt->handle);
    orm_dealloc(stmt->cells);
    orm_dealloc(stmt);
}

/* A handler of ours has ended the call; SQLite's code says only that it ended. */
static bool is_stopped(const orm_conn *conn, int code)
{
    int primary = code & 0xff;
    return (conn->stop == STOP_CANCEL || conn->stop == STOP_DEADLINE) &&
           (primary == SQLITE_INTERRUPT || primary == SQLITE_BUSY);
}

static orm_status fail_stopped(orm_conn *conn, int code, orm_error *err)
{
    orm_status status = conn->stop == STOP_CANCEL ? ORM_ECANCELLED : ORM_EQUERYTIMEOUT;
    orm_fail(err, status,
             status == ORM_ECANCELLED ? "the statement was cancelled"
                                      : "the statement ran into its deadline");
    if (err) {
        err->native = code;
        memcpy(err->backend, "sqlite", sizeof("sqlite"));
    }
    return status;
}

/* The error of a call that worked on `sql`. */
static orm_status call_fail(orm_conn *conn, int code, const char *sql, size_t len, orm_error *err)
{
    if (is_stopped(conn, code)) return fail_stopped(conn, code, err);
    int offset = sqlite3_error_offset(conn->db);
    orm_status status = sqlite_fail(conn, code, err);
    return code == SQLITE_ERROR ? sqlite_diagnose(conn, sql, len, offset, err) : status;
}

/* What SQLite knows of the schema may be older than the file: then "trigger t already exists" may
 * be an error of the past, and SQLite itself does not look again.  A statement that runs does. */
static int prepare_current(orm_conn *conn, const char *sql, int len, sqlite3_stmt **out,
                           const char **tail)
{
    int code = sqlite3_prepare_v3(conn->db, sql, len, SQLITE_PREPARE_PERSISTENT, out, tail);
    if (code != SQLITE_ERROR) return code;
    int looked = sqlite3_exec(conn->db, "SELECT 1 FROM sqlite_schema LIMIT 1", NULL, NULL, NULL);
    if (looked != SQLITE_OK) return looked;
    return sqlite3_prepare_v3(conn->db, sql, len, SQLITE_PREPARE_PERSISTENT, out, tail);
}

static orm_status prepare_handle(orm_conn *conn, const char *sql, size_t len, sqlite3_stmt **out,
                                 orm_error *err)
{
    if (len > INT_MAX)
        return orm_fail(err, ORM_ETOOCOMPLEX, "the SQL text is too long: %zu bytes", len);
    const char *tail = NULL;
    int code = prepare_current(conn, sql, (int)len, out, &tail);
    if (code == SQLITE_TOOBIG)
        return orm_fail(err, ORM_ETOOCOMPLEX, "the SQL text is too long: %zu bytes", len);
    if (code != SQLITE_OK) return call_fail(conn, code, sql, len, err);
    if (tail && !tail_is_empty(tail, sql + len))
        return orm_fail(err, ORM_EPROGRAMMING,
                        "there is text behind the first statement; "
                        "expected one statement at a time");
    if (!*out) return orm_fail(err, ORM_EPROGRAMMING, "the statement is empty");
    return ORM_OK;
}

orm_status sqlite_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                          orm_stmt **out, orm_error *err)
{
    orm_stmt *stmt = orm_alloc0(sizeof(*stmt));
    if (!stmt) return orm_fail_nomem(err);
    budget_enter(conn, budget, NULL, false);
    orm_status status = prepare_handle(conn, sql, len, &stmt->handle, err);
    budget_leave(conn);
    if (status >= 0) status = stmt_init_columns(stmt, err);
    if (status < 0) {
        stmt_free(stmt);
        return status;
    }
    stmt->conn = conn;
    /* SQLite calls BEGIN, COMMIT and ATTACH read-only too; none of them has columns */
    stmt->writes = !sqlite3_stmt_readonly(stmt->handle);
    stmt->reads = stmt->n_columns > 0 && !stmt->writes;
    stmt->keeps_rowid = !stmt->reads && text_mentions(sql, len, "last_insert_rowid");
    stmt->next = conn->statements;
    stmt->link = &conn->statements;
    if (stmt->next) stmt->next->link = &stmt->next;
    conn->statements = stmt;
    *out = stmt;
    return ORM_OK;
}

void sqlite_finalize(orm_conn *conn, orm_stmt *stmt)
{
    if (!stmt) return;
    sqlite_reset(conn, stmt);
    *stmt->link = stmt->next;
    if (stmt->next) stmt->next->link = stmt->link;
    stmt_free(stmt);
}

size_t sqlite_column_count(orm_stmt *stmt)
{
    return stmt->n_columns;
}

const char *sqlite_column_name(orm_stmt *stmt, size_t i)
{
    return i < stmt->n_columns ? sqlite3_column_name(stmt->handle, (int)i) : NULL;
}

bool sqlite_is_readonly(orm_stmt *stmt)
{
    return stmt->reads;
}

/* ---- start -------------------------------------------------------------------------------- */

static orm_status bind_value(orm_stmt *stmt, int i, const orm_value *value, orm_error *err)
{
    int code;
    switch (value->kind) {
    case ORM_V_NULL: code = sqlite3_bind_null(stmt->handle, i); break;
    case ORM_V_BOOL:
    case ORM_V_INT: code = sqlite3_bind_int64(stmt->handle, i, value->as.i); break;
    case ORM_V_FLOAT:
        if (isnan(value->as.f))
            return orm_fail(err, ORM_EDATA, "parameter %d is NaN; expected a number or NULL", i);
        code = sqlite3_bind_double(stmt->handle, i, value->as.f);
        break;
    case ORM_V_TEXT:
        stmt->bound_pointers = true;
        code = sqlite3_bind_text64(stmt->handle, i, value->len ? value->as.ptr : "", value->len,
                                   SQLITE_STATIC, SQLITE_UTF8);
        break;
    case ORM_V_BLOB:
        stmt->bound_pointers = true;
        code = sqlite3_bind_blob64(stmt->handle, i, value->len ? value->as.ptr : "", value->len,
                                   SQLITE_STATIC);
        break;
    default:
        return orm_fail(err, ORM_EMISUSE, "parameter %d: SQLite has no kind '%s'", i,
                        orm_value_kind_name(value->kind));
    }
    return ORM_LIKELY(code == SQLITE_OK) ? ORM_OK : sqlite_fail(stmt->conn, code, err);
}

static void stmt_unbind(orm_stmt *stmt)
{
    if (!stmt->bound_pointers) return;
    stmt->bound_pointers = false;
    sqlite3_clear_bindings(stmt->handle);
}

orm_status sqlite_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                        orm_error *err)
{
    if (ORM_UNLIKELY(stmt->started))
        return orm_fail(err, ORM_EMISUSE,
                        "the statement is running; reset it before it starts again");
    size_t expected = (size_t)sqlite3_bind_parameter_count(stmt->handle);
    if (ORM_UNLIKELY(n != expected))
        return orm_fail(err, ORM_EPROGRAMMING, "the statement has %zu parameters, %zu were given",
                        expected, n);
    for (size_t i = 0; i < n; i++) {
        orm_status status = bind_value(stmt, (int)i + 1, &params[i], err);
        if (ORM_UNLIKELY(status < 0)) {
            stmt_unbind(stmt);
            return status;
        }
    }
    stmt->was_in_tx = !sqlite3_get_autocommit(conn->db);
    stmt->delivered = 0;
    if (!stmt->reads) {
        stmt->changes_before = sqlite3_total_changes64(conn->db);
        stmt->rowid_before = sqlite3_last_insert_rowid(conn->db);
        if (!stmt->keeps_rowid) sqlite3_set_last_insert_rowid(conn->db, 0);
    }
    stmt->started = true;
    return ORM_OK;
}

/* ---- step --------------------------------------------------------------------------------- */

/* Fills the cells from the current row; *bytes is the size of its texts.  A text that cannot be
 * had (SQLite converts UTF-16 databases) is out of memory.  Reading through sqlite3_value takes a
 * sixth off a row; it is as safe as sqlite3_column_… while one thread uses the connection. */
static bool stmt_read_row(orm_stmt *stmt, size_t *bytes)
{
    sqlite3_stmt *handle = stmt->handle;
    size_t total = 0;
    for (size_t i = 0, n = stmt->n_columns; i < n; i++) {
        orm_cell *cell = &stmt->cells[i];
        sqlite3_value *value = sqlite3_column_value(handle, (int)i);
        switch (sqlite3_value_type(value)) {
        case SQLITE_INTEGER:
            cell->kind = ORM_V_INT;
            cell->as.i = sqlite3_value_int64(value);
            break;
        case SQLITE_FLOAT:
            cell->kind = ORM_V_FLOAT;
            cell->as.f = sqlite3_value_double(value);
            break;
        case SQLITE_TEXT:
            cell->kind = ORM_V_TEXT;
            cell->as.ptr = sqlite3_value_text(value);
            if (ORM_UNLIKELY(!cell->as.ptr)) return false;
            total += cell->len = (uint32_t)sqlite3_value_bytes(value);
            break;
        case SQLITE_BLOB:
            cell->kind = ORM_V_BLOB;
            cell->as.ptr = sqlite3_value_blob(value);
            total += cell->len = (uint32_t)sqlite3_value_bytes(value);
            if (ORM_UNLIKELY(!cell->as.ptr)) {
                if (cell->len) return false;
                cell->as.ptr = "";
            }
            break;
        default: cell->kind = ORM_V_NULL; break;
        }
    }
    *bytes = total;
    return true;
}

/* Whether it may have written: BEGIN IMMEDIATE takes the lock, but the writing is others'. */
static bool stmt_has_written(const orm_conn *conn, const orm_stmt *stmt)
{
    return stmt->writes && (stmt->was_in_tx || sqlite3_get_autocommit(conn->db));
}

/* The statement is over, one way or another.  Whatever was written is committed now unless a
 * transaction is open: tell the readers of this file. */
static void stmt_end(orm_conn *conn, orm_stmt *stmt)
{
    if (stmt->ended) return;
    stmt->ended = true;
    if (stmt->reads) return;
    if (sqlite3_last_insert_rowid(conn->db) == 0)
        sqlite3_set_last_insert_rowid(conn->db, stmt->rowid_before);
    conn->has_written |= stmt_has_written(conn, stmt);
    if (!sqlite3_get_autocommit(conn->db)) return;
    if (conn->has_written) __atomic_add_fetch(&conn->file->commits, 1, __ATOMIC_ACQ_REL);
    conn->has_written = false;
}

/* Ends a statement between two rows.  A write has done all its work before its first row, and
 * outside a transaction this commits it. */
static void stmt_abandon(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    sqlite3_reset(stmt->handle);
    stmt_end(conn, stmt);
    if (err && !stmt->reads && sqlite3_get_autocommit(conn->db)) err->outcome = ORM_OUTCOME_UNKNOWN;
}

/* SQLite prepares a statement again by itself when the schema has changed; with other columns
 * than before, the caller's layout no longer fits.  Asked once per start, at the first row. */
static orm_status stmt_check_columns(orm_stmt *stmt, orm_error *err)
{
    stmt->checked = true;
    int times = sqlite3_stmt_status(stmt->handle, SQLITE_STMTSTATUS_REPREPARE, 0);
    if (ORM_LIKELY(times == stmt->reprepared)) return ORM_OK;
    uint64_t shape;
    if (columns_hash(stmt->handle, &shape) < 0) return orm_fail_nomem(err);
    if (shape == stmt->shape) {
        stmt->reprepared = times;
        return ORM_OK;
    }
    orm_fail(err, ORM_ECACHEDSTMT,
             "the columns of the result have changed since the statement "
             "was prepared");
    if (err) {
        err->native = SQLITE_SCHEMA;
        err->flags = stmt->reads ? ORM_ERROR_RETRYABLE : 0;
    }
    return ORM_ECACHEDSTMT;
}

static orm_status step_fail(orm_conn *conn, orm_stmt *stmt, int code, orm_budget *budget,
                            orm_error *err)
{
    if (conn->stop == STOP_YIELD && (code & 0xff) == SQLITE_INTERRUPT) {
        sqlite_reset(conn, stmt);
        budget->rewound = true;
        return ORM_PENDING;
    }
    stmt_end(conn, stmt);
    const char *sql = sqlite3_sql(stmt->handle);
    orm_status status = call_fail(conn, code, sql, strlen(sql), err);
    if (err && stmt->was_in_tx && sqlite3_get_autocommit(conn->db))
        err->outcome = ORM_OUTCOME_ROLLED_BACK;
    return status;
}

static void step_done(orm_conn *conn, orm_stmt *stmt, orm_exec_info *info)
{
    int64_t affected = 0, all = 0, key = 0;
    if (!stmt->reads) {
        all = sqlite3_total_changes64(conn->db) - stmt->changes_before;
        /* sqlite3_changes keeps the number of an older statement after DDL */
        if (all) affected = sqlite3_changes64(conn->db);
        int64_t last = sqlite3_last_insert_rowid(conn->db);
        if (!stmt->keeps_rowid || last != stmt->rowid_before) key = last;
    }
    stmt_end(conn, stmt);
    if (info) {
        info->affected = affected;
        info->cascaded = all - affected;
        info->last_key = key;
        info->delivered = stmt->delivered;
    }
}

/* One row to the target.  ORM_OK: go on. */
static orm_status step_row(orm_stmt *stmt, const orm_row_target *target, size_t *bytes,
                           orm_error *err)
{
    stmt->delivered++;
    if (ORM_UNLIKELY(!stmt->checked)) ORM_TRY(stmt_check_columns(stmt, err));
    if (!target || !target->row) return ORM_OK;
    if (ORM_UNLIKELY(!stmt_read_row(stmt, bytes))) return orm_fail_nomem(err);
    return target->row(target->self, stmt->cells, err);
}

static orm_status step_rows(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                            orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    size_t rows_left = ROWS_PER_CHECK;
    for (;;) {
        int code = sqlite3_step(stmt->handle);
        if (code == SQLITE_DONE) {
            step_done(conn, stmt, info);
            return ORM_DONE;
        }
        if (ORM_UNLIKELY(code != SQLITE_ROW)) return step_fail(conn, stmt, code, budget, err);

        size_t bytes = 0;
        orm_status status = step_row(stmt, target, &bytes, err);
        if (ORM_UNLIKELY(status != ORM_OK)) {
            if (status < 0) {
                stmt_abandon(conn, stmt, err);
                return status;
            }
            /* enough rows; a write still runs to its end */
            target = NULL;
            if (stmt->reads) {
                step_done(conn, stmt, info);
                return ORM_DONE;
            }
        }
        size_t weight = 1 + (bytes >> ROW_BYTES_SHIFT);
        if (ORM_LIKELY(weight < rows_left && !conn->yield_due)) {
            rows_left -= weight;
            continue;
        }
        rows_left = ROWS_PER_CHECK;
        conn->yield_due = false;
        conn->stop = budget ? budget_check(budget) : STOP_NONE;
        if (conn->stop == STOP_YIELD) return ORM_PENDING;
        if (conn->stop && stmt->reads) {
            stmt_abandon(conn, stmt, NULL);
            return fail_stopped(conn, SQLITE_INTERRUPT, err);
        }
    }
}

orm_status sqlite_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                       orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    if (ORM_UNLIKELY(!stmt->started || stmt->ended))
        return orm_fail(err, ORM_EMISUSE, "the statement is not running; start it first");
    budget_enter(conn, budget, stmt->handle, stmt->reads);
    if (budget) budget->rewound = false;
    orm_status status = step_rows(conn, stmt, target, budget, info, err);
    budget_leave(conn);
    return status;
}

void sqlite_reset(orm_conn *conn, orm_stmt *stmt)
{
    if (!stmt->started) return;
    sqlite3_reset(stmt->handle);
    stmt_end(conn, stmt);
    stmt_unbind(stmt);
    stmt->started = stmt->ended = stmt->checked = false;
}

const orm_driver orm_sqlite_driver = {
    .size = sizeof(orm_driver),
    .flags = ORM_DRIVER_EMBEDDED,
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .state = sqlite_state,
    .prepare = sqlite_prepare,
    .finalize = sqlite_finalize,
    .column_count = sqlite_column_count,
    .column_name = sqlite_column_name,
    .is_readonly = sqlite_is_readonly,
    .start = sqlite_start,
    .step = sqlite_step,
    .reset = sqlite_reset,
    .max_params = sqlite_max_params,
    .maintain = sqlite_maintain,
    .wants_maintenance = sqlite_wants_maintenance,
    .write_counter = sqlite_write_counter,
    .traits = sqlite_traits,
    .options = sqlite_options,
};
