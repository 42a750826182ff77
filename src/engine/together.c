/* together.c - reads by key that meet: one statement answers many of them.
 *
 * On a server every statement is a way there and back.  The first `get` by key of a turn is sent
 * at once; others of the same plan wait for the end of that turn, and what has gathered in the
 * queue by then (or by the time a connection is free) goes out as one `key IN (…)`.
 *
 * That statement is an ordinary operation that nobody holds.  Its sink deals the rows out to the
 * members; when it is over, each member is judged by itself.  A member's seat says that it is one:
 * whatever completes a member before (cancelled, past its deadline, the engine closed) takes it
 * off its seat, and the statement goes on for the others.
 *
 * Only whole numbers as keys: what a server takes for equal texts is its collation's business.
 * The queue keeps its order in so far as nothing is read across a write that waits in it.
 */
#include "engine.h"

enum {
    TOGETHER_MAX = 128 /* keys of one statement */
};

typedef struct together {
    orm_sink sink;
    uint32_t n, key_cell;
    int64_t keys[TOGETHER_MAX];
    orm_op *seats[TOGETHER_MAX]; /* NULL: has left */
} together;

/* ---- which operations ---- */

/* One key and nothing else that chooses rows: then many keys in its place choose theirs. */
static bool is_key_query(const orm_query *query)
{
    if (query->step != ORM_STEP_FILTER || query->n != 1) return false;
    for (const orm_query *node = query->parent; node->step != ORM_STEP_ROOT; node = node->parent)
        if (node->step != ORM_STEP_FLAGS && node->step != ORM_STEP_RELATED) return false;
    const orm_query_cond *cond = &query->as.conds[0];
    const orm_model *model = query->model;
    return cond->path.lookup == ORM_LOOKUP_EXACT && cond->path.depth == 0 && cond->facts == 0 &&
           model->n_keys == 1 && model->keys[0] == cond->path.field;
}

static bool is_key_read(const orm_op *op)
{
    if (op->kind != ORM_OP_GET || op->tx || !op->sink || !op->query || op->after) return false;
    if ((op->sink->flags | op->sink->vtable->flags) & ORM_SINK_AFTER_RESET) return false;
    return op->task.n_params > 0 && op->task.params[0].kind == ORM_V_INT && is_key_query(op->query);
}

bool orm_together_waits(const orm_op *op)
{
    orm_root *root = op->root;
    if (!is_key_read(op)) return false;
    if (root->turn_plan == op->task.plan) return true;
    root->turn_plan = op->task.plan;
    return false;
}

/* ---- its rows ---- */

static together *together_of(const orm_sink *sink)
{
    return (together *)(void *)sink;
}

static orm_status together_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    together *self = together_of(sink);
    const orm_node *root = &layout->nodes[0];
    (void)err;
    for (uint32_t i = root->first; i < root->first + root->count; i++)
        if (layout->columns[i].field == root->model->keys[0]) self->key_cell = i;
    for (uint32_t i = 0; i < self->n; i++) {
        orm_op *op = self->seats[i];
        orm_status status = op ? orm_op_aim(op, true) : ORM_OK;
        if (status < 0) orm_op_complete(op, status);
    }
    return ORM_OK;
}

static orm_status together_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    together *self = together_of(sink);
    const orm_cell *key = &cells[self->key_cell];
    (void)err;
    if (key->kind != ORM_V_INT) return ORM_OK;
    for (uint32_t i = 0; i < self->n; i++) {
        orm_op *op = self->keys[i] == key->as.i ? self->seats[i] : NULL;
        orm_status status = op ? op->task.target.row(op, cells, &op->error) : ORM_OK;
        if (status < 0) orm_op_complete(op, status);
    }
    return ORM_OK;
}

static size_t together_mark(const orm_sink *sink)
{
    (void)sink;
    return 0;
}

static void together_rewind(orm_sink *sink, size_t mark)
{
    together *self = together_of(sink);
    (void)mark;
    for (uint32_t i = 0; i < self->n; i++)
        if (self->seats[i]) orm_op_rewind(self->seats[i]);
}

/* ---- its end ---- */

static void together_dispose(orm_op *op)
{
    together *self = op->script;
    for (uint32_t i = 0; i < self->n; i++) {
        orm_op *member = self->seats[i];
        if (!member) continue;
        member->seat = NULL;
        self->seats[i] = NULL;
        if (op->status < 0) member->error = *orm_op_error(op);
        orm_op_ended(member, op->status);
    }
}

/* ---- making it ---- */

static void seat_add(together *self, orm_op *op)
{
    op->acquire_ns = 0;
    op->mark = op->sink->vtable->mark(op->sink);
    self->keys[self->n] = op->task.params[0].as.i;
    self->seats[self->n] = op;
    op->seat = &self->seats[self->n++];
}

static orm_query *keys_query(const together *self, const orm_query *like)
{
    orm_value members[TOGETHER_MAX];
    for (uint32_t i = 0; i < self->n; i++) members[i] = orm_int(self->keys[i]);
    orm_cond cond = {.path = like->as.conds[0].path, .value = orm_list(members, self->n)};
    cond.path.lookup = ORM_LOOKUP_IN;
    return orm_query_filter(orm_query_ref(like->parent), &cond, 1, false);
}

static orm_status together_prepare(orm_op *op, const orm_query *like)
{
    static const orm_sink_vtable vtable = {
        .size = sizeof vtable,
        .begin = together_begin,
        .row = together_row,
        .mark = together_mark,
        .rewind = together_rewind,
    };
    together *self = op->script;
    self->sink = (orm_sink){.vtable = &vtable};
    op->sink = &self->sink;
    if (!orm_op_take_query(op, keys_query(self, like))) return op->status;
    return orm_op_bind(op, &op->task, ORM_OP_ALL, op->query, NULL, NULL, op->params,
                       ORM_INLINE_PARAMS);
}

/* The next from `op` on in the queue that goes with `first`; NULL: none, or behind a write. */
static orm_op *find_mate(const orm_op *first, orm_op *op)
{
    for (; op && !op->writes && !op->tx; op = op->next)
        if (op->task.plan == first->task.plan && is_key_read(op)) return op;
    return NULL;
}

static void seats_fill(together *self, orm_op *first)
{
    seat_add(self, first);
    orm_op *op = find_mate(first, first->root->read_queue.first);
    while (op && self->n < TOGETHER_MAX) {
        orm_op *next = op->next;
        orm_queue_remove(op);
        seat_add(self, op);
        op = find_mate(first, next);
    }
}

/* There was no memory for it, or something of the kind: back into the queue, first come first. */
static orm_op *seats_clear(together *self, orm_op *op)
{
    orm_op *first = self->seats[0];
    uint64_t until = orm_now_ns() + op->root->acquire_timeout_ns;
    for (uint32_t i = self->n; i-- > 0;) {
        orm_op *member = self->seats[i];
        member->seat = NULL;
        member->acquire_ns = until;
        if (i > 0) orm_queue_push_front(&op->root->read_queue, member);
    }
    self->n = 0;
    orm_op_destroy(op);
    return first;
}

orm_op *orm_together(orm_op *first)
{
    orm_root *root = first->root;
    if (!is_key_read(first) || !find_mate(first, root->read_queue.first)) return first;
    orm_op *op = orm_op_new(&root->head, ORM_OP_ALL);
    if (op->fixed) return first;
    together *self = op->script = orm_arena_alloc(&op->arena, sizeof *self);
    op->held = false;
    if (!self || op->status < 0) {
        orm_op_destroy(op);
        return first;
    }
    self->n = self->key_cell = 0;
    seats_fill(self, first);
    if (together_prepare(op, first->query) < 0) return seats_clear(self, op);
    op->dispose = together_dispose;
    op->caller = first->caller;
    for (uint32_t i = 0; i < self->n; i++)
        if (self->seats[i]->deadline_ns > op->deadline_ns)
            op->deadline_ns = self->seats[i]->deadline_ns;
    return op;
}
