/* call.c - one call of the client library at a time.
 *
 * A connection has at most one call that is suspended.  A statement that is reset, or that its
 * budget ends, lets go of its call; whoever uses the connection next settles it first: the call
 * is run to its end, rows that nobody wants are read and dropped, and the trace of a KILL is taken
 * away.  KILL QUERY may reach a connection when its statement is over.  Should it leave a trace
 * for the next one, that is a statement of ours which does nothing (the fence).
 */
#include "mariadb.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>

static const char fence[] = "DO 0";

static MYSQL_STMT *call_handle(const orm_conn *conn)
{
    return conn->owner ? conn->owner->handle : conn->left;
}

static int call_start(orm_conn *conn, int call, orm_stmt *stmt)
{
    MYSQL_STMT *handle = stmt ? stmt->handle : conn->left;
    conn->call = call;
    conn->owner = stmt;
    conn->result = 0;
    conn->no = 0;
    switch (call) {
    case CALL_PREPARE:
        return mysql_stmt_prepare_start(&conn->result, handle, stmt->sql, stmt->sql_len);
    case CALL_EXECUTE: return mysql_stmt_execute_start(&conn->result, handle);
    case CALL_STORE: return mysql_stmt_store_result_start(&conn->result, handle);
    case CALL_DISCARD: return mysql_stmt_free_result_start(&conn->no, handle);
    default: return mysql_real_query_start(&conn->result, conn->mysql, fence, sizeof(fence) - 1);
    }
}

static int call_continue(orm_conn *conn)
{
    MYSQL_STMT *handle = call_handle(conn);
    switch (conn->call) {
    case CALL_PREPARE: return mysql_stmt_prepare_cont(&conn->result, handle, conn->waits);
    case CALL_EXECUTE: return mysql_stmt_execute_cont(&conn->result, handle, conn->waits);
    case CALL_STORE: return mysql_stmt_store_result_cont(&conn->result, handle, conn->waits);
    case CALL_DISCARD: return mysql_stmt_free_result_cont(&conn->no, handle, conn->waits);
    default: return mysql_real_query_cont(&conn->result, conn->mysql, conn->waits);
    }
}

orm_status call_drive(orm_conn *conn, int call, orm_stmt *stmt)
{
    conn->waits = conn->call == CALL_NONE ? call_start(conn, call, stmt) : call_continue(conn);
    conn->base.fd = (int)mysql_get_socket(conn->mysql);
    if (conn->waits) return conn->waits & MYSQL_WAIT_READ ? ORM_WANT_READ : ORM_WANT_WRITE;
    conn->call = CALL_NONE;
    conn->owner = NULL;
    conn->result |= conn->no;
    unsigned status = 0;
    if (mariadb_get_infov(conn->mysql, MARIADB_CONNECTION_SERVER_STATUS, &status) == 0)
        conn->status = status;
    return ORM_OK;
}

/* ---- what is left behind --------------------------------------------------------------------- */

void call_abandon(orm_conn *conn, orm_stmt *stmt, bool closes)
{
    if (conn->owner == stmt && conn->call != CALL_NONE) {
        conn->owner = NULL;
        conn->left = stmt->handle;
        conn->left_closes = false;
    }
    if (closes && conn->left && conn->left == stmt->handle) {
        conn->left_closes = true;
        stmt->handle = NULL;
    }
}

static orm_status fail_broken(orm_error *err)
{
    orm_fail(err, ORM_ECONNLOST, "the connection to the server is lost");
    if (err) {
        err->flags = ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE;
        memcpy(err->backend, MARIADB_NAME, sizeof(MARIADB_NAME));
    }
    return ORM_ECONNLOST;
}

/* The abandoned call has come to its end: does it leave rows? */
static bool left_has_rows(const orm_conn *conn, int call)
{
    return call == CALL_EXECUTE && conn->result == 0 && mysql_stmt_field_count(conn->left) > 0;
}

orm_status call_settle_left(orm_conn *conn, orm_error *err)
{
    while (conn->left) {
        int call = conn->call;
        orm_status status = call_drive(conn, CALL_DISCARD, NULL);
        if (status != ORM_OK) return status;
        if (conn->result) maria_fail(conn, conn->left, NULL);
        if (conn->broken) return fail_broken(err);
        if (left_has_rows(conn, call)) continue;
        if (conn->left_closes)
            mysql_stmt_close(conn->left);
        else if (call == CALL_STORE)
            mysql_stmt_free_result(conn->left);
        conn->left = NULL;
    }
    return ORM_OK;
}

orm_status maria_settle(orm_conn *conn, orm_error *err)
{
    if (conn->broken) return fail_broken(err);
    if (conn->owner)
        return orm_fail(err, ORM_EMISUSE, "another statement of the connection is running");
    orm_status status = call_settle_left(conn, err);
    if (status != ORM_OK) return status;
    for (;;) {
        uint32_t kills = __atomic_load_n(&conn->target->kills, __ATOMIC_ACQUIRE);
        if (conn->call == CALL_NONE && conn->fenced == kills) return ORM_OK;
        status = call_drive(conn, CALL_FENCE, NULL);
        if (status != ORM_OK) return status;
        if (conn->result) maria_fail(conn, NULL, NULL);
        if (conn->broken) return fail_broken(err);
        conn->fenced = kills;
    }
}

int maria_state(const orm_conn *conn)
{
    if (conn->broken) return ORM_CONN_BROKEN;
    if (conn->call != CALL_NONE || conn->left ||
        conn->fenced != __atomic_load_n(&conn->target->kills, __ATOMIC_ACQUIRE))
        return ORM_CONN_BUSY;
    return conn->status & SERVER_STATUS_IN_TRANS ? ORM_CONN_IN_TX : ORM_CONN_IDLE;
}

/* ---- waiting on this thread ------------------------------------------------------------------ */

int wait_blocking(MYSQL *mysql, int waits, uint64_t deadline_ns)
{
    struct pollfd wait = {.fd = (int)mysql_get_socket(mysql)};
    if (waits & MYSQL_WAIT_READ) wait.events |= POLLIN;
    if (waits & MYSQL_WAIT_WRITE) wait.events |= POLLOUT;
    if (waits & MYSQL_WAIT_EXCEPT) wait.events |= POLLPRI;
    for (;;) {
        uint64_t now = orm_now_ns();
        if (now >= deadline_ns) return MYSQL_WAIT_TIMEOUT;
        uint64_t ms = (deadline_ns - now) / 1000000u + 1;
        int n = poll(&wait, 1, ms < INT_MAX ? (int)ms : INT_MAX);
        if (n > 0) break;
        if (n < 0 && errno != EINTR) return MYSQL_WAIT_TIMEOUT;
    }
    int came = 0;
    if (wait.revents & (POLLIN | POLLHUP | POLLERR)) came |= MYSQL_WAIT_READ;
    if (wait.revents & (POLLOUT | POLLHUP | POLLERR)) came |= MYSQL_WAIT_WRITE;
    if (wait.revents & POLLPRI) came |= MYSQL_WAIT_EXCEPT;
    return came & waits ? came & waits : came;
}
