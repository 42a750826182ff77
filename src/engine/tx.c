/* tx.c - transactions and savepoints: handles of the same type as the engine.
 *
 * orm_begin sends nothing.  The first statement gets the lane (the writer in its queue, a reader
 * for read-only transactions) and takes BEGIN with it; a savepoint's first statement opens the
 * savepoint, and those around it.  All handles of one outermost transaction share its lane and
 * its queue: one statement at a time, in order.  Before each the backend's own state is looked
 * at: a transaction that it has rolled back fails everything until it is ended.
 */
#include "engine.h"
#include "../sql/dialect.h"
#include <stdio.h>

#define TX_MAGIC 0x6f72742eu

orm_engine *orm_begin(orm_engine *engine, int isolation, bool readonly)
{
    if (!engine) return NULL;
    orm_root *root = engine->root;
    orm_tx *tx = orm_root_check(root, NULL) < 0 ? NULL : orm_alloc0(sizeof *tx);
    if (!tx) return NULL;
    tx->reserve = orm_op_reserve(root);
    if (!tx->reserve) {
        orm_dealloc(tx);
        return NULL;
    }
    tx->head = (orm_engine){.magic = TX_MAGIC, .is_tx = true, .root = root};
    tx->refs = 1;
    tx->top = tx;
    tx->state = ORM_TX_NEW;
    tx->readonly = readonly;
    tx->isolation = (uint8_t)isolation;
    tx->caller = root->caller;
    orm_root_ref(root);
    if (engine->is_tx) {
        tx->parent = (orm_tx *)engine;
        tx->parent->refs++;
        tx->top = tx->parent->top;
        tx->level = tx->parent->level + 1;
    }
    return &tx->head;
}

void orm_tx_unref(orm_tx *tx)
{
    while (tx && --tx->refs == 0) {
        orm_tx *parent = tx->parent;
        orm_root_unref(tx->head.root);
        orm_dealloc(tx);
        tx = parent;
    }
}

int orm_transaction_state(const orm_engine *engine)
{
    if (!engine || !engine->is_tx) return ORM_TX_NONE;
    const orm_tx *tx = (const orm_tx *)engine;
    for (const orm_tx *t = tx; t; t = t->parent)
        if (t->state == ORM_TX_CLOSED) return ORM_TX_CLOSED;
    return tx->top->state == ORM_TX_LOST ? ORM_TX_LOST : tx->state;
}

/* ---- on the lane's thread ---- */

static orm_status fail_lost(orm_tx *tx, orm_error *err)
{
    tx->top->lost = true;
    orm_status status = orm_fail(err, ORM_EROLLEDBACK,
                                 "the database has rolled the transaction back");
    if (err) err->outcome = ORM_OUTCOME_ROLLED_BACK;
    return status;
}

/* A statement of it has failed, and the server accepts nothing but its end. */
static orm_status fail_failed(const orm_tx *tx, orm_error *err)
{
    orm_status status = orm_fail(err, ORM_EROLLEDBACK,
                                 "the %s is rolled back, because a statement of it has failed: %s",
                                 tx->level ? "savepoint" : "transaction", tx->top->cause);
    if (err) err->outcome = ORM_OUTCOME_ROLLED_BACK;
    if (err && tx->top->again) err->flags |= ORM_ERROR_RETRYABLE;
    return status;
}

static bool has_failed(const orm_lane *lane)
{
    return lane->conn && lane->driver->state(lane->conn) == ORM_CONN_FAILED_TX;
}

void orm_tx_note_failure(orm_tx *tx, const orm_lane *lane, orm_status status, orm_error *err)
{
    orm_tx *top = tx->top;
    /* What MariaDB leaves open when a lock was not to be had is half a transaction. */
    bool half = status == ORM_ELOCKTIMEOUT && lane->root->server && orm_lane_in_transaction(lane);
    if (half || orm_lane_has_lost(lane)) {
        top->lost = true;
        err->outcome = ORM_OUTCOME_ROLLED_BACK;
    } else if (has_failed(lane) && !top->cause[0]) {
        snprintf(top->cause, sizeof top->cause, "%s", err->message);
        top->again = (err->flags & ORM_ERROR_RETRYABLE) != 0;
    }
}

static orm_status savepoint(orm_lane *lane, uint32_t level, orm_error *err)
{
    char sql[48];
    int len = snprintf(sql, sizeof sql, "SAVEPOINT orm_%u", level);
    return orm_lane_begin(lane, sql, (size_t)len, err);
}

static orm_status release(orm_lane *lane, uint32_t level, orm_error *err)
{
    char sql[48];
    int len = snprintf(sql, sizeof sql, "RELEASE SAVEPOINT orm_%u", level);
    return orm_lane_exec(lane, sql, (size_t)len, err);
}

static orm_status begin(orm_tx *tx, orm_lane *lane, orm_error *err)
{
    static const char *const levels[] = {"", "READ UNCOMMITTED", "READ COMMITTED",
                                         "REPEATABLE READ", "SERIALIZABLE"};
    const orm_dialect *dialect = lane->root->dialect;
    int control = tx->readonly ? ORM_CONTROL_BEGIN : ORM_CONTROL_BEGIN_WRITE;
    bool asked = tx->isolation && tx->isolation < ORM_COUNT(levels) && !dialect->serializable;
    char sql[96];
    if (!asked) return orm_lane_control(lane, control, err);
    const char *level = levels[tx->isolation];
    if (!dialect->isolation_first) {
        int len = snprintf(sql, sizeof sql, "START TRANSACTION ISOLATION LEVEL %s%s", level,
                           tx->readonly ? ", READ ONLY" : "");
        return orm_lane_begin(lane, sql, (size_t)len, err);
    }
    if (!tx->isolated) {
        int len = snprintf(sql, sizeof sql, "SET TRANSACTION ISOLATION LEVEL %s", level);
        orm_status status = orm_lane_exec(lane, sql, (size_t)len, err);
        if (status != ORM_OK) return status;
        tx->isolated = true;
    }
    return orm_lane_control(lane, control, err);
}

/* ORM_WANT_…: one of its statements waits for the server; the next call goes on with it. */
orm_status orm_tx_enter(orm_tx *tx, orm_lane *lane, orm_error *err)
{
    if (tx->top->lost) return fail_lost(tx, err);
    if (tx->begun) {
        if (orm_lane_has_text(lane)) return ORM_OK;
        if (has_failed(lane)) return fail_failed(tx, err);
        return orm_lane_has_lost(lane) ? fail_lost(tx, err) : ORM_OK;
    }
    orm_status status = tx->parent ? orm_tx_enter(tx->parent, lane, err) : begin(tx, lane, err);
    if (status == ORM_OK && tx->parent) status = savepoint(lane, tx->level, err);
    tx->begun = status == ORM_OK;
    return status;
}

/* COMMIT was sent, and there is no answer to tell what became of it. */
static orm_status fail_commit(orm_op *op, const orm_lane *lane, orm_status status)
{
    bool lost = op->error.flags & ORM_ERROR_DISCONNECT ||
                lane->driver->state(lane->conn) >= ORM_CONN_BROKEN;
    op->error.outcome = ORM_OUTCOME_ROLLED_BACK;
    if (!lost) return status;
    op->error.status = ORM_ECOMMITUNKNOWN;
    op->error.outcome = ORM_OUTCOME_UNKNOWN;
    op->error.flags &= (uint16_t)~ORM_ERROR_RETRYABLE; /* it may have taken effect */
    return ORM_ECOMMITUNKNOWN;
}

/* What failed within the savepoint is undone with it: the transaction around it goes on. */
static orm_status undo_savepoint(orm_tx *tx, orm_lane *lane, orm_error *err)
{
    char sql[48];
    int len = snprintf(sql, sizeof sql, "ROLLBACK TO orm_%u", tx->level);
    ORM_TRY(orm_lane_undo(lane, sql, (size_t)len, err));
    tx->top->cause[0] = '\0';
    return release(lane, tx->level, err);
}

/* What cannot be undone must not be committed by the transaction around it. */
static orm_status undo_or_lose(orm_tx *tx, orm_lane *lane, orm_error *err)
{
    orm_status status = undo_savepoint(tx, lane, err);
    if (status < 0) tx->top->lost = true;
    return status;
}

/* A savepoint that could not be released counts for its caller as undone: then it is. */
static orm_status release_or_undo(orm_tx *tx, orm_lane *lane, orm_error *err)
{
    orm_status status = release(lane, tx->level, err);
    if (status >= 0 || lane->root->server) return status;
    (void)undo_or_lose(tx, lane, NULL);
    err->outcome = ORM_OUTCOME_ROLLED_BACK;
    return status;
}

static orm_status run_commit(orm_op *op, orm_lane *lane)
{
    orm_tx *tx = op->tx;
    bool waits = orm_lane_has_text(lane);
    if (!waits && (tx->top->lost || orm_lane_has_lost(lane))) return fail_lost(tx, &op->error);
    if (!waits && !orm_lane_in_transaction(lane)) {
        orm_status failed = fail_failed(tx, &op->error);
        if (tx->level) (void)undo_savepoint(tx, lane, NULL);
        return failed;
    }
    if (tx->level) return release_or_undo(tx, lane, &op->error);
    orm_status status = orm_lane_control(lane, ORM_CONTROL_COMMIT, &op->error);
    if (status >= 0) return status == ORM_OK ? ORM_DONE : status;
    if (op->root->server) return fail_commit(op, lane, status);
    if (status == ORM_ELOCKTIMEOUT && !lane->on_worker) return status; /* a worker waits for it */
    /* A deferred constraint that failed leaves the transaction open: it ends here all the same. */
    orm_lane_rollback(lane);
    op->error.outcome = ORM_OUTCOME_ROLLED_BACK;
    return status;
}

static orm_status run_rollback(orm_op *op, orm_lane *lane)
{
    orm_tx *tx = op->tx;
    if (tx->top->lost || orm_lane_has_lost(lane)) return ORM_DONE;
    if (tx->level) return undo_or_lose(tx, lane, &op->error);
    orm_lane_rollback(lane);
    return ORM_DONE;
}

/* ---- on the engine's thread ---- */

static void give_lane_back(orm_tx *top)
{
    orm_lane *lane = top->lane;
    if (!lane) return;
    top->lane = NULL;
    lane->tx = NULL;
    orm_lane_release(lane);
}

static orm_status after_end(orm_op *op, orm_status status)
{
    orm_tx *tx = op->tx;
    tx->state = ORM_TX_CLOSED;
    tx->begun = false;
    if (tx == tx->top) {
        if (tx->lane && tx->lane->conn && !op->root->server) orm_lane_rollback(tx->lane);
        give_lane_back(tx);
    }
    return status;
}

static void acquire(orm_op *op)
{
    orm_root *root = op->root;
    if (root->server) {
        orm_server_dispatch(op);
        return;
    }
    if (op->tx->top->readonly && !root->single) {
        orm_lane *lane = orm_reader_take(root, false);
        if (lane)
            orm_tx_granted(op, lane);
        else if (root->n_readers == ORM_MAX_READERS)
            orm_wait_for_lane(op, &root->read_queue);
        else
            orm_op_complete(op, orm_fail_nomem(&op->error));
        return;
    }
    orm_root_end_shared(root);
    if (op->caller && root->writer && root->writer->tx && root->writer->tx->caller == op->caller) {
        orm_op_complete(op, orm_fail(&op->error, ORM_ECONCURRENT,
                                     "a transaction of the same task is open: begin on it"));
        return;
    }
    if (root->writer && orm_writer_is_free(root) && !root->write_queue.count)
        orm_tx_granted(op, root->writer);
    else
        orm_wait_for_lane(op, &root->write_queue);
}

void orm_tx_granted(orm_op *op, orm_lane *lane)
{
    orm_tx *top = op->tx->top;
    lane->tx = top;
    top->lane = lane;
    top->since_ns = orm_now_ns();
    orm_lane_end_shared(lane);
    orm_run_on(op, lane);
}

static orm_status check_usable(orm_op *op)
{
    orm_tx *tx = op->tx;
    int state = orm_transaction_state(&tx->head);
    if (state == ORM_TX_CLOSED || (tx->closed && op->held))
        return orm_fail(&op->error, ORM_ETXCLOSED, "the transaction has ended");
    if (op->writes && tx->top->readonly)
        return orm_fail(&op->error, ORM_EOPERATIONAL, "the transaction is read-only");
    return ORM_OK;
}

/* On a server its connection may be gone.  Has it begun, it is lost, and says so; else it can begin
 * on another one. */
static bool may_go_on(const orm_tx *top)
{
    return top->begun || top->lane->conn || !top->head.root->server;
}

/* It is this operation's turn. */
static void take_turn(orm_op *op)
{
    orm_tx *tx = op->tx;
    tx->top->active = op;
    orm_status status = check_usable(op);
    if (status < 0) {
        orm_op_complete(op, status);
    } else if (op->ends_tx && (!tx->begun || !tx->top->lane)) {
        /* Nothing was sent: there is nothing to end, unless it was lost around us. */
        if (tx->top->lost && op->kind == ORM_OP_COMMIT) status = fail_lost(tx, &op->error);
        orm_op_complete(op, after_end(op, status));
    } else if (tx->top->lane && !may_go_on(tx->top)) {
        give_lane_back(tx->top);
        acquire(op);
    } else if (tx->top->lane) {
        /* Undoing a savepoint takes several statements: on a server a worker waits for them. */
        if (op->kind == ORM_OP_COMMIT && tx->level && has_failed(tx->top->lane))
            op->blocking = true;
        orm_run_on(op, tx->top->lane);
    } else {
        acquire(op);
    }
}

void orm_tx_dispatch(orm_op *op)
{
    orm_tx *top = op->tx->top;
    if ((top->active && top->active != op) || top->stalled) {
        op->state = ORM_OP_QUEUED;
        orm_queue_push(&top->queue, op);
        orm_timer_watch(op);
        return;
    }
    take_turn(op);
}

static void update_states(orm_tx *tx)
{
    for (orm_tx *t = tx; t; t = t->parent)
        if (t->state != ORM_TX_CLOSED && t->begun) t->state = ORM_TX_OPEN;
    if (tx->top->lost && tx->top->state != ORM_TX_CLOSED) tx->top->state = ORM_TX_LOST;
}

/* Runs what waits in the transaction until one does not complete at once, or this turn has taken
 * its time: then the rest goes on in the next. */
static void work_off(orm_tx *top)
{
    orm_root *root = top->head.root;
    top->stepping = true;
    top->refs++;
    while (!top->active && top->queue.count && !orm_root_is_late(root))
        take_turn(orm_queue_pop(&top->queue));
    top->stepping = false;
    if (!top->active && top->queue.count) {
        top->stalled = true;
        top->refs++;
        top->next_stalled = root->stalled;
        root->stalled = top;
        orm_root_want_turn(root);
    }
    orm_tx_unref(top);
}

void orm_tx_op_over(orm_op *op)
{
    orm_tx *top = op->tx->top;
    top->active = NULL;
    update_states(op->tx);
    /* A transaction that could not begin does not keep others waiting. */
    if (!top->begun && !top->lost && !top->queue.count) give_lane_back(top);
    if (top->stepping || top->stalled || op->root->closed) return;
    work_off(top);
}

void orm_tx_resume(orm_root *root)
{
    orm_tx *top = root->stalled;
    root->stalled = NULL;
    while (top) {
        orm_tx *next = top->next_stalled;
        top->stalled = false;
        if (!root->closed && !top->active) work_off(top);
        orm_tx_unref(top);
        top = next;
    }
}

static orm_status prepare_end(orm_op *op)
{
    const orm_tx *tx = op->tx;
    op->blocking = op->kind == ORM_OP_ROLLBACK;
    /* Only COMMIT of a writing transaction may wait for the disk, or for readers. */
    if (op->kind == ORM_OP_COMMIT && !tx->level && !tx->top->readonly && !op->root->single)
        op->slow = (op->root->traits & ORM_TRAIT_DURABLE) != 0 ||
                   !(op->root->traits & ORM_TRAIT_CONCURRENT);
    return ORM_OK;
}

static orm_op *end_op(orm_engine *transaction, int kind, orm_run_fn run)
{
    orm_op *op = orm_op_new(transaction, kind);
    if (op->fixed || op->status < 0) return op;
    if (!op->tx) return orm_op_fail(op, ORM_EMISUSE, "not a transaction");
    op->run = run;
    op->prepare = prepare_end;
    op->after = after_end;
    op->ends_tx = true;
    op->quick = true;
    return op;
}

orm_op *orm_commit(orm_engine *transaction)
{
    return end_op(transaction, ORM_OP_COMMIT, run_commit);
}

orm_op *orm_rollback(orm_engine *transaction)
{
    return end_op(transaction, ORM_OP_ROLLBACK, run_rollback);
}

/* The handle is gone: what it still runs is stopped, and it is rolled back behind that; also when
 * there is no memory left, else it would hold its lane as long as the engine lives. */
void orm_tx_close(orm_tx *tx)
{
    orm_root *root = tx->head.root;
    tx->closed = true;
    if (tx->reserve) orm_op_keep(tx->reserve, root);
    tx->reserve = NULL;
    if (!root->closed && orm_transaction_state(&tx->head) != ORM_TX_CLOSED) {
        orm_op *active = tx->top->active;
        if (active && active->tx == tx && !active->ends_tx) orm_cancel(active);
        orm_op *op = orm_rollback(&tx->head);
        if (!op->fixed) {
            op->held = false;
            orm_op_begin(op);
        }
    }
    orm_tx_unref(tx);
}
