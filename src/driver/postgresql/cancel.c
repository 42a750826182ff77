/* cancel.c - ends what runs on the server.
 *
 * libpq's PQcancel connects, sends and waits until the server closes that connection, without any
 * limit: a server that was stopped accepts and never closes.  It needs the PGcancel and nothing of
 * the connection, which may be gone by then: whoever sends it does so where nobody waits.
 */
#include "postgresql.h"

typedef struct pg_kill {
    orm_kill kill;
    PGcancel *cancel;
} pg_kill;

static orm_status kill_send(orm_kill *kill, orm_error *err)
{
    pg_kill *self = (pg_kill *)(void *)kill;
    char reason[160] = "";
    if (PQcancel(self->cancel, reason, sizeof reason)) return ORM_OK;
    reason[strcspn(reason, "\n")] = '\0';
    return orm_fail(err, ORM_EOPERATIONAL, "cannot cancel: %s", reason);
}

static void kill_free(orm_kill *kill)
{
    pg_kill *self = (pg_kill *)(void *)kill;
    PQfreeCancel(self->cancel);
    orm_dealloc(self);
}

orm_status pg_cancel(orm_conn *conn, orm_kill **out, orm_error *err)
{
    pg_kill *self = orm_alloc0(sizeof *self);
    if (!self) return orm_fail_nomem(err);
    self->kill = (orm_kill){.send = kill_send, .free = kill_free};
    self->cancel = PQgetCancel(conn->pg);
    if (!self->cancel) {
        orm_dealloc(self);
        return orm_fail(err, ORM_ECONNLOST, "cannot cancel: the connection is gone");
    }
    *out = &self->kill;
    return ORM_OK;
}
