/* holders.c - who holds the connections, and what those are told who wait for one in vain.
 *
 * Nothing is kept for it while all goes well: lanes know since when they are held, transactions
 * and operations who called.  It is gathered when somebody asks.
 */
#include "engine.h"
#include <stdio.h>

/* Whose statement it runs; NULL when it is opened, settled or closed for nobody. */
static const orm_op *find_op(const orm_lane *lane)
{
    if (lane->on_worker) return lane->work == ORM_WORK_OPS ? lane->ops : NULL;
    if (lane->waiting) return lane->waiting;
    for (const orm_op *op = lane->root->live.first; op; op = op->next)
        if (op->lane == lane) return op;
    return NULL;
}

static bool find_holder(const orm_lane *lane, orm_holder *out)
{
    *out = (orm_holder){.held_ns = lane->since_ns};
    if (lane->attempt) return false; /* nobody has it yet */
    if (lane->tx) {
        out->kind = ORM_HOLDER_TRANSACTION;
        out->caller = lane->tx->caller;
        out->transaction = &lane->tx->head;
        out->held_ns = lane->tx->since_ns;
        return true;
    }
    if (!lane->busy) return false;
    const orm_op *op = find_op(lane);
    out->kind = op ? ORM_HOLDER_OPERATION : ORM_HOLDER_UPKEEP;
    if (op) out->caller = op->caller;
    return true;
}

/* Keeps the oldest of them, in order of age. */
static void keep(orm_holder *out, size_t n, size_t count, const orm_holder *holder)
{
    size_t i = count < n ? count : n;
    if (i == n && (n == 0 || out[n - 1].held_ns <= holder->held_ns)) return;
    if (i == n) i--;
    for (; i > 0 && out[i - 1].held_ns > holder->held_ns; i--) out[i] = out[i - 1];
    out[i] = *holder;
}

static void look(const orm_lane *lane, orm_holder *out, size_t n, size_t *count)
{
    orm_holder holder;
    if (!lane || !find_holder(lane, &holder)) return;
    keep(out, n, *count, &holder);
    (*count)++;
}

size_t orm_engine_holders(const orm_engine *engine, orm_holder *out, size_t n)
{
    const orm_root *root = engine->root;
    size_t count = 0;
    if (root->closed) return 0;
    look(root->writer, out, n, &count);
    for (uint32_t i = 0; i < root->n_readers; i++) look(root->readers[i], out, n, &count);
    for (uint32_t i = 0; i < root->n_lanes; i++) look(root->lanes[i], out, n, &count);
    uint64_t now = orm_now_ns();
    for (size_t i = 0; i < n && i < count; i++)
        out[i].held_ns = now > out[i].held_ns ? now - out[i].held_ns : 0;
    return count;
}

/* ---- waiting in vain ---- */

/* Of a server: "2 of 2 are held, 1 of them by transactions, the oldest for 412 ms". */
static void describe_pool(const orm_root *root, char *text, size_t size)
{
    uint32_t held = 0, in_tx = 0;
    uint64_t now = orm_now_ns(), oldest = now;
    orm_holder holder;
    for (uint32_t i = 0; i < root->n_lanes; i++) {
        if (!find_holder(root->lanes[i], &holder)) continue;
        held++;
        in_tx += holder.kind == ORM_HOLDER_TRANSACTION;
        if (holder.held_ns < oldest) oldest = holder.held_ns;
    }
    snprintf(text, size, "%u of %u are held, %u of them by transactions, the oldest for %llu ms",
             held, root->max_lanes, in_tx, (unsigned long long)((now - oldest) / ORM_NS_PER_MS));
}

static void describe_writer(const orm_root *root, char *text, size_t size)
{
    const orm_tx *holder = root->writer ? root->writer->tx : NULL;
    if (holder)
        snprintf(text, size, "a transaction has held it for %llu ms",
                 (unsigned long long)((orm_now_ns() - holder->since_ns) / ORM_NS_PER_MS));
    else
        snprintf(text, size, "%zu writes are waiting", root->write_queue.count);
}

/* What is waited for, into `text` who has it. */
static const char *describe(const orm_op *op, const orm_queue *queue, char *text, size_t size)
{
    const orm_root *root = op->root;
    if (root->server) {
        describe_pool(root, text, size);
    } else if (queue == &root->read_queue) {
        snprintf(text, size, "%u are in use", root->n_readers);
    } else {
        describe_writer(root, text, size);
        return "the writer was not";
    }
    return "no connection was";
}

orm_status orm_fail_acquire(orm_op *op)
{
    char text[128];
    const char *what = describe(op, op->list, text, sizeof text);
    return orm_fail(&op->error, ORM_EPOOLTIMEOUT, "%s free within %llu ms: %s", what,
                    (unsigned long long)(op->root->acquire_timeout_ns / ORM_NS_PER_MS), text);
}

orm_status orm_fail_crowded(orm_op *op, const orm_queue *queue)
{
    char text[128];
    const char *what = describe(op, queue, text, sizeof text);
    return orm_fail(&op->error, ORM_EPOOLTIMEOUT,
                    "%s free, and as many as max_waiting allows wait already (%zu): %s", what,
                    queue->count, text);
}
