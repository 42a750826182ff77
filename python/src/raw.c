/* raw.c - SQL of the caller's own: Model.objects.raw and Database.execute, fetch_…
 *
 * Values are bound, never written into the text.  `?` takes them in order; a dict gives those
 * of `:name`, which SQLite numbers by first appearance.
 */
#include "data.h"
#include "ops.h"

/* ---- values ------------------------------------------------------------------------------ */

static int set_values(py_operation *op, PyObject *const *objects, size_t n)
{
    if (py_writes_init(&op->writes, n, 1) < 0) return -1;
    for (size_t i = 0; i < n; i++)
        if (py_value_of_object(op->state, objects[i], &op->writes.values[i]) < 0) return -1;
    return 0;
}

/* The end of the text whose last two characters are `close` (one: the second is NUL). */
static const char *skip_until(const char *at, const char *end, const char close[2])
{
    for (; at < end; at++)
        if (*at == close[0] && (!close[1] || (end - at > 1 && at[1] == close[1])))
            return at + (close[1] ? 2 : 1);
    return end;
}

/* Behind a quoted text or a comment that begins at `at`; `at` itself when there is none. */
static const char *skip_quoted(const char *at, const char *end)
{
    char next = end - at > 1 ? at[1] : '\0';
    switch (*at) {
    case '\'':
    case '"':
    case '`': return skip_until(at + 1, end, (char[2]){*at, '\0'});
    case '[': return skip_until(at + 1, end, "]");
    case '-': return next == '-' ? skip_until(at + 2, end, "\n") : at;
    case '/': return next == '*' ? skip_until(at + 2, end, "*/") : at;
    default: return at;
    }
}

static bool is_word(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The names behind ":" in `sql`, in the order of their first appearance: a list. */
static PyObject *named_parameters(const char *at, const char *end)
{
    PyObject *names = PyList_New(0);
    while (names && at < end) {
        const char *behind = skip_quoted(at, end);
        if (behind != at) {
            at = behind;
            continue;
        }
        const char *word = at + 1;
        if (*at++ != ':') continue;
        while (at < end && is_word(*at)) at++;
        PyObject *name = at > word ? PyUnicode_FromStringAndSize(word, at - word) : NULL;
        int known = name ? PySequence_Contains(names, name) : 1;
        if (known < 0 || (!known && PyList_Append(names, name) < 0) || PyErr_Occurred())
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

/* The values of a dict, in the order of its names in the statement: a list. */
static PyObject *values_by_name(py_operation *op, PyObject *dict)
{
    Py_ssize_t len = 0;
    const char *sql = PyUnicode_AsUTF8AndSize(op->subject, &len);
    PyObject *names = sql ? named_parameters(sql, sql + len) : NULL;
    for (Py_ssize_t i = 0; names && i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i);
        PyObject *value = PyDict_GetItemWithError(dict, name);
        if (!value) {
            if (!PyErr_Occurred())
                py_error_format(op->state, ORM_EPROGRAMMING,
                                "the statement's parameter :%U has no value", name);
            Py_CLEAR(names);
        } else
            PyList_SetItem(names, i, Py_NewRef(value));
    }
    return names;
}

static int set_sequence(py_operation *op, PyObject *values)
{
    PyObject *list = PyDict_Check(values) ? values_by_name(op, values) : PySequence_List(values);
    if (!list) return -1;
    int result = set_values(op, ((PyListObject *)list)->ob_item, (size_t)PyList_GET_SIZE(list));
    Py_DECREF(list);
    return result;
}

/* ---- operations -------------------------------------------------------------------------- */

static orm_op *make_raw(py_operation *self, orm_engine *engine)
{
    Py_ssize_t len = 0;
    const char *sql = PyUnicode_AsUTF8AndSize(self->subject, &len);
    if (!sql) return NULL;
    py_writes *w = &self->writes;
    return orm_raw(engine, sql, (size_t)len, py_writes_take(w), w->n,
                   self->model ? self->model->model : NULL, &self->sink.base);
}

static py_operation *raw_new(py_state *state, py_database *database, py_model *model,
                             const char *name, PyObject *sql, py_finish_fn finish)
{
    if (!PyUnicode_Check(sql)) {
        PyErr_Format(PyExc_TypeError, "%s() takes SQL as a str, not %.100s", name,
                     Py_TYPE(sql)->tp_name);
        return NULL;
    }
    py_operation *op = py_operation_new(state, database, model, name, make_raw, finish);
    if (op) {
        op->subject = Py_NewRef(sql);
        op->flags |= PY_OP_MAY_WRITE;
    }
    return op;
}

static PyObject *raw_ready(py_operation *op, int prepared)
{
    if (prepared == 0) return (PyObject *)op;
    op->status = PY_OP_CLOSED;
    Py_DECREF(op);
    return NULL;
}

PyObject *py_queryset_raw(PyObject *object, PY_FASTCALL)
{
    py_model *model = ((py_queryset *)object)->model;
    if (nargs < 1 || kwnames) {
        PyErr_SetString(PyExc_TypeError, "raw(sql, *values) takes SQL and positional values");
        return NULL;
    }
    py_database *database = py_model_database(model);
    py_operation *op = database
                           ? raw_new(model->state, database, model, "raw", args[0], py_finish_rows)
                           : NULL;
    if (!op) return NULL;
    int prepared = py_operation_add_sink(op, false);
    bool is_sequence = nargs == 2 &&
                       (PyList_Check(args[1]) || PyTuple_Check(args[1]) || PyDict_Check(args[1]));
    if (prepared == 0)
        prepared = is_sequence ? set_sequence(op, args[1])
                               : set_values(op, args + 1, (size_t)(nargs - 1));
    return raw_ready(op, prepared);
}

static PyObject *names_of(const orm_layout *layout)
{
    uint32_t n = layout && layout->names ? layout->n_columns : 0;
    PyObject *names = PyTuple_New((Py_ssize_t)n);
    for (uint32_t i = 0; names && i < n; i++) {
        const char *text = layout->names[i];
        PyObject *name = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
        if (name)
            PyTuple_SET_ITEM(names, (Py_ssize_t)i, name);
        else
            Py_CLEAR(names);
    }
    return names;
}

/* The rows, which know the names of their columns. */
static PyObject *finish_records(py_operation *self, orm_op *op)
{
    (void)op;
    PyObject *rows = py_sink_take(&self->sink);
    if (!rows || !PyList_GET_SIZE(rows)) return rows;
    PyObject *make = py_import_get(self->state, PY_IMPORT_ROW_TYPE);
    PyObject *names = make ? names_of(self->sink.layout) : NULL;
    PyObject *type = names ? PyObject_CallOneArg(make, names) : NULL;
    for (Py_ssize_t i = 0; type && rows && i < PyList_GET_SIZE(rows); i++) {
        PyObject *row = PyObject_CallOneArg(type, PyList_GET_ITEM(rows, i));
        if (row)
            PyList_SetItem(rows, i, row);
        else
            Py_CLEAR(rows);
    }
    if (!type) Py_CLEAR(rows);
    Py_XDECREF(type);
    Py_XDECREF(names);
    return rows;
}

static PyObject *finish_first(py_operation *self, orm_op *op)
{
    PyObject *rows = finish_records(self, op);
    PyObject *first = rows && PyList_GET_SIZE(rows) ? PyList_GET_ITEM(rows, 0) : Py_None;
    PyObject *result = rows ? Py_NewRef(first) : NULL;
    Py_XDECREF(rows);
    return result;
}

static PyObject *finish_value(py_operation *self, orm_op *op)
{
    PyObject *row = finish_first(self, op);
    if (!row || row == Py_None) return row;
    PyObject *value = PySequence_GetItem(row, 0);
    Py_DECREF(row);
    return value;
}

/* The key that an INSERT has generated; what the statement returns; else how many rows it changed. */
static PyObject *finish_execute(py_operation *self, orm_op *op)
{
    int64_t key = orm_op_key(op);
    if (key && self->database->single_writer) return PyLong_FromLongLong(key);
    PyObject *rows = py_sink_take(&self->sink);
    PyObject *row = rows && PyList_GET_SIZE(rows) ? PyList_GET_ITEM(rows, 0) : NULL;
    PyObject *result = NULL;
    if (row)
        result = PySequence_GetItem(row, 0);
    else if (rows)
        result = PyLong_FromLongLong(key ? key : orm_op_number(op));
    Py_XDECREF(rows);
    return result;
}

/* The arguments of all four: (sql, values=None). */
static PyObject *database_raw(PyObject *object, PY_FASTCALL, const char *name, py_finish_fn finish)
{
    py_database *database = (py_database *)object;
    bool by_name = kwnames && PyTuple_GET_SIZE(kwnames) == 1 && nargs == 1 &&
                   PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "values") == 0;
    if (nargs < 1 || nargs > 2 || (kwnames && !by_name)) {
        PyErr_Format(PyExc_TypeError, "%s(sql, values=None)", name);
        return NULL;
    }
    PyObject *values = nargs == 2 || by_name ? args[1] : Py_None;
    py_operation *op = raw_new(database->state, database, NULL, name, args[0], finish);
    if (!op) return NULL;
    if (finish == finish_execute) op->flags |= PY_OP_WRITES;
    int prepared = py_operation_add_sink(op, false);
    if (prepared == 0)
        prepared = values == Py_None ? set_values(op, NULL, 0) : set_sequence(op, values);
    return raw_ready(op, prepared);
}

PyObject *py_database_execute(PyObject *self, PY_FASTCALL)
{
    return database_raw(self, args, nargs, kwnames, "execute", finish_execute);
}

PyObject *py_database_fetch_all(PyObject *self, PY_FASTCALL)
{
    return database_raw(self, args, nargs, kwnames, "fetch_all", finish_records);
}

PyObject *py_database_fetch_one(PyObject *self, PY_FASTCALL)
{
    return database_raw(self, args, nargs, kwnames, "fetch_one", finish_first);
}

PyObject *py_database_fetch_val(PyObject *self, PY_FASTCALL)
{
    return database_raw(self, args, nargs, kwnames, "fetch_val", finish_value);
}
