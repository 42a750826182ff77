/* terms.c - an expression as Python describes it -> a step of the query.
 *
 * The description is a list in prefix order, as orm_query_match wants it:
 *
 *   (AND, n), (OR, n), (NOT,)            operators, before their operands
 *   (COND, "album__name__iexact", value) a condition, its name as a keyword of filter() has it
 *   (SQL, "…\x01…", values, relations)   SQL with its values, and the relations it needs joined
 */
#include "data.h"
#include "ops.h"

typedef struct expression {
    py_model *model;
    orm_term *terms;
    size_t n; /* terms that own their values; what is behind them is zero */
} expression;

static void expression_dispose(expression *self, bool taken)
{
    for (size_t i = 0; i < self->n; i++) {
        orm_term *term = &self->terms[i];
        if (!taken && term->op == ORM_TERM_COND) py_values_release(&term->cond.value, 1);
        if (!taken && term->values) py_values_release(term->values, term->n);
        PyMem_Free(term->values);
        PyMem_Free((void *)term->joins);
    }
    PyMem_Free(self->terms);
}

static int resolve(py_model *model, PyObject *name, int accept, orm_path *out)
{
    Py_ssize_t len = 0;
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    orm_error err = {0};
    if (!text) return -1;
    if (orm_path_resolve(model->model, text, (size_t)len, accept, out, &err) < 0) {
        py_error_raise(model->state, &err, NULL, 0);
        return -1;
    }
    return 0;
}

static int add_condition(expression *self, PyObject *item, orm_term *term)
{
    PyObject *name, *value;
    int op;
    if (!PyArg_ParseTuple(item, "iUO", &op, &name, &value)) return -1;
    if (resolve(self->model, name, ORM_PATH_LOOKUP, &term->cond.path) < 0) return -1;
    return py_value_of_path(self->model->state, &term->cond.path, value, &term->cond.value);
}

static int add_values(py_state *state, PyObject *values, orm_term *term)
{
    Py_ssize_t n = PyTuple_GET_SIZE(values);
    term->values = PyMem_Calloc((size_t)n + 1, sizeof *term->values);
    if (!term->values) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (py_value_of_object(state, PyTuple_GET_ITEM(values, i), &term->values[i]) < 0) return -1;
        term->n++;
    }
    return 0;
}

static int add_joins(py_model *model, PyObject *relations, orm_term *term)
{
    Py_ssize_t n = PyTuple_GET_SIZE(relations);
    orm_path *joins = PyMem_Calloc((size_t)n + 1, sizeof *joins);
    if (!joins) {
        PyErr_NoMemory();
        return -1;
    }
    term->joins = joins;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GET_ITEM(relations, i);
        if (resolve(model, name, ORM_PATH_RELATION, &joins[i]) < 0) return -1;
    }
    term->n_joins = (uint32_t)n;
    return 0;
}

static int add_sql(expression *self, PyObject *item, orm_term *term)
{
    PyObject *values, *relations;
    Py_ssize_t len;
    int op;
    if (!PyArg_ParseTuple(item, "is#O!O!", &op, &term->sql.ptr, &len, &PyTuple_Type, &values,
                          &PyTuple_Type, &relations))
        return -1;
    term->sql.len = (size_t)len;
    if (add_values(self->model->state, values, term) < 0) return -1;
    return add_joins(self->model, relations, term);
}

static int add_term(expression *self, PyObject *item)
{
    orm_term *term = &self->terms[self->n++];
    if (!PyTuple_Check(item) || !PyTuple_GET_SIZE(item)) {
        PyErr_SetString(PyExc_TypeError, "a term of an expression is a tuple");
        return -1;
    }
    long op = PyLong_AsLong(PyTuple_GET_ITEM(item, 0));
    if (op == -1 && PyErr_Occurred()) return -1;
    term->op = (uint8_t)op;
    term->cond.value = orm_null();
    if (op == ORM_TERM_COND) return add_condition(self, item, term);
    if (op == ORM_TERM_SQL) return add_sql(self, item, term);
    if (PyTuple_GET_SIZE(item) == 1) return 0;
    return PyArg_ParseTuple(item, "lI", &op, &term->n) ? 0 : -1;
}

orm_query *py_terms_match(py_model *model, orm_query *query, PyObject *items)
{
    size_t n = (size_t)PyList_GET_SIZE(items);
    expression self = {model, PyMem_Calloc(n + 1, sizeof(orm_term)), 0};
    if (!self.terms) return (orm_query *)PyErr_NoMemory();
    int result = 0;
    for (size_t i = 0; result == 0 && i < n && i < (size_t)PyList_GET_SIZE(items); i++)
        result = add_term(&self, PyList_GET_ITEM(items, (Py_ssize_t)i));
    orm_query *next = result < 0 ? NULL : orm_query_match(orm_query_ref(query), self.terms, self.n);
    expression_dispose(&self, result == 0);
    if (result < 0) return NULL;
    const orm_error *err = next ? orm_query_error(next) : NULL;
    if (next && !err) return next;
    if (err)
        py_error_raise(model->state, err, NULL, 0);
    else
        PyErr_NoMemory();
    orm_query_unref(next);
    return NULL;
}
