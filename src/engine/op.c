/* op.c - the life of an operation: made by a finisher, started, run, told, freed.
 *
 * An operation that is complete for its caller may still be held by a lane (a group that passed
 * its deadline); its memory then lives until the lane is back.
 */
#include "engine.h"
#include <stddef.h>
#include <stdio.h>

#define ARENA_KEPT ((size_t)64 << 10) /* larger arenas are not kept for the next operation */

/* ---- lists ---- */

void orm_queue_push(orm_queue *list, orm_op *op)
{
    op->list = list;
    op->next = NULL;
    op->prev = list->last;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
    list->count++;
}

void orm_queue_push_front(orm_queue *list, orm_op *op)
{
    op->list = list;
    op->prev = NULL;
    op->next = list->first;
    if (list->first)
        list->first->prev = op;
    else
        list->last = op;
    list->first = op;
    list->count++;
}

void orm_queue_remove(orm_op *op)
{
    orm_queue *list = op->list;
    if (!list) return;
    if (op->prev)
        op->prev->next = op->next;
    else
        list->first = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        list->last = op->prev;
    list->count--;
    op->next = op->prev = NULL;
    op->list = NULL;
}

orm_op *orm_queue_pop(orm_queue *list)
{
    orm_op *op = list->first;
    if (op) orm_queue_remove(op);
    return op;
}

/* ---- making and freeing ---- */

static orm_op out_of_memory = {
    .fixed = true,
    .state = ORM_OP_OVER,
    .status = ORM_ENOMEM,
    .error = {.status = ORM_ENOMEM, .message = "out of memory"},
};

orm_op *orm_op_reserve(orm_root *root)
{
    orm_op *op = root ? root->free_ops : NULL;
    if (op) {
        root->free_ops = op->next;
        root->n_free--;
        return op;
    }
    op = orm_alloc0(sizeof *op);
    if (op) orm_arena_init(&op->arena, 512);
    return op;
}

void orm_op_keep(orm_op *op, orm_root *root)
{
    if (!root || root->closed || root->n_free >= ORM_FREE_OPS) {
        orm_arena_dispose(&op->arena);
        orm_dealloc(op);
        return;
    }
    op->next = root->free_ops;
    root->free_ops = op;
    root->n_free++;
}

static orm_op *alloc_op(orm_root *root)
{
    orm_op *op = orm_op_reserve(root);
    if (op) memset(op, 0, offsetof(orm_op, arena));
    return op;
}

orm_op *orm_op_new(orm_engine *engine, int kind)
{
    orm_error err;
    orm_root *root = engine ? engine->root : NULL;
    orm_status status = root ? orm_root_check(root, &err)
                             : orm_fail(&err, ORM_EMISUSE, "the engine is NULL");
    orm_op *op = alloc_op(status < 0 ? NULL : root);
    if (!op) return &out_of_memory;
    op->kind = (uint8_t)kind;
    op->held = true;
    op->status = ORM_PENDING;
    op->timeout_ms = UINT32_MAX;
    if (status < 0) {
        op->error = err;
        op->status = status;
        return op;
    }
    op->root = root;
    orm_root_ref(root);
    root->n_ops++;
    if (engine->is_tx) {
        op->tx = (orm_tx *)engine;
        op->tx->refs++;
    }
    op->run = orm_run_statement;
    return op;
}

orm_op *orm_op_fail(orm_op *op, orm_status status, const char *format, ...)
{
    if (op->fixed || op->status < 0) return op;
    char message[sizeof op->error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    op->status = orm_fail(&op->error, status, "%s", message);
    return op;
}

bool orm_op_take_query(orm_op *op, orm_query *query)
{
    const orm_error *sticky = query ? orm_query_error(query) : NULL;
    if (!op->fixed && op->status == ORM_PENDING) {
        if (!query) {
            orm_op_fail(op, ORM_ENOMEM, "out of memory"); /* what made it had none */
        } else if (sticky) {
            op->error = *sticky;
            op->status = sticky->status;
        } else {
            op->query = query;
            op->model = orm_query_model(query);
            return true;
        }
    }
    orm_query_unref(query);
    return false;
}

static bool copies_bytes(const orm_value *v)
{
    return !v->release && (v->kind == ORM_V_TEXT || v->kind == ORM_V_BLOB || v->kind == ORM_V_UUID);
}

bool orm_op_take_values(orm_op *op, orm_value *values, size_t n, orm_value **out)
{
    bool ok = !op->fixed && op->status == ORM_PENDING;
    orm_value *own = ok && n < SIZE_MAX / sizeof *own
                         ? orm_arena_alloc(&op->arena, (n ? n : 1) * sizeof *own)
                         : NULL;
    for (size_t i = 0; own && ok && i < n; i++) {
        own[i] = values[i];
        if (values[i].kind == ORM_V_LIST || values[i].kind == ORM_V_QUERY) {
            orm_op_fail(op, ORM_EDATA, "a single value is expected, not %s",
                        orm_value_kind_name(values[i].kind));
            ok = false;
        } else if (copies_bytes(&values[i])) {
            own[i].as.ptr = orm_arena_copy(&op->arena, values[i].as.ptr, values[i].len);
            if (!own[i].as.ptr) ok = false;
        }
    }
    if (own && ok) {
        *out = own;
        return true;
    }
    for (size_t i = 0; i < n; i++) orm_value_dispose(&values[i]);
    orm_op_fail(op, ORM_ENOMEM, "out of memory");
    return false;
}

bool orm_op_set_sink(orm_op *op, orm_sink *sink, const orm_model *model)
{
    if (op->fixed || op->status != ORM_PENDING) return false;
    op->sink = sink;
    if (sink) return true;
    if (!model || !model->struct_size) {
        orm_op_fail(op, ORM_EMISUSE, "'%s' has no struct for its rows: give a sink",
                    model ? model->name : "raw SQL");
        return false;
    }
    op->result = orm_result_new(model);
    if (!op->result) {
        orm_op_fail(op, ORM_ENOMEM, "out of memory");
        return false;
    }
    op->sink = orm_result_sink(op->result);
    return true;
}

void orm_task_dispose(orm_task *task)
{
    orm_plan_unref(task->plan);
    task->plan = NULL;
}

/* What the operation needs no more once it is complete: values go back to their owners. */
static void drop_inputs(orm_op *op)
{
    for (size_t i = 0; i < op->n_values; i++)
        if (op->values[i].release) orm_value_dispose(&op->values[i]);
    op->n_values = 0;
    if (op->dispose) op->dispose(op);
    op->dispose = NULL;
    orm_query_unref(op->query);
    op->query = NULL;
    orm_batch_free(op->batch);
    op->batch = NULL;
}

void orm_op_destroy(orm_op *op)
{
    orm_root *root = op->root;
    drop_inputs(op);
    orm_task_dispose(&op->task);
    orm_model_unref(op->kept_model);
    orm_result_free(op->result);
    if (op->error.status) memset(&op->error, 0, sizeof op->error);
    if (root) root->n_ops--;
    if (op->tx) orm_tx_unref(op->tx);
    if (op->arena.bytes > ARENA_KEPT)
        orm_arena_dispose(&op->arena);
    else
        orm_arena_reset(&op->arena);
    orm_op_keep(op, root);
    if (root) orm_root_unref(root);
}

/* ---- to the end ---- */

bool orm_op_is_over(const orm_op *op)
{
    return op->state == ORM_OP_ENDED || op->state == ORM_OP_OVER;
}

/* Whether its callback is still to be called: then it waits in `ended` for orm_process. */
static bool is_to_be_told(const orm_op *op)
{
    return op->held && (!op->starting || op->always_call);
}

/* Complete for the caller; a lane may still have it. */
static void close_op(orm_op *op, orm_status status)
{
    orm_queue_remove(op);
    orm_timer_forget(op);
    if (op->seat) *op->seat = NULL;
    op->seat = NULL;
    op->status = status < 0 ? status : ORM_OK;
    op->sink = NULL;
    if (is_to_be_told(op)) {
        op->state = ORM_OP_ENDED;
        orm_queue_push(&op->root->ended, op);
        orm_root_want_turn(op->root);
    } else {
        op->state = ORM_OP_OVER;
    }
}

/* No lane has it any more, and it is complete. */
static void let_go(orm_op *op)
{
    orm_tx *top = op->tx ? op->tx->top : NULL;
    op->abandoned = false;
    drop_inputs(op);
    if (top && top->active == op) orm_tx_op_over(op);
    if (!op->held && !op->starting) orm_op_destroy(op);
}

void orm_op_complete(orm_op *op, orm_status status)
{
    close_op(op, status);
    let_go(op);
}

void orm_op_abandon(orm_op *op)
{
    static const orm_error read_late = {
        .status = ORM_EQUERYTIMEOUT,
        .message = "the query did not end within its timeout",
    };
    static const orm_error write_late = {
        .status = ORM_EQUERYTIMEOUT,
        .outcome = ORM_OUTCOME_UNKNOWN,
        .message = "the statement did not end within its timeout; it may still take effect",
    };
    static const orm_error commit_late = {
        .status = ORM_ECOMMITUNKNOWN,
        .outcome = ORM_OUTCOME_UNKNOWN,
        .message = "COMMIT did not end within its timeout; it may still take effect",
    };
    op->abandoned = true;
    op->verdict = op->kind == ORM_OP_COMMIT ? &commit_late : op->writes ? &write_late : &read_late;
    close_op(op, op->verdict->status);
}

/* How a statement that ended well counts: GET wants exactly one row, writes tell a number. */
static orm_status judge(orm_op *op)
{
    switch (op->kind) {
    case ORM_OP_GET:
        if (op->rows == 0)
            return orm_fail(&op->error, ORM_ENOMATCH, "no '%s' matches the query", op->model->name);
        if (op->rows > 1)
            return orm_fail(&op->error, ORM_EMULTIPLE, "more than one '%s' matches the query",
                            op->model->name);
        return ORM_OK;
    case ORM_OP_INSERT: op->number = op->task.info.last_key; return ORM_OK;
    case ORM_OP_UPDATE:
    case ORM_OP_DELETE: op->number = op->task.info.affected; return ORM_OK;
    default: return ORM_OK;
    }
}

/* Rows are all delivered: the verdict, and what follows. */
static void finish(orm_op *op, orm_status status)
{
    if (status >= 0 && op->cancelled && !op->writes)
        status = orm_fail(&op->error, ORM_ECANCELLED, "the operation was cancelled");
    if (status >= 0) status = judge(op);
    if (op->after) {
        status = op->after(op, status);
        if (status == ORM_PENDING && !op->root->closed) {
            orm_dispatch(op);
            return;
        }
        if (status == ORM_PENDING)
            status = orm_fail(&op->error, ORM_EPOOLCLOSED, "the engine was closed");
    }
    orm_op_complete(op, status);
}

void orm_op_ended(orm_op *op, orm_status status)
{
    op->lane = NULL;
    if (op->abandoned) {
        if (op->ends_tx) (void)op->after(op, status);
        let_go(op);
        return;
    }
    if (status < 0 || !op->batch || op->rerouted) {
        finish(op, status);
        return;
    }
    op->state = ORM_OP_REPLAY;
    if (orm_op_replay(op, 0) == ORM_PENDING) {
        orm_queue_push(&op->root->live, op);
        orm_root_want_turn(op->root);
    }
}

static const orm_layout *layout_of(const orm_op *op)
{
    if (op->rows_layout) return op->rows_layout;
    return op->own_layout ? &op->layout : &op->task.plan->layout;
}

static orm_status begin_sink(orm_op *op)
{
    if (op->sink_begun || !op->sink) return ORM_OK;
    op->sink_begun = true;
    return op->sink->vtable->begin(op->sink, layout_of(op), &op->error);
}

orm_status orm_op_replay(orm_op *op, uint64_t until_ns)
{
    orm_status status = begin_sink(op);
    size_t n = 0;
    while (status >= 0) {
        const orm_cell *cells = orm_batch_next(op->batch);
        if (!cells) break;
        if (op->sink) status = op->sink->vtable->row(op->sink, cells, &op->error);
        if (++n % ORM_REPLAY_CHUNK == 0 && orm_now_ns() >= until_ns) return ORM_PENDING;
    }
    orm_queue_remove(op);
    finish(op, status < 0 ? status : ORM_OK);
    return ORM_DONE;
}

/* ---- rows on their way ---- */

/* Two rows are enough to say that there are too many. */
static bool wants_one(const orm_op *op)
{
    return op->kind == ORM_OP_GET || op->kind == ORM_OP_GET_OR_CREATE ||
           op->kind == ORM_OP_UPDATE_OR_CREATE;
}

static orm_status row_direct(void *self, const orm_cell *cells, orm_error *err)
{
    orm_op *op = self;
    if (op->rows++ && wants_one(op)) return ORM_DONE;
    return op->sink ? op->sink->vtable->row(op->sink, cells, err) : ORM_OK;
}

static orm_status row_batched(void *self, const orm_cell *cells, orm_error *err)
{
    orm_op *op = self;
    if (op->rows++ && wants_one(op)) return ORM_DONE;
    return orm_batch_add(op->batch, cells, layout_of(op)->n_columns, err);
}

static orm_status row_number(void *self, const orm_cell *cells, orm_error *err)
{
    orm_op *op = self;
    (void)err;
    op->number = cells[0].kind == ORM_V_INT || cells[0].kind == ORM_V_BOOL ? cells[0].as.i : 0;
    return ORM_OK;
}

void orm_op_rewind(orm_op *op)
{
    op->rows = 0;
    if (op->batch) orm_batch_clear(op->batch);
    if (op->sink && op->sink_begun) op->sink->vtable->rewind(op->sink, op->mark);
}

orm_status orm_op_aim(orm_op *op, bool direct)
{
    op->task.target.self = op;
    if (op->kind == ORM_OP_COUNT || op->kind == ORM_OP_EXISTS) {
        op->task.target.row = row_number;
        return ORM_OK;
    }
    if (!op->sink && !op->own_layout) {
        op->task.target.row = row_direct;
        return ORM_OK;
    }
    uint32_t flags = op->sink ? op->sink->flags | op->sink->vtable->flags : 0;
    if (direct && !(flags & ORM_SINK_AFTER_RESET)) {
        op->task.target.row = row_direct;
        return begin_sink(op);
    }
    op->task.target.row = row_batched;
    if (!op->batch) op->batch = orm_batch_new();
    return op->batch ? ORM_OK : orm_fail_nomem(&op->error);
}
