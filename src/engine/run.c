/* run.c - the one path: from an operation to a lane, inline or on a worker, and back.
 *
 *   orm_dispatch -> read.c, writer.c or tx.c find the lane -> orm_run_on
 *       inline:   orm_op_run here, with the inline budget; what does not fit goes on in the next
 *                 turn (between rows) or is run again on a worker (within a step)
 *       worker:   orm_submit -> orm_lane_work there -> orm_lane_back here
 *       server:   orm_op_run here; what waits for the answer goes on when the descriptor is ready
 *                 (socket.c); operations of several statements wait on a worker
 *   -> orm_op_ended
 */
#include "engine.h"

void orm_dispatch(orm_op *op)
{
    if (op->tx)
        orm_tx_dispatch(op);
    else if (op->root->server)
        orm_server_dispatch(op);
    else if (op->writes || op->root->single)
        orm_write_dispatch(op);
    else
        orm_read_dispatch(op);
}

/* Whether this operation may run on the engine's thread: it is known to be short, and what it
 * ends with does not wait for the disk. */
bool orm_may_inline(const orm_op *op)
{
    const orm_root *root = op->root;
    if (root->server) return !op->blocking;
    if (op->slow || root->no_inline) return false;
    if (op->writes && !root->single) {
        if (!(root->traits & ORM_TRAIT_CONCURRENT)) return false;
        if (!op->tx && root->traits & ORM_TRAIT_DURABLE) return false;
    }
    return op->quick || (op->task.plan && orm_plan_is_quick(op->task.plan));
}

/* What waits though something is free (to go with others, or for the end of this turn) is not
 * what max_waiting is about. */
static bool is_crowded(const orm_root *root, const orm_queue *queue)
{
    if (!root->max_waiting || queue->count < root->max_waiting) return false;
    if (root->server) return !orm_server_has_room(root);
    return queue == &root->read_queue ? !orm_reader_is_free(root) : !orm_writer_is_free(root);
}

void orm_wait_for_lane(orm_op *op, orm_queue *queue)
{
    if (is_crowded(op->root, queue)) {
        orm_op_complete(op, orm_fail_crowded(op, queue));
        return;
    }
    op->state = ORM_OP_QUEUED;
    if (!op->acquire_ns) op->acquire_ns = orm_now_ns() + op->root->acquire_timeout_ns;
    orm_queue_push(queue, op);
    orm_timer_watch(op);
    orm_root_want_turn(op->root);
}

orm_status orm_run_statement(orm_op *op, orm_lane *lane)
{
    return orm_lane_step(lane, &op->task, &op->error);
}

orm_status orm_op_run(orm_op *op, orm_lane *lane)
{
    orm_status status = ORM_OK;
    if (op->writes) lane->dirty = true;
    if (op->tx && !op->ends_tx && !op->task.started)
        status = orm_tx_enter(op->tx, lane, &op->error);
    if (status == ORM_OK) status = op->run(op, lane);
    if (status < 0 && op->tx && !op->ends_tx && op->tx->begun)
        orm_tx_note_failure(op->tx, lane, status, &op->error);
    return status;
}

/* Work of the lane's own, for no operation: until it is back it is not to be had. */
static void submit_work(orm_lane *lane, int work)
{
    lane->dirty = false;
    lane->busy = true;
    lane->work = (uint8_t)work;
    orm_submit(lane);
}

void orm_lane_release(orm_lane *lane)
{
    orm_root *root = lane->root;
    if (root->server) {
        orm_server_release(lane);
        return;
    }
    lane->busy = false;
    if (root->closed) return;
    if (lane->conn && lane->driver->state(lane->conn) == ORM_CONN_BROKEN) {
        submit_work(lane, ORM_WORK_CLOSE);
        return;
    }
    if (lane->dirty && lane->conn && lane->driver->wants_maintenance &&
        lane->driver->wants_maintenance(lane->conn)) {
        submit_work(lane, ORM_WORK_MAINTAIN);
        return;
    }
    if (root->read_queue.count || root->write_queue.count) orm_root_want_turn(root);
}

/* The lane has done what it was asked: free, unless a transaction holds it. */
static void free_lane(orm_lane *lane)
{
    if (!lane->tx) orm_lane_release(lane);
}

/* ---- on a worker ---- */

static void submit_op(orm_op *op, orm_lane *lane)
{
    orm_lane_end_shared(lane);
    orm_status status = orm_op_aim(op, false);
    if (status < 0) {
        free_lane(lane);
        orm_op_ended(op, status);
        return;
    }
    op->state = ORM_OP_RUNNING;
    op->lane_next = NULL;
    orm_timer_watch(op);
    lane->ops = op;
    lane->work = ORM_WORK_OPS;
    orm_lane_arm(lane, 0, op->ends_tx ? 0 : op->deadline_ns,
                 orm_now_ns() + op->root->busy_timeout_ns);
    orm_submit(lane);
}

static void work(orm_lane *lane)
{
    if (lane->work == ORM_WORK_CLOSE) {
        orm_lane_close(lane);
        return;
    }
    if (lane->work == ORM_WORK_SETTLE) {
        orm_lane_settle(lane);
        return;
    }
    if (lane->work == ORM_WORK_RENEW) {
        orm_lane_renew(lane);
        return;
    }
    if (!lane->root->server && orm_lane_open(lane) < 0) return;
    if (lane->work == ORM_WORK_MAINTAIN) {
        if (lane->driver->maintain) lane->driver->maintain(lane->conn);
        return;
    }
    orm_op *op = lane->ops;
    if (op->lane_next) {
        (void)orm_group_run(lane);
        return;
    }
    uint64_t began = orm_now_ns();
    do {
        op->outcome = orm_op_run(op, lane);
    } while (op->outcome == ORM_PENDING);
    op->spent_ns = orm_now_ns() - began;
    if (op->outcome < 0 && lane->driver->state(lane->conn) == ORM_CONN_BUSY) {
        if (op->writes && !op->tx && op->error.outcome == ORM_OUTCOME_NONE)
            op->error.outcome = ORM_OUTCOME_UNKNOWN;
        orm_lane_settle(lane);
    }
}

/* When the engine was closed meanwhile, maybe without waiting for this, nobody else closes the
 * connection. */
void orm_lane_work(orm_lane *lane)
{
    work(lane);
    if (lane->root->server && __atomic_load_n(&lane->root->closed, __ATOMIC_RELAXED))
        orm_lane_close(lane);
}

static void end_worker_op(orm_lane *lane, orm_op *op)
{
    orm_root *root = op->root;
    if (lane->inline_)
        root->stats.inline_statements++;
    else
        root->stats.worker_statements++;
    if (lane->opened < 0) {
        op->error = lane->error;
        op->outcome = lane->opened;
    } else if (op->outcome >= 0 && op->task.plan && !op->grouped) {
        orm_plan_note_run(op->task.plan, op->spent_ns, op->rows);
    }
    orm_op_ended(op, op->outcome);
}

void orm_lane_back(orm_lane *lane)
{
    orm_root *root = lane->root;
    lane->on_worker = false;
    if (lane->conn && lane->driver->traits) root->traits = lane->driver->traits(lane->conn);
    orm_lane_tell(lane);
    orm_op *ops = lane->ops;
    lane->ops = NULL;
    lane->work = ORM_WORK_OPS;
    free_lane(lane);
    while (ops) {
        orm_op *op = ops;
        ops = op->lane_next;
        op->lane_next = NULL;
        end_worker_op(lane, op);
    }
}

/* ---- on the engine's thread ---- */

/* Only what the compiler made and only reads may be interrupted and run again. */
static bool may_yield(const orm_op *op)
{
    return op->root->server ||
           (!op->writes && op->run == orm_run_statement && op->kind != ORM_OP_RAW);
}

/* The server has the word: this goes on when its answer comes. */
static void stay_waiting(orm_op *op, orm_lane *lane, orm_status want)
{
    op->state = ORM_OP_WAITING;
    op->lane = lane;
    lane->waiting = op;
    orm_timer_watch(op);
    orm_socket_watch(lane, want);
}

static void stay_live(orm_op *op, orm_lane *lane)
{
    /* Its snapshot may grow old: later reads must not share it.  The statement keeps its own. */
    orm_lane_end_shared(lane);
    op->root->stats.overflows++;
    op->state = ORM_OP_LIVE;
    op->lane = lane;
    orm_timer_watch(op);
    orm_queue_push(&op->root->live, op);
    orm_root_want_turn(op->root);
}

static bool is_running(const orm_lane *lane)
{
    return lane->conn && lane->driver->state(lane->conn) == ORM_CONN_BUSY;
}

/* What became of a run on this thread. */
static void after_inline(orm_op *op, orm_lane *lane, orm_status status)
{
    orm_root *root = op->root;
    if (ORM_UNLIKELY(lane->n_notes)) orm_lane_tell(lane);
    if (status == ORM_WANT_READ || status == ORM_WANT_WRITE) {
        stay_waiting(op, lane, status);
        return;
    }
    if (status == ORM_PENDING && !lane->budget.rewound) {
        stay_live(op, lane);
        return;
    }
    if (root->server && status < 0 && is_running(lane)) {
        orm_server_settle(op, lane, status);
        return;
    }
    if (status == ORM_PENDING || (status == ORM_ELOCKTIMEOUT && !root->server)) {
        if (status == ORM_PENDING) {
            root->stats.overflows++;
            if (op->task.plan) orm_plan_note_overflow(op->task.plan);
        }
        orm_error_clear(&op->error);
        orm_op_rewind(op);
        submit_op(op, lane);
        return;
    }
    root->stats.inline_statements++;
    free_lane(lane);
    orm_op_ended(op, status);
}

static void run_inline(orm_op *op, orm_lane *lane)
{
    orm_root *root = op->root;
    orm_status status = orm_op_aim(op, !op->own_layout); /* which is only built on the way */
    uint64_t now = orm_now_ns();
    lane->inline_ = true;
    lane->observed = root->observer != NULL;
    if (!op->writes && !op->tx && !root->single) orm_read_prepare(lane, now);
    orm_lane_arm(lane, may_yield(op) ? now + root->inline_ns : 0, op->deadline_ns, 0);
    if (status >= 0) status = orm_op_run(op, lane);
    if ((status == ORM_ENOTABLE || status == ORM_ENOCOLUMN) && lane->shared) {
        /* The table may be newer than the snapshot: look again outside it. */
        orm_lane_end_shared(lane);
        orm_error_clear(&op->error);
        orm_op_rewind(op);
        orm_lane_arm(lane, now + root->inline_ns, op->deadline_ns, 0);
        status = orm_op_run(op, lane);
    }
    if (op->writes && status >= 0 && status != ORM_PENDING && op->task.plan && !root->server &&
        orm_now_ns() - now > root->inline_ns)
        orm_plan_note_overflow(op->task.plan);
    after_inline(op, lane, status);
}

void orm_run_on(orm_op *op, orm_lane *lane)
{
    lane->busy = true;
    op->lane = lane;
    op->state = ORM_OP_RUNNING;
    op->acquire_ns = 0;
    op->root->stats.statements++;
    if (op->sink) op->mark = op->sink->vtable->mark(op->sink);
    /* A transaction of a server that has lost its connection: it says so, and needs none. */
    bool gone = op->root->server && !lane->conn;
    if (gone || (lane->conn && orm_may_inline(op)))
        run_inline(op, lane);
    else
        submit_op(op, lane);
}

void orm_live_step(orm_op *op, uint64_t until_ns)
{
    if (op->state == ORM_OP_REPLAY) {
        (void)orm_op_replay(op, until_ns);
        return;
    }
    orm_lane *lane = op->lane;
    orm_queue_remove(op);
    op->state = ORM_OP_RUNNING;
    lane->waiting = NULL;
    orm_lane_arm(lane, until_ns, op->ends_tx ? 0 : op->deadline_ns, 0);
    orm_status status = orm_op_run(op, lane);
    after_inline(op, lane, status);
}

void orm_live_end(orm_op *op)
{
    orm_lane *lane = op->lane;
    orm_lane_abandon(lane, &op->task);
    orm_lane_abandon(lane, &lane->text);
    lane->waiting = NULL;
    op->lane = NULL;
    orm_lane_end_shared(lane);
    free_lane(lane);
}
