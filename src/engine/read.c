/* read.c - reads outside transactions: the readers, and the read transaction that the reads of
 * one turn share.
 *
 * On SQLite most of a short read is taking and dropping the file lock.  From the second read of
 * a turn on, reads run inside one read transaction.  It ends with the turn, after some reads,
 * after a millisecond, before a write of this engine and as soon as any engine of this process
 * has committed to the file, so that one always reads one's own writes.
 */
#include "engine.h"

/* Inline reads want an open connection, the first of them as a rule; what goes to a worker
 * leaves that one alone and rather opens another. */
orm_lane *orm_reader_take(orm_root *root, bool inline_)
{
    orm_lane *first = NULL;
    for (uint32_t i = 0; i < root->n_readers; i++) {
        orm_lane *lane = root->readers[i];
        if (lane->busy || (inline_ && !lane->conn)) continue;
        if (inline_ || i > 0) return lane;
        first = lane;
    }
    if (inline_) return NULL;
    if (first && !first->conn) return first;
    if (root->n_readers < ORM_MAX_READERS) {
        orm_lane *lane = orm_lane_new(root);
        if (lane) {
            root->readers[root->n_readers++] = lane;
            return lane;
        }
    }
    return first;
}

bool orm_reader_is_free(const orm_root *root)
{
    for (uint32_t i = 0; i < root->n_readers; i++)
        if (!root->readers[i]->busy && !root->readers[i]->tx) return true;
    return root->n_readers < ORM_MAX_READERS;
}

void orm_read_dispatch(orm_op *op)
{
    orm_root *root = op->root;
    orm_lane *lane = orm_may_inline(op) ? orm_reader_take(root, true) : NULL;
    if (!lane) lane = orm_reader_take(root, false);
    if (lane) {
        orm_run_on(op, lane);
    } else if (root->n_readers < ORM_MAX_READERS) { /* there was no memory for another */
        orm_op_complete(op, orm_fail_nomem(&op->error));
    } else {
        orm_wait_for_lane(op, &root->read_queue);
    }
}

void orm_read_next(orm_root *root)
{
    while (root->read_queue.count && !orm_root_is_late(root)) {
        orm_op *op = root->read_queue.first;
        orm_lane *lane = orm_may_inline(op) ? orm_reader_take(root, true) : NULL;
        if (!lane) lane = orm_reader_take(root, false);
        if (!lane && root->n_readers == ORM_MAX_READERS) return;
        orm_queue_remove(op);
        if (!lane) {
            orm_op_complete(op, orm_fail_nomem(&op->error));
            continue;
        }
        if (op->tx)
            orm_tx_granted(op, lane);
        else
            orm_run_on(op, lane);
    }
}

static bool is_stale(const orm_lane *lane, uint64_t now)
{
    return lane->shared_reads >= ORM_SHARED_READS || now - lane->shared_since_ns > ORM_SHARED_NS ||
           __atomic_load_n(lane->counter, __ATOMIC_ACQUIRE) != lane->shared_counter;
}

void orm_read_prepare(orm_lane *lane, uint64_t now)
{
    orm_root *root = lane->root;
    if (!root->shared_reads || !lane->counter || !(root->traits & ORM_TRAIT_CONCURRENT)) return;
    if (lane->shared && is_stale(lane, now)) orm_lane_end_shared(lane);
    if (now - root->turn_ns > ORM_SHARED_NS) {
        /* Nobody ended the turn: a program that reads now and then, without a loop. */
        root->turn_ns = now;
        root->turn_reads = 0;
    }
    if (!lane->shared && root->turn_reads++ > 0) {
        uint64_t counter = __atomic_load_n(lane->counter, __ATOMIC_ACQUIRE);
        orm_lane_arm(lane, 0, 0, 0);
        if (orm_lane_control(lane, ORM_CONTROL_BEGIN, NULL) < 0) return;
        lane->shared = true;
        lane->shared_reads = 0;
        lane->shared_since_ns = now;
        lane->shared_counter = counter;
        root->stats.shared_read_transactions++;
        orm_root_want_turn(root);
    }
    lane->shared_reads++;
}

void orm_root_end_shared(orm_root *root)
{
    for (uint32_t i = 0; i < root->n_readers; i++)
        if (!root->readers[i]->busy && root->readers[i]->shared)
            orm_lane_end_shared(root->readers[i]);
}
