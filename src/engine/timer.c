/* timer.c - deadlines: one timer descriptor for the nearest of them.
 *
 * The timer is set when an operation becomes pending and is nearer than what is set already, and
 * not taken back when it completes: a wake-up for nothing is cheaper than a system call for each
 * operation.
 */
#include "engine.h"
#include <sys/timerfd.h>

static void arm(orm_root *root, uint64_t when)
{
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(when / 1000000000u), .tv_nsec = (long)(when % 1000000000u)},
    };
    root->timer_ns = when;
    (void)timerfd_settime(root->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void orm_timer_at(orm_root *root, uint64_t when)
{
    if (!root->timer_ns || when < root->timer_ns) arm(root, when);
}

static uint64_t nearest(const orm_op *op)
{
    uint64_t when = op->deadline_ns;
    if (op->state == ORM_OP_QUEUED && op->acquire_ns && op->acquire_ns < when)
        when = op->acquire_ns;
    if (op->state == ORM_OP_RUNNING && !op->grouped) when += ORM_GRACE_NS;
    if (op->state == ORM_OP_WAITING && op->ends_tx) when += ORM_GRACE_NS;
    return when;
}

void orm_timer_watch(orm_op *op)
{
    orm_root *root = op->root;
    if (!op->deadline_ns) {
        uint64_t timeout = op->timeout_ms == UINT32_MAX ? root->query_timeout_ns
                                                        : op->timeout_ms * ORM_NS_PER_MS;
        op->deadline_ns = orm_now_ns() + timeout;
    }
    if (!op->watched) {
        op->watched = true;
        op->pending_next = NULL;
        op->pending_prev = root->pending_last;
        if (root->pending_last)
            root->pending_last->pending_next = op;
        else
            root->pending = op;
        root->pending_last = op;
    }
    orm_timer_at(root, nearest(op));
}

void orm_timer_forget(orm_op *op)
{
    orm_root *root = op->root;
    if (!op->watched) return;
    op->watched = false;
    if (op->pending_prev)
        op->pending_prev->pending_next = op->pending_next;
    else
        root->pending = op->pending_next;
    if (op->pending_next)
        op->pending_next->pending_prev = op->pending_prev;
    else
        root->pending_last = op->pending_prev;
    op->pending_next = op->pending_prev = NULL;
}

/* Ends the operation if it is past its time; true when it did. */
static bool expire(orm_op *op, uint64_t now)
{
    if (now < nearest(op)) return false;
    orm_status status;
    if (op->state == ORM_OP_RUNNING) {
        orm_op_abandon(op);
        return true;
    }
    if (op->state == ORM_OP_WAITING) {
        orm_server_stop(op, orm_fail(&op->error, ORM_EQUERYTIMEOUT,
                                     "the query did not end within its timeout"));
        return true;
    }
    if (op->state == ORM_OP_QUEUED && now < op->deadline_ns) {
        status = orm_fail_acquire(op);
    } else {
        if (op->state == ORM_OP_LIVE) orm_live_end(op);
        status = orm_fail(&op->error, ORM_EQUERYTIMEOUT,
                          "the query did not end within its timeout");
    }
    orm_op_complete(op, status);
    return true;
}

/* Of two times; 0 = never. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

void orm_timer_check(orm_root *root)
{
    if (!root->timer_ns) return;
    uint64_t now = orm_now_ns(), next = 0;
    if (now < root->timer_ns) return;
    root->timer_ns = 0; /* what is begun from here on tells when it is due */
    for (orm_op *op = root->pending; op;) {
        /* Ending one may start or end others: look again from the oldest. */
        if (expire(op, now)) {
            op = root->pending;
            next = 0;
            continue;
        }
        uint64_t when = nearest(op);
        if (!next || when < next) next = when;
        op = op->pending_next;
    }
    if (root->n_attempts) next = earlier(next, orm_connect_check(root, now));
    next = earlier(next, root->timer_ns);
    if (next) {
        arm(root, next);
        return;
    }
    struct itimerspec none = {.it_value = {0, 0}};
    root->timer_ns = 0;
    (void)timerfd_settime(root->timer_fd, 0, &none, NULL);
}
