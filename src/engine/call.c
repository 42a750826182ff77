/* call.c - the caller's side of an operation: start, await, cancel, look, free. */
#include "engine.h"
#include <poll.h>

void orm_op_begin(orm_op *op)
{
    orm_root *root = op->root;
    orm_status status = op->status;
    if (!root) { /* failed in its finisher, before it had an engine */
        op->state = ORM_OP_OVER;
        return;
    }
    op->starting = true;
    op->caller = root->caller;
    op->status = ORM_PENDING;
    if (status == ORM_PENDING && root->closed)
        status = orm_fail(&op->error, ORM_EPOOLCLOSED, "the engine is closed");
    if (status == ORM_PENDING && op->prepare) status = op->prepare(op);
    if (status < 0) {
        orm_op_complete(op, status);
    } else {
        orm_dispatch(op);
    }
    op->starting = false;
    if (!op->held && op->state == ORM_OP_OVER && !op->abandoned) orm_op_destroy(op);
}

orm_status orm_start(orm_op *op, orm_done_fn fn, void *user)
{
    if (op->fixed) return ORM_DONE;
    if (op->state != ORM_OP_NEW) return orm_op_is_over(op) ? ORM_DONE : ORM_PENDING;
    if (op->root) {
        orm_error err;
        orm_status allowed = orm_root_check(op->root, &err);
        if (allowed < 0) return allowed;
    }
    op->fn = fn;
    op->user = user;
    orm_op_begin(op);
    return op->state == ORM_OP_OVER ? ORM_DONE : ORM_PENDING;
}

void orm_then(orm_op *op, orm_done_fn fn, void *user)
{
    if (op->fixed || !op->root) {
        /* There is no engine from whose orm_process it could be called. */
        if (!op->fixed) op->state = ORM_OP_OVER;
        if (fn) fn(op, user);
        return;
    }
    op->always_call = true;
    (void)orm_start(op, fn, user);
}

/* Drives the engine until this operation is complete. */
static orm_status drive(orm_op *op, orm_error *err)
{
    orm_root *root = op->root;
    orm_status status = ORM_OK;
    root->driving++;
    if (op->state == ORM_OP_NEW) orm_op_begin(op);
    while (!orm_op_is_over(op)) {
        orm_root_pump(root, orm_now_ns() + 2 * ORM_NS_PER_MS);
        if (orm_op_is_over(op) || orm_root_has_work(root)) continue;
        struct pollfd fd = {.fd = root->epoll_fd, .events = POLLIN};
        (void)poll(&fd, 1, -1);
        status = orm_root_check(root, err);
        if (status < 0) break;
    }
    root->driving--;
    return status;
}

/* It is complete: its outcome to the caller, and the turn has ended. */
static orm_status hand_out(orm_op *op, orm_result **out, orm_error *err)
{
    if (op->root) {
        orm_queue_remove(op);
        op->state = ORM_OP_OVER;
        orm_root_end_turn(op->root);
    }
    if (op->status < 0) {
        if (err) *err = *orm_op_error(op);
        return op->status;
    }
    if (err) err->status = ORM_OK;
    if (out) *out = orm_op_take(op);
    return ORM_OK;
}

orm_status orm_await(orm_op *op, orm_result **out, orm_error *err)
{
    orm_root *root = op->root;
    orm_status status = root ? orm_root_check(root, err) : ORM_OK;
    if (status >= 0 && root && root->in_callback)
        status = orm_fail(err, ORM_EMISUSE, "orm_await inside a callback");
    if (status >= 0 && root) status = drive(op, err);
    if (status >= 0) status = hand_out(op, out, err);
    orm_op_free(op);
    return status;
}

orm_status orm_op_status(const orm_op *op)
{
    return op->state == ORM_OP_NEW && op->status < 0 ? ORM_PENDING : op->status;
}

const orm_error *orm_op_error(const orm_op *op)
{
    static const orm_error none;
    if (op->status >= 0) return &none;
    return op->verdict ? op->verdict : &op->error;
}

int orm_op_kind(const orm_op *op)
{
    return op->kind;
}

int64_t orm_op_number(const orm_op *op)
{
    return op->number;
}

int64_t orm_op_key(const orm_op *op)
{
    return op->kind == ORM_OP_RAW ? op->task.info.last_key : 0;
}

const char *orm_op_sql(const orm_op *op, size_t *len)
{
    const orm_plan *plan = op->task.plan;
    if (len) *len = plan ? plan->sql_len : 0;
    return plan ? plan->sql : "";
}

orm_result *orm_op_take(orm_op *op)
{
    if (op->status != ORM_OK) return NULL;
    orm_result *result = op->result;
    op->result = NULL;
    return result;
}

void orm_op_set_deadline(orm_op *op, uint32_t ms)
{
    if (!op->fixed && op->state == ORM_OP_NEW) op->timeout_ms = ms;
}

/* Ends a started operation for its caller; what runs on a worker is told to stop.  Writes of a
 * group and the end of a transaction are never interrupted: they complete with what they reach. */
static void cancel_started(orm_op *op)
{
    if (op->state == ORM_OP_RUNNING) {
        if (op->lane && op->lane->on_worker && !op->grouped && !op->ends_tx)
            __atomic_store_n(&op->lane->budget.stop, 1, __ATOMIC_RELAXED);
        return;
    }
    if (op->state == ORM_OP_WAITING) {
        if (!op->ends_tx)
            orm_server_stop(op,
                            orm_fail(&op->error, ORM_ECANCELLED, "the operation was cancelled"));
        return;
    }
    if (op->state == ORM_OP_LIVE) orm_live_end(op);
    orm_op_complete(op, orm_fail(&op->error, ORM_ECANCELLED, "the operation was cancelled"));
}

void orm_cancel(orm_op *op)
{
    if (op->fixed || orm_op_is_over(op) || op->cancelled) return;
    if (op->root && orm_root_check(op->root, NULL) < 0) return;
    op->sink = NULL;
    op->cancelled = true;
    if (op->state != ORM_OP_NEW) {
        cancel_started(op);
        return;
    }
    op->status = orm_fail(&op->error, ORM_ECANCELLED, "the operation was cancelled");
    op->state = ORM_OP_OVER;
}

void orm_op_free(orm_op *op)
{
    if (!op || op->fixed) return;
    if (op->root && orm_root_check(op->root, NULL) < 0) return; /* not ours to touch: leaked */
    op->fn = NULL;
    op->sink = NULL;
    op->held = false;
    if (op->state == ORM_OP_ENDED) orm_queue_remove(op);
    if (op->state == ORM_OP_NEW || orm_op_is_over(op)) {
        if (!op->abandoned) orm_op_destroy(op);
        return;
    }
    __atomic_store_n(&op->unwanted, true, __ATOMIC_SEQ_CST);
    bool reads = !op->writes || __atomic_load_n(&op->only_reads, __ATOMIC_SEQ_CST);
    if (reads && !op->ends_tx && !op->starting) {
        op->cancelled = true; /* nobody wants its rows: do not read on */
        cancel_started(op);
    }
}
