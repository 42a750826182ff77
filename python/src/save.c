/* save.c - the operations of an instance: save, update, delete, load and refresh.
 *
 * What they write is read from the instance when they start.  A save takes the dirty bits with
 * it; they come back when it fails, and what is set meanwhile stays dirty.
 */
#include "data.h"
#include "ops.h"

static py_instance *instance_of(const py_operation *self)
{
    return (py_instance *)self->subject;
}

static py_operation *method_new(py_instance *instance, py_model *model, const char *name,
                                py_make_fn make, py_finish_fn finish)
{
    py_database *database = py_model_seal(model) < 0 ? NULL : py_model_database(model);
    py_operation *op = database
                           ? py_operation_new(model->state, database, model, name, make, finish)
                           : NULL;
    if (op) {
        op->subject = Py_NewRef((PyObject *)instance);
        op->flags |= PY_OP_METHOD;
    }
    return op;
}

static PyObject *raise_gone(py_operation *self)
{
    return py_error_format(self->state, ORM_ENOMATCH, "the row of this %s is gone",
                           orm_model_name(self->model->model));
}

static uint64_t dirty_bit(size_t field)
{
    return (uint64_t)1 << (field < 63 ? field : 63);
}

/* ---- save -------------------------------------------------------------------------------- */

static void save_ended(py_operation *self)
{
    if (!self->value) /* failed, or given up */
        instance_of(self)->dirty |= self->dirty;
}

static PyObject *finish_save(py_operation *self, orm_op *op)
{
    py_instance *instance = instance_of(self);
    if (!op) /* nothing had changed */
        return Py_NewRef(self->subject);
    if (orm_op_kind(op) == ORM_OP_INSERT) {
        uint64_t since = instance->dirty;
        if (py_instance_saved(instance, self->model, orm_op_number(op)) < 0) return NULL;
        instance->dirty = since;
    } else if (orm_op_number(op) == 0)
        return raise_gone(self);
    return Py_NewRef(self->subject);
}

static orm_op *save_new_row(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    if (py_write_complete(instance_of(self), self->model) < 0 ||
        py_write_insert(w, self->model, &self->subject, 1) < 0)
        return NULL;
    self->dirty = instance_of(self)->dirty;
    return orm_insert(engine, self->model->model, w->fields, w->n, py_writes_take(w));
}

static int refuse_key(py_model *model, size_t field)
{
    py_error_format(model->state, ORM_EMISUSE,
                    "the key '%U' of a saved %s was assigned: use update(%U=...) to change it",
                    model->fields[field].name, orm_model_name(model->model),
                    model->fields[field].name);
    return -1;
}

/* The present, into the instance, unless the caller has set the field. */
static int touch(py_instance *self, py_model *model)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        if (!model->fields[i].auto_now || (self->dirty & dirty_bit((size_t)i))) continue;
        PyObject *now = py_field_default(model->state, &model->fields[i]);
        if (!now) return -1;
        py_instance_put(self, model, i, now);
    }
    return 0;
}

static int add_dirty(py_operation *self)
{
    py_instance *instance = instance_of(self);
    py_model *model = self->model;
    if (py_writes_init(&self->writes, (size_t)model->n_fields, 1) < 0) return -1;
    self->writes.n = 0;
    for (size_t i = 0; i < (size_t)model->n_fields; i++) {
        if (!(instance->dirty & dirty_bit(i)) || !instance->values[i]) continue;
        if (model->fields[i].primary_key) {
            if (i < 63) return refuse_key(model, i);
            continue;
        }
        if (py_write_add(&self->writes, model, i, instance->values[i]) < 0) return -1;
    }
    return 0;
}

static orm_op *make_save(py_operation *self, orm_engine *engine)
{
    py_instance *instance = instance_of(self);
    orm_op *op = NULL;
    if (!(instance->flags & PY_INSTANCE_SAVED))
        op = save_new_row(self, engine);
    else {
        if (!instance->dirty) return NULL;
        if (touch(instance, self->model) < 0 || add_dirty(self) < 0) return NULL;
        py_writes *w = &self->writes;
        orm_query *query = py_write_row(instance, self->model);
        self->dirty = instance->dirty;
        op = query ? orm_update(engine, query, w->fields, w->n, py_writes_take(w)) : NULL;
    }
    if (op) instance->dirty = 0;
    return op;
}

PyObject *py_instance_save(py_instance *self, py_model *model)
{
    py_operation *op = method_new(self, model, "save", make_save, finish_save);
    if (op) {
        op->flags |= PY_OP_WRITES;
        op->ended = save_ended;
    }
    return (PyObject *)op;
}

/* ---- update ------------------------------------------------------------------------------ */

static orm_op *make_update(py_operation *self, orm_engine *engine)
{
    py_writes *w = &self->writes;
    orm_query *query = w->n ? py_write_row(instance_of(self), self->model) : NULL;
    return query ? orm_update(engine, query, w->fields, w->n, py_writes_take(w)) : NULL;
}

/* The instance follows, a changed key too; fields that wait for a save stay dirty. */
static PyObject *finish_update(py_operation *self, orm_op *op)
{
    py_instance *instance = instance_of(self);
    (void)op;
    for (size_t k = 0; k < self->writes.n; k++) {
        size_t field = self->writes.fields[k];
        uint64_t before = instance->dirty;
        PyObject *value = PyList_GET_ITEM(self->extra, (Py_ssize_t)k);
        py_instance_put(instance, self->model, (Py_ssize_t)field, Py_NewRef(value));
        instance->dirty = field < 63 ? before & ~dirty_bit(field) : before;
    }
    if (py_instance_settle(instance, self->model) < 0) return NULL;
    Py_RETURN_NONE;
}

static int prepare_update(py_operation *op, PyObject *kwargs)
{
    py_keyword_args keywords;
    if (py_keywords_of_dict(&keywords, kwargs) < 0) return -1;
    py_model *model = op->model;
    PyObject **values = py_write_update(&op->writes, model, keywords.values, keywords.names);
    py_keywords_dispose(&keywords);
    op->extra = values ? PyList_New((Py_ssize_t)op->writes.n) : NULL;
    for (size_t k = 0; op->extra && k < op->writes.n; k++)
        PyList_SET_ITEM(op->extra, (Py_ssize_t)k, Py_NewRef(values[op->writes.fields[k]]));
    py_write_values_free(values, (size_t)model->n_fields);
    return op->extra ? 0 : -1;
}

PyObject *py_instance_update(py_instance *self, py_model *model, PyObject *kwargs)
{
    py_operation *op = method_new(self, model, "update", make_update, finish_update);
    if (!op) return NULL;
    op->flags |= PY_OP_WRITES;
    if (kwargs && PyDict_GET_SIZE(kwargs) && prepare_update(op, kwargs) < 0) {
        op->status = PY_OP_CLOSED;
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}

/* ---- delete, load ------------------------------------------------------------------------ */

static orm_op *make_delete(py_operation *self, orm_engine *engine)
{
    orm_query *query = py_write_row(instance_of(self), self->model);
    return query ? orm_delete(engine, query) : NULL;
}

static PyObject *finish_delete(py_operation *self, orm_op *op)
{
    (void)op;
    instance_of(self)->flags &= ~(uint32_t)PY_INSTANCE_SAVED;
    Py_RETURN_NONE;
}

PyObject *py_instance_delete(py_instance *self, py_model *model)
{
    py_operation *op = method_new(self, model, "delete", make_delete, finish_delete);
    if (op) op->flags |= PY_OP_WRITES;
    return (PyObject *)op;
}

static orm_op *load_peers(py_operation *self, orm_engine *engine, orm_query *query)
{
    py_sink_dispose(&self->sink); /* several rows, not one */
    self->flags &= (uint8_t)~PY_OP_SINK;
    if (py_operation_add_sink(self, false) < 0) {
        orm_query_unref(query);
        return NULL;
    }
    return orm_all(engine, query, &self->sink.base);
}

static orm_op *make_refresh(py_operation *self, orm_engine *engine)
{
    orm_query *query = py_write_row(instance_of(self), self->model);
    return query ? orm_get(engine, query, &self->sink.base) : NULL;
}

static orm_op *make_load(py_operation *self, orm_engine *engine)
{
    py_instance *instance = instance_of(self);
    if (instance->group) {
        if (py_group_take_fresh(instance, self->database)) return NULL;
        orm_query *query = py_group_query(self, instance);
        if (query) return load_peers(self, engine, query);
        if (PyErr_Occurred()) return NULL;
    }
    return make_refresh(self, engine);
}

/* 1: its row was there and is assigned. */
static int load_assign(py_operation *self, PyObject *rows)
{
    py_instance *instance = instance_of(self);
    if (self->group) return py_group_fill(self, instance, rows);
    if (py_instance_assign(instance, self->model, (py_instance *)rows) < 0) return -1;
    if (instance->flags & PY_INSTANCE_CHILD) py_group_leave(instance);
    return 1;
}

static PyObject *finish_load(py_operation *self, orm_op *op)
{
    if (!op) /* its peer has brought it along */
        return Py_NewRef(self->subject);
    PyObject *rows = py_sink_take(&self->sink);
    if (!rows) return PyErr_Occurred() ? NULL : raise_gone(self);
    int assigned = load_assign(self, rows);
    Py_DECREF(rows);
    if (assigned < 0) return NULL;
    return assigned ? Py_NewRef(self->subject) : raise_gone(self);
}

static PyObject *load_new(py_instance *self, py_model *model, const char *name, py_make_fn make)
{
    py_operation *op = method_new(self, model, name, make, finish_load);
    if (op && py_operation_add_sink(op, true) < 0) {
        op->status = PY_OP_CLOSED;
        Py_CLEAR(op);
    }
    if (op) op->ended = py_group_ended;
    return (PyObject *)op;
}

/* (filename, line) of the Python code that runs; NULL with an exception. */
static PyObject *source_place(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    PyObject *name = code ? PyObject_GetAttrString((PyObject *)code, "co_filename") : NULL;
    Py_XDECREF(code);
    if (!name) return PyErr_Occurred() ? NULL : Py_BuildValue("(si)", "", 0);
    return Py_BuildValue("(Ni)", name, PyFrame_GetLineNumber(frame));
}

/* PY_FETCH_…; -1: exception. */
static long fetch_mode(py_state *state)
{
    PyObject *value;
    if (PyContextVar_Get(state->ops->fetch_mode, NULL, &value) < 0) return -1;
    long mode = PyLong_AsLong(value);
    Py_DECREF(value);
    return mode;
}

static PyObject *refuse_load(py_instance *self, py_model *model)
{
    return py_error_format(model->state, ORM_EMISUSE,
                           "%R is not loaded, and fetch_mode('raise') keeps load() from fetching "
                           "it: name the relation in select_related() of its query",
                           self);
}

PyObject *py_instance_load(py_instance *self, py_model *model)
{
    long mode = fetch_mode(model->state);
    if (mode < 0 && PyErr_Occurred()) return NULL;
    if (mode == PY_FETCH_RAISE && Py_TYPE((PyObject *)self) == model->sparse)
        return refuse_load(self, model);
    bool alone = mode == PY_FETCH_ONE;
    PyObject *op = load_new(self, model, "load", alone ? make_refresh : make_load);
    PyObject *hooks = model->state->ops->load_hooks;
    if (op && self->group && hooks && PyList_GET_SIZE(hooks)) {
        ((py_operation *)op)->extra = source_place();
        if (!((py_operation *)op)->extra) PyErr_Clear(); /* nobody misses a report */
    }
    return op;
}

PyObject *py_instance_refresh(py_instance *self, py_model *model)
{
    return load_new(self, model, "refresh", make_refresh);
}
