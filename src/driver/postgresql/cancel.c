/* cancel.c - ends what runs on the server, and does not wait for it for ever.
 *
 * libpq's PQcancel connects, sends and waits until the server closes that connection, without any
 * limit: a server that was stopped accepts and never closes.  So the call is made on a thread of
 * its own, which has the PGcancel to itself and is left alone when it is late.  The connection
 * then still has a cancel under way that may hit whatever runs on it next: it has to be closed.
 */
#include "postgresql.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

typedef struct attempt {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    PGcancel *cancel;
    bool done, left; /* left: nobody waits, the thread frees it */
    int taken;       /* what PQcancel said */
    char reason[160];
} attempt;

static void attempt_free(attempt *self)
{
    PQfreeCancel(self->cancel);
    pthread_cond_destroy(&self->cond);
    pthread_mutex_destroy(&self->mutex);
    orm_dealloc(self);
}

static attempt *attempt_new(void)
{
    pthread_condattr_t clock;
    attempt *self = orm_alloc0(sizeof *self);
    if (!self) return NULL;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&self->cond, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&self->mutex, NULL);
    return self;
}

static void *attempt_run(void *arg)
{
    attempt *self = arg;
    int taken = PQcancel(self->cancel, self->reason, sizeof self->reason);
    pthread_mutex_lock(&self->mutex);
    self->taken = taken;
    self->done = true;
    bool left = self->left;
    pthread_cond_signal(&self->cond);
    pthread_mutex_unlock(&self->mutex);
    if (left) attempt_free(self);
    return NULL;
}

/* On a detached thread that no signal disturbs. */
static bool attempt_start(attempt *self)
{
    pthread_t thread;
    pthread_attr_t how;
    sigset_t all, before;
    pthread_attr_init(&how);
    pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, &how, attempt_run, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&how);
    return started;
}

/* Whether it ended in time; if not, it belongs to its thread. */
static bool attempt_wait(attempt *self)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ORM_CANCEL_MS / 1000;
    pthread_mutex_lock(&self->mutex);
    while (!self->done && pthread_cond_timedwait(&self->cond, &self->mutex, &until) != ETIMEDOUT) {
    }
    bool done = self->done;
    self->left = !done;
    pthread_mutex_unlock(&self->mutex);
    return done;
}

orm_status pg_cancel(orm_conn *conn, orm_error *err)
{
    attempt *self = attempt_new();
    if (!self) return orm_fail_nomem(err);
    self->cancel = conn->cancel;
    conn->cancel = NULL;
    if (!self->cancel || !attempt_start(self)) {
        conn->cancel = self->cancel;
        self->cancel = NULL;
        attempt_free(self);
        return orm_fail(err, ORM_EOPERATIONAL, "cannot cancel: no thread could be started");
    }
    if (!attempt_wait(self))
        return orm_fail(err, ORM_EOPERATIONAL, "cannot cancel: no answer within %d ms",
                        ORM_CANCEL_MS);
    conn->cancel = self->cancel;
    self->cancel = NULL;
    self->reason[strcspn(self->reason, "\n")] = '\0';
    orm_status status = self->taken
                            ? ORM_OK
                            : orm_fail(err, ORM_EOPERATIONAL, "cannot cancel: %s", self->reason);
    attempt_free(self);
    return status;
}
