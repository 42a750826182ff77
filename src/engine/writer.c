/* writer.c - the one connection that writes: who may use it, and group commit.
 *
 * One queue in order of arrival holds autocommit writes and the transactions that want to begin.
 * A lone write runs at once where a commit does not wait for the disk.  Writes of one turn that
 * come from different callers, and all writes while a commit does wait, are committed together:
 * BEGIN, each member, COMMIT.  A failing member undoes only itself.  What the members report
 * counts only once COMMIT has succeeded; when the transaction dies they run alone, in order.
 */
#include "engine.h"

bool orm_writer_is_free(const orm_root *root)
{
    return !root->writer || (!root->writer->busy && !root->writer->tx);
}

static orm_lane *get_writer(orm_root *root)
{
    if (!root->writer) root->writer = orm_lane_new(root);
    return root->writer;
}

/* The same activity holds the writer and now waits for it: it would wait for ever. */
static bool waits_for_itself(const orm_op *op)
{
    const orm_lane *writer = op->root->writer;
    return op->caller && writer && writer->tx && writer->tx->caller == op->caller;
}

void orm_write_dispatch(orm_op *op)
{
    orm_root *root = op->root;
    orm_root_end_shared(root);
    if (waits_for_itself(op)) {
        orm_op_complete(op, orm_fail(&op->error, ORM_ECONCURRENT,
                                     "a transaction of the same task is open: use it"));
        return;
    }
    bool lone = !op->writes || !root->wrote || root->last_writer == op->caller;
    if (lone && orm_writer_is_free(root) && !root->write_queue.count && root->writer &&
        root->writer->conn && orm_may_inline(op)) {
        if (op->writes) {
            root->wrote = true;
            root->last_writer = op->caller;
        }
        orm_run_on(op, root->writer);
        return;
    }
    orm_wait_for_lane(op, &root->write_queue);
}

/* ---- groups ---- */

static bool is_groupable(const orm_op *op)
{
    return op->writes && !op->tx && !op->alone && op->run == orm_run_statement;
}

static void run_alone(orm_lane *lane)
{
    for (orm_op *op = lane->ops; op; op = op->lane_next) {
        orm_error_clear(&op->error);
        op->outcome = orm_op_run(op, lane);
    }
}

static orm_status refuse_all(orm_lane *lane, orm_status status, const orm_error *err)
{
    for (orm_op *op = lane->ops; op; op = op->lane_next) {
        op->error = *err;
        op->outcome = status;
    }
    return status;
}

/* Runs the lane's operations in one transaction.  Below 0: it could not even begin, every member
 * has that error, and nothing was done. */
orm_status orm_group_run(orm_lane *lane)
{
    orm_error err;
    lane->dirty = true;
    orm_status status = orm_lane_control(lane, ORM_CONTROL_BEGIN_WRITE, &err);
    if (status < 0) return refuse_all(lane, status, &err);
    bool alive = true;
    for (orm_op *op = lane->ops; op && alive; op = op->lane_next) {
        op->outcome = orm_op_run(op, lane);
        alive = orm_lane_in_transaction(lane);
    }
    if (alive && orm_lane_control(lane, ORM_CONTROL_COMMIT, NULL) >= 0) return ORM_OK;
    orm_lane_rollback(lane);
    run_alone(lane);
    return ORM_OK;
}

/* Takes writes from the head of the queue, as many as may go together. */
static uint32_t gather(orm_root *root, orm_lane *lane, bool *all_inline)
{
    orm_op **link = &lane->ops;
    uint32_t n = 0;
    *all_inline = true;
    while (n < ORM_GROUP_MAX && root->write_queue.count && is_groupable(root->write_queue.first)) {
        orm_op *op = orm_queue_pop(&root->write_queue);
        *all_inline = *all_inline && orm_may_inline(op);
        op->lane_next = NULL;
        *link = op;
        link = &op->lane_next;
        n++;
    }
    return n;
}

static void run_group(orm_root *root, orm_lane *lane, uint32_t n, bool inline_)
{
    lane->busy = true;
    root->stats.groups++;
    root->stats.grouped += n;
    root->stats.statements += n;
    for (orm_op *op = lane->ops; op; op = op->lane_next) {
        op->lane = lane;
        op->grouped = true;
        op->acquire_ns = 0;
        op->state = ORM_OP_RUNNING;
        (void)orm_op_aim(op, true);
    }
    lane->work = ORM_WORK_OPS;
    if (inline_ && lane->conn && n <= ORM_GROUP_INLINE) {
        lane->inline_ = true;
        lane->observed = root->observer != NULL;
        orm_lane_arm(lane, 0, 0, 0);
        if (orm_group_run(lane) != ORM_ELOCKTIMEOUT) {
            orm_lane_back(lane);
            return;
        }
        for (orm_op *op = lane->ops; op; op = op->lane_next) orm_error_clear(&op->error);
    }
    orm_lane_arm(lane, 0, 0, orm_now_ns() + root->busy_timeout_ns);
    orm_submit(lane);
}

void orm_write_flush(orm_root *root)
{
    while (root->write_queue.count && orm_writer_is_free(root) && !orm_root_is_late(root)) {
        orm_lane *lane = get_writer(root);
        orm_op *op = root->write_queue.first;
        if (!lane) {
            orm_op_complete(op, orm_fail_nomem(&op->error));
        } else if (is_groupable(op)) {
            bool all_inline;
            uint32_t n = gather(root, lane, &all_inline);
            if (n > 1) {
                run_group(root, lane, n, all_inline);
                continue;
            }
            lane->ops = NULL;
            orm_run_on(op, lane);
        } else {
            orm_queue_remove(op);
            if (op->tx)
                orm_tx_granted(op, lane);
            else
                orm_run_on(op, lane);
        }
    }
}
