/* connect.c - connecting to a server, away from the engine's thread and from everybody else.
 *
 * An attempt owns all that it needs: a reference of the database, the time it has, the handle
 * that it makes.  It runs on one of two threads of the engine's (crew.c); a lane waits for it,
 * and no operation does: those wait in the pool's queue, and the first of them gets the first
 * connection that is free, made just now or given back.  So no more attempts are under way than
 * there are threads, and none is begun once nobody waits.
 *
 * The attempt's time counts from when it was asked for, here as in the driver.  What is late, as a
 * name that does not resolve, is left: its operation gets the error, the lane is free, and
 * the thread closes whatever comes of it.
 */
#include "engine.h"
#include <stdio.h>
#include <time.h>

struct orm_attempt {
    orm_job job;
    orm_db *db; /* a reference */
    orm_lane *lane;
    uint64_t not_before_ns, deadline_ns;
    orm_conn *conn;
    orm_status status;
    orm_error error;
};

static orm_attempt *attempt_of(orm_job *job)
{
    return (orm_attempt *)(void *)job;
}

/* ---- on a connector thread ----------------------------------------------------------------- */

/* Behind attempts that failed it waits; not once it is left. */
static void hold_off(const orm_attempt *self)
{
    for (;;) {
        uint64_t now = orm_now_ns();
        if (now >= self->not_before_ns || orm_job_is_left(&self->job)) return;
        uint64_t ns = self->not_before_ns - now;
        struct timespec nap = {.tv_nsec = (long)(ns < ORM_NAP_NS ? ns : ORM_NAP_NS)};
        (void)nanosleep(&nap, NULL);
    }
}

static void attempt_run(orm_job *job)
{
    orm_attempt *self = attempt_of(job);
    orm_conn_config config;
    hold_off(self);
    if (orm_job_is_left(job)) return;
    orm_db_config(self->db, &config);
    self->status = self->db->driver->open(&config, &self->conn, &self->error);
    if (self->status < 0) self->conn = NULL;
}

/* On whichever thread was the last to have it. */
static void attempt_free(orm_job *job)
{
    orm_attempt *self = attempt_of(job);
    if (self->conn) self->db->driver->close(self->conn);
    orm_close(self->db);
    orm_dealloc(self);
}

/* ---- on the engine's thread ---------------------------------------------------------------- */

bool orm_connect_begin(orm_lane *lane, uint64_t not_before_ns)
{
    orm_root *root = lane->root;
    orm_attempt *self = orm_alloc0(sizeof *self);
    if (!self) return false;
    uint64_t now = orm_now_ns(), begin = not_before_ns > now ? not_before_ns : now;
    self->job = (orm_job){.refs = 1, .run = attempt_run, .free = attempt_free};
    self->db = orm_db_ref(root->db);
    self->lane = lane;
    self->not_before_ns = not_before_ns;
    self->deadline_ns = begin + root->db->options.connect_timeout_ms * ORM_NS_PER_MS + ORM_GRACE_NS;
    if (!orm_crew_add(root->connectors, &self->job)) {
        orm_job_unref(&self->job);
        return false;
    }
    lane->attempt = self;
    lane->busy = true;
    lane->since_ns = now;
    root->n_attempts++;
    orm_timer_at(root, self->deadline_ns);
    return true;
}

/* The lane has its connection, or the reason why not. */
static void attempt_end(orm_attempt *self, orm_status status)
{
    orm_lane *lane = self->lane;
    lane->conn = self->conn;
    lane->opened = status;
    lane->error = self->error;
    self->conn = NULL;
    lane->attempt = NULL;
    lane->root->n_attempts--;
}

void orm_connect_collect(orm_root *root)
{
    orm_job *job = orm_crew_collect(root->connectors);
    for (orm_job *next; job; job = next) {
        orm_attempt *self = attempt_of(job);
        orm_lane *lane = self->lane;
        next = job->next;
        bool wanted = !orm_job_is_left(job);
        if (wanted) attempt_end(self, self->status);
        orm_job_unref(job); /* the crew's */
        if (!wanted) continue;
        orm_job_unref(job);
        orm_server_connected(lane);
    }
}

/* The thread may be writing into the attempt: only the lane's error is ours. */
static void attempt_leave(orm_lane *lane)
{
    orm_root *root = lane->root;
    orm_attempt *self = lane->attempt;
    lane->attempt = NULL;
    root->n_attempts--;
    orm_crew_leave(root->connectors, &self->job);
}

uint64_t orm_connect_check(orm_root *root, uint64_t now)
{
    uint64_t next = 0;
    for (uint32_t i = 0; root->n_attempts && i < root->n_lanes; i++) {
        orm_lane *lane = root->lanes[i];
        if (!lane->attempt) continue;
        uint64_t when = lane->attempt->deadline_ns;
        if (now < when) {
            if (!next || when < next) next = when;
            continue;
        }
        attempt_leave(lane);
        lane->opened = orm_fail(&lane->error, ORM_ECONNECT,
                                "cannot connect: no answer within %u ms",
                                root->db->options.connect_timeout_ms);
        lane->error.flags = ORM_ERROR_DISCONNECT | ORM_ERROR_RETRYABLE;
        orm_server_connected(lane);
    }
    return next;
}

void orm_connect_stop(orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (root->lanes[i]->attempt) attempt_leave(root->lanes[i]);
}
