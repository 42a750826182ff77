/* server.c - the connections to a server: a pool of lanes, and what goes on between statements.
 *
 * Connections are made when there is work and none is free, up to max_lanes, by the connectors
 * (connect.c), a few at a time.  What waits for a connection waits in order of arrival, and the
 * first in the queue gets the first that is free.  Plain statements run on the engine's thread:
 * they are sent, wait on the lane's descriptor and go on when it is ready.
 *
 * A connection is handed out only when nothing runs on it, no transaction is open and no cancel
 * is under way.  Whatever else it is in when it comes back, a worker settles or closes it first.
 */
#include "engine.h"

enum {
    HOLD_OFF_MS = 25, /* after the second failed attempt to connect, doubled each time */
    HOLD_OFF_DOUBLINGS = 6,
    JITTER_PERCENT = 20
};

orm_status orm_server_init(orm_root *root, orm_error *err)
{
    const orm_options *options = &root->db->options;
    root->server = !root->db->memory && !(root->driver->flags & ORM_DRIVER_EMBEDDED);
    if (!root->server) return ORM_OK;
    root->max_lanes = options->max_size;
    root->min_lanes = options->min_size;
    root->lifetime_ns = options->max_lifetime_ms * ORM_NS_PER_MS;
    root->idle_ns = options->max_idle_ms * ORM_NS_PER_MS;
    root->shared_reads = false;
    root->lanes = orm_alloc0(root->max_lanes * sizeof *root->lanes);
    root->connectors = orm_crew_new("orm-connect", ORM_CONNECTORS, root->max_lanes, true);
    root->canceller = orm_crew_new("orm-cancel", 1, ORM_MAX_CANCELS, false);
    return root->lanes && root->connectors && root->canceller ? ORM_OK : orm_fail_nomem(err);
}

/* ---- the age of a connection ---- */

/* Spread over a fifth, so that connections made together do not end together. */
static uint64_t jitter(uint64_t ns, uint64_t seed)
{
    uint64_t part = ns / 100 * JITTER_PERCENT;
    return part ? ns - orm_hash_mix(seed, orm_now_ns()) % part : ns;
}

/* ---- taking ---- */

static void submit_work(orm_lane *lane, int work)
{
    lane->busy = true;
    lane->work = (uint8_t)work;
    orm_lane_arm(lane, 0, orm_now_ns() + ORM_SETTLE_NS, 0);
    orm_submit(lane);
}

static bool is_idle(const orm_lane *lane)
{
    return !lane->busy && !lane->tx;
}

/* Whatever an idle connection has to read is the server's farewell; it may also have grown old
 * while nobody wanted it. */
static bool is_alive(orm_lane *lane)
{
    if (lane->driver->state(lane->conn) == ORM_CONN_IDLE && orm_now_ns() < lane->expires_ns &&
        !orm_socket_is_readable(lane))
        return true;
    submit_work(lane, ORM_WORK_CLOSE);
    return false;
}

/* Whether any is open, as far as this thread can say: with a worker it is taken for open. */
static bool has_connection(const orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (root->lanes[i]->on_worker || root->lanes[i]->conn) return true;
    return false;
}

static orm_lane *add_lane(orm_root *root)
{
    if (root->n_lanes == root->max_lanes) return NULL;
    orm_lane *lane = orm_lane_new(root);
    if (!lane) return NULL;
    lane->slot = root->n_lanes;
    root->lanes[root->n_lanes++] = lane;
    return lane;
}

/* An open connection, the first of them so that the last may grow old; or NULL. */
static orm_lane *take(orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++) {
        orm_lane *lane = root->lanes[i];
        if (is_idle(lane) && lane->conn && is_alive(lane)) return lane;
    }
    return NULL;
}

bool orm_server_is_free(const orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (is_idle(root->lanes[i]) && root->lanes[i]->conn) return true;
    return false;
}

bool orm_server_has_room(const orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (is_idle(root->lanes[i]) || root->lanes[i]->attempt) return true;
    return root->n_lanes < root->max_lanes;
}

static void hand_out(orm_op *op, orm_lane *lane)
{
    lane->since_ns = orm_now_ns();
    if (op->tx)
        orm_tx_granted(op, lane);
    else
        orm_run_on(op, lane);
}

/* ---- connecting ---- */

static orm_lane *take_closed(orm_root *root)
{
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (is_idle(root->lanes[i]) && !root->lanes[i]->conn) return root->lanes[i];
    return add_lane(root);
}

/* As many of the first in the queue as there are attempts are being connected for: they wait for
 * connect_timeout and not for acquire_timeout, which begins when no attempt is theirs any more. */
static void mark_waiting(orm_root *root)
{
    uint32_t n = 0;
    for (orm_op *op = root->read_queue.first; op; op = op->next, n++) {
        if (n < root->n_attempts) {
            op->acquire_ns = 0;
        } else if (!op->acquire_ns) {
            op->acquire_ns = orm_now_ns() + root->acquire_timeout_ns;
            orm_timer_watch(op);
        } else {
            return;
        }
    }
}

/* Begins to connect for those that wait, as many at a time as there are threads for it.  If not
 * even one attempt can be made, nobody waits for nothing. */
static void connect_more(orm_root *root)
{
    if (orm_server_is_free(root)) return; /* the queue moves on first */
    while (root->n_attempts < ORM_CONNECTORS && root->n_attempts < root->read_queue.count) {
        uint64_t after = root->connect_failures ? root->connect_after_ns : 0;
        bool full = root->n_lanes == root->max_lanes;
        orm_lane *lane = take_closed(root);
        if (!lane && full) break;
        if (lane && orm_connect_begin(lane, after)) continue;
        if (root->n_attempts || has_connection(root)) break;
        orm_op *op = orm_queue_pop(&root->read_queue);
        orm_op_complete(op, orm_fail_nomem(&op->error));
    }
    mark_waiting(root);
}

/* In a row: the second waits before it is begun, and those behind it longer. */
static void note_failure(orm_root *root)
{
    uint32_t n = root->connect_failures++;
    if (n == 0) return; /* the next may try at once */
    uint32_t shift = n < HOLD_OFF_DOUBLINGS ? n : HOLD_OFF_DOUBLINGS;
    uint64_t ns = (uint64_t)HOLD_OFF_MS << shift;
    root->connect_after_ns = orm_now_ns() + jitter(ns * ORM_NS_PER_MS, n);
}

/* It could not connect: the first that waits gets the error.  While no connection is there, and
 * as many attempts in a row have failed as are made at a time, the others would wait in vain: they
 * get it too. */
static void fail_waiting(const orm_lane *lane)
{
    orm_root *root = lane->root;
    uint32_t at_a_time = root->n_lanes < ORM_CONNECTORS ? root->n_lanes : ORM_CONNECTORS;
    bool all = !has_connection(root) && root->connect_failures >= at_a_time;
    for (size_t n = all ? root->read_queue.count : 1; n && root->read_queue.count; n--) {
        orm_op *op = orm_queue_pop(&root->read_queue);
        op->error = lane->error;
        orm_op_complete(op, lane->opened);
    }
}

void orm_server_connected(orm_lane *lane)
{
    orm_root *root = lane->root;
    if (lane->opened >= 0) {
        root->connect_failures = 0;
        lane->expires_ns = orm_now_ns() + jitter(root->lifetime_ns, lane->slot);
        if (lane->driver->traits) root->traits = lane->driver->traits(lane->conn);
        orm_server_release(lane);
    } else {
        lane->busy = false;
        note_failure(root);
        fail_waiting(lane);
    }
}

void orm_server_dispatch(orm_op *op)
{
    orm_root *root = op->root;
    bool waits = orm_together_waits(op);
    orm_lane *lane = waits || root->read_queue.count ? NULL : take(root);
    if (lane) {
        hand_out(op, lane);
        return;
    }
    orm_wait_for_lane(op, &root->read_queue);
    if (!waits) connect_more(root);
}

void orm_server_next(orm_root *root)
{
    while (root->read_queue.count && !orm_root_is_late(root)) {
        orm_lane *lane = take(root);
        if (!lane) break;
        hand_out(orm_together(orm_queue_pop(&root->read_queue)), lane);
    }
    connect_more(root);
}

/* ---- giving back ---- */

/* Connections beyond those that are kept, that nobody has wanted for long. */
static void drop_idle(orm_root *root, uint64_t now)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < root->n_lanes; i++) {
        orm_lane *lane = root->lanes[i];
        if (lane->on_worker || !lane->conn) continue;
        bool old = is_idle(lane) && now - lane->since_ns > root->idle_ns;
        if (++open > root->min_lanes && old) submit_work(lane, ORM_WORK_CLOSE);
    }
}

void orm_server_release(orm_lane *lane)
{
    orm_root *root = lane->root;
    lane->busy = false;
    if (root->closed) return;
    uint64_t now = orm_now_ns();
    lane->since_ns = now;
    if (lane->conn) {
        int state = lane->driver->state(lane->conn);
        if (state == ORM_CONN_BROKEN || now >= lane->expires_ns) {
            submit_work(lane, ORM_WORK_CLOSE);
        } else if (state != ORM_CONN_IDLE) {
            submit_work(lane, ORM_WORK_SETTLE);
        } else if (lane->traced) {
            submit_work(lane, ORM_WORK_RENEW);
        } else if (lane->fd >= 0 || !orm_socket_is_readable(lane)) {
            orm_socket_watch(lane, ORM_WANT_READ);
        } else {
            submit_work(lane, ORM_WORK_CLOSE);
        }
    }
    drop_idle(root, now);
    if (root->read_queue.count) orm_root_want_turn(root);
}

/* ---- statements that have to end ---- */

void orm_server_settle(orm_op *op, orm_lane *lane, orm_status status)
{
    if (op->writes && !op->tx && op->error.outcome == ORM_OUTCOME_NONE)
        op->error.outcome = ORM_OUTCOME_UNKNOWN;
    lane->waiting = NULL;
    op->state = ORM_OP_RUNNING;
    op->outcome = status;
    op->lane_next = NULL;
    lane->ops = op;
    orm_timer_watch(op);
    submit_work(lane, op->ends_tx ? ORM_WORK_CLOSE : ORM_WORK_SETTLE);
}

void orm_server_stop(orm_op *op, orm_status status)
{
    orm_lane *lane = op->lane;
    orm_lane_abandon(lane, &op->task);
    orm_lane_abandon(lane, &lane->text);
    orm_server_settle(op, lane, status);
    if (op->ends_tx) orm_op_abandon(op);
}

/* Reads what is left of a statement that was told to end. */
static orm_status read_to_end(orm_lane *lane, uint64_t deadline_ns)
{
    orm_budget budget = {.deadline_ns = deadline_ns};
    orm_status status = ORM_OK;
    if (!lane->driver->settle) return ORM_ECONNLOST;
    while ((status = lane->driver->settle(lane->conn, NULL)) > ORM_OK) {
        if (orm_now_ns() >= budget.deadline_ns) return ORM_EQUERYTIMEOUT;
        if (__atomic_load_n(&lane->root->closed, __ATOMIC_RELAXED)) return ORM_EPOOLCLOSED;
        orm_socket_wait(lane, status, &budget);
    }
    return status;
}

/* A cancel that reaches the server before the statement does is lost: it is told again. */
static orm_status end_statement(orm_lane *lane)
{
    uint64_t end = orm_now_ns() + ORM_SETTLE_NS, patience = ORM_PATIENCE_NS;
    for (;; patience *= 2) {
        ORM_TRY(orm_lane_cancel(lane));
        uint64_t until = orm_now_ns() + patience;
        orm_status status = read_to_end(lane, until < end ? until : end);
        if (status != ORM_EQUERYTIMEOUT || until >= end) return status;
    }
}

void orm_lane_settle(orm_lane *lane)
{
    const orm_driver *driver = lane->driver;
    if (!lane->conn) return;
    if (driver->state(lane->conn) == ORM_CONN_BUSY && end_statement(lane) < 0) {
        orm_lane_close(lane);
        return;
    }
    if (lane->tx) return;
    orm_lane_rollback(lane);
    if (driver->state(lane->conn) != ORM_CONN_IDLE) orm_lane_close(lane);
}
