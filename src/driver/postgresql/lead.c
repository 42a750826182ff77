/* lead.c - statements that travel with the next one: BEGIN, SAVEPOINT.
 *
 * They go out in one write with that statement, before it and under the same Sync.  Should one of
 * them fail, the server skips what follows, and the statement's answer is that error.
 */
#include "postgresql.h"

orm_status pg_lead(orm_conn *conn, const char *sql, size_t len, orm_error *err)
{
    if (conn->running)
        return orm_fail(err, ORM_EMISUSE, "another statement runs on this connection");
    if (pg_state(conn) == ORM_CONN_FAILED_TX) { /* it would stand in the way of its ROLLBACK */
        orm_fail(err, ORM_EROLLEDBACK, "a statement of the transaction has failed");
        if (err) err->outcome = ORM_OUTCOME_ROLLED_BACK;
        return ORM_EROLLEDBACK;
    }
    orm_buf_add(&conn->leads, sql, len);
    orm_buf_addc(&conn->leads, '\0');
    orm_status status = orm_buf_status(&conn->leads, err);
    if (status < 0) orm_buf_reset(&conn->leads); /* for the next one there may be memory again */
    return status;
}

bool pg_leads_send(orm_conn *conn)
{
    orm_buf *leads = &conn->leads;
    for (size_t at = 0; at < leads->len; at += strlen(leads->ptr + at) + 1)
        if (!PQsendQueryParams(conn->pg, leads->ptr + at, 0, NULL, NULL, NULL, NULL, 1))
            return false;
    orm_buf_reset(leads);
    return true;
}
