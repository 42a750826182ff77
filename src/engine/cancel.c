/* cancel.c - telling servers to end statements, on one thread that nobody joins.
 *
 * A client library may wait for its server without any limit when it cancels (libpq does).  So
 * cancels are jobs of a crew of one (crew.c).  Whoever needs one, a worker that settles its lane,
 * waits for a while; what is late by then, or finds the queue full, costs the connection, because
 * it could still reach whatever runs on it next.  A cancel that is late goes out all the same: the
 * statement would run on, and nobody else can be hit any more.  One that has become old stays:
 * behind a server that is gone the queue must come to its end.
 */
#include "engine.h"

#define STALE_NS (10000 * ORM_NS_PER_MS)

typedef struct cancel_job {
    orm_job job;
    orm_kill *kill;
    uint64_t asked_ns;
    orm_status status;
} cancel_job;

static cancel_job *cancel_of(orm_job *job)
{
    return (cancel_job *)(void *)job;
}

static void cancel_run(orm_job *job)
{
    cancel_job *self = cancel_of(job);
    if (orm_now_ns() - self->asked_ns < STALE_NS) self->status = self->kill->send(self->kill, NULL);
}

static void cancel_free(orm_job *job)
{
    cancel_job *self = cancel_of(job);
    self->kill->free(self->kill);
    orm_dealloc(self);
}

/* Whether it was sent in time; when the engine is being closed there is less of it, so that nobody
 * closes an engine under a worker. */
static bool wait_for_it(const orm_lane *lane, orm_job *job, uint64_t deadline_ns)
{
    bool closing = false;
    for (uint64_t now = orm_now_ns(); now < deadline_ns; now = orm_now_ns()) {
        if (!closing && __atomic_load_n(&lane->root->closed, __ATOMIC_RELAXED)) {
            closing = true;
            if (now + ORM_CLOSE_NS / 2 < deadline_ns) deadline_ns = now + ORM_CLOSE_NS / 2;
        }
        uint64_t until = deadline_ns < now + ORM_NAP_NS ? deadline_ns : now + ORM_NAP_NS;
        if (orm_crew_wait(lane->root->canceller, job, until)) return true;
    }
    return false;
}

orm_status orm_lane_cancel(orm_lane *lane)
{
    orm_crew *canceller = lane->root->canceller;
    uint64_t now = orm_now_ns();
    if (!lane->driver->cancel) return ORM_OK;
    cancel_job *self = orm_alloc0(sizeof *self);
    if (!self) return ORM_ENOMEM;
    self->job = (orm_job){.refs = 1, .run = cancel_run, .free = cancel_free};
    self->asked_ns = now;
    self->status = ORM_EOPERATIONAL;
    orm_status status = lane->driver->cancel(lane->conn, &self->kill, NULL);
    if (status < 0) {
        orm_dealloc(self);
        return status;
    }
    status = ORM_EOPERATIONAL;
    if (orm_crew_add(canceller, &self->job) && wait_for_it(lane, &self->job, now + ORM_CANCEL_NS))
        status = self->status;
    orm_job_unref(&self->job);
    return status;
}
