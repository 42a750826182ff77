/* keywords.c - keyword arguments to conditions.
 *
 * The names of keywords are interned: the same objects at every call.  So a model remembers the
 * paths for a few tuples of names, compared by the identity of the names, and the hot path
 * resolves no text at all.  Nothing that failed to resolve is remembered, and the table has a
 * fixed size: a caller who invents names cannot grow it.
 */
#include "data.h"
#include "ops.h"

#define SLOTS 32u
#define REMEMBERED 64 /* longer tuples are resolved each time */

typedef struct entry {
    PyObject *names; /* strong: the identities of its members are the key */
    int accept;
    orm_path *paths;
} entry;
struct py_keywords {
    entry entries[SLOTS];
};

static entry *keywords_slot(py_model *model, PyObject *names, int accept)
{
    if (!model->keywords) model->keywords = PyMem_Calloc(1, sizeof *model->keywords);
    if (!model->keywords) return NULL;
    size_t hash = (size_t)accept;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        uintptr_t bits = (uintptr_t)PyTuple_GET_ITEM(names, i);
        hash = hash * 31 + (size_t)((bits >> 4) ^ (bits >> 9));
    }
    return &model->keywords->entries[hash % SLOTS];
}

static bool entry_fits(const entry *self, PyObject *names, int accept)
{
    if (self->names == names) return self->accept == accept;
    if (!self->names || self->accept != accept) return false;
    Py_ssize_t n = PyTuple_GET_SIZE(names);
    return PyTuple_GET_SIZE(self->names) == n &&
           memcmp(((PyTupleObject *)self->names)->ob_item, ((PyTupleObject *)names)->ob_item,
                  (size_t)n * sizeof(PyObject *)) == 0;
}

void py_model_drop_queries(py_model *model)
{
    struct py_keywords *keywords = model->keywords;
    orm_query *root = model->root;
    model->keywords = NULL;
    model->root = NULL;
    orm_query_unref(root);
    for (size_t i = 0; keywords && i < SLOTS; i++) {
        PyMem_Free(keywords->entries[i].paths);
        Py_XDECREF(keywords->entries[i].names);
    }
    PyMem_Free(keywords);
}

static int refuse_name(py_model *model, PyObject *name, int accept, const orm_error *err)
{
    if (accept == ORM_PATH_FIELD) /* a value for a field: what a constructor would say */
        return py_error_argument(model->state, name, PyUnicode_FromString("Invalid property name."),
                                 PyUnicode_FromString(err->message));
    py_error_raise(model->state, err, NULL, 0);
    return -1;
}

static int resolve_name(py_model *model, PyObject *name, int accept, orm_path *out)
{
    Py_ssize_t len = 0;
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &len) : NULL;
    orm_error err = {0};
    if (!text) { /* a lone surrogate: no name of anything */
        PyErr_Clear();
        err.status = ORM_EFIELD;
        PyOS_snprintf(err.message, sizeof err.message, "a name that is no text is no field of %s",
                      orm_model_name(model->model));
        return refuse_name(model, name, accept, &err);
    }
    if (orm_path_resolve(model->model, text, (size_t)len, accept, out, &err) < 0)
        return refuse_name(model, name, accept, &err);
    return 0;
}

int py_keywords_resolve(py_model *model, PyObject *kwnames, int accept, const orm_path **paths,
                        bool *owned)
{
    Py_ssize_t n = PyTuple_GET_SIZE(kwnames);
    entry *slot = n <= REMEMBERED ? keywords_slot(model, kwnames, accept) : NULL;
    *owned = false;
    if (slot && entry_fits(slot, kwnames, accept)) {
        *paths = slot->paths;
        return 0;
    }
    orm_path *made = PyMem_Calloc((size_t)n + 1, sizeof *made);
    if (!made) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (resolve_name(model, PyTuple_GET_ITEM(kwnames, i), accept, &made[i]) < 0) {
            PyMem_Free(made);
            return -1;
        }
    *paths = made;
    *owned = !slot;
    if (slot) {
        PyObject *old = slot->names;
        PyMem_Free(slot->paths);
        *slot = (entry){Py_NewRef(kwnames), accept, made};
        Py_XDECREF(old);
    }
    return 0;
}

static orm_query *filter_with(py_model *model, orm_query *query, PyObject *const *values,
                              const orm_path *paths, size_t n, orm_cond *conds, bool negate)
{
    for (size_t i = 0; i < n; i++) {
        conds[i].path = paths[i];
        conds[i].value = orm_null();
        if (py_value_of_path(model->state, &paths[i], values[i], &conds[i].value) < 0) {
            for (size_t k = 0; k < i; k++) py_values_release(&conds[k].value, 1);
            return NULL;
        }
    }
    orm_query *next = orm_query_filter(orm_query_ref(query), conds, n, negate);
    const orm_error *err = next ? orm_query_error(next) : NULL;
    if (next && !err) return next;
    if (err)
        py_error_raise(model->state, err, NULL, 0);
    else
        PyErr_NoMemory();
    orm_query_unref(next);
    return NULL;
}

orm_query *py_keywords_filter(py_model *model, orm_query *query, PyObject *const *values,
                              PyObject *kwnames, bool negate)
{
    size_t n = kwnames ? (size_t)PyTuple_GET_SIZE(kwnames) : 0;
    if (!n) return filter_with(model, query, NULL, NULL, 0, NULL, negate);
    const orm_path *paths;
    bool owned;
    if (py_keywords_resolve(model, kwnames, ORM_PATH_LOOKUP, &paths, &owned) < 0) return NULL;
    orm_cond few[4], *conds = n <= 4 ? few : PyMem_Calloc(n, sizeof *conds);
    /* A value may run Python code (a generator), and that may use this model: the remembered
     * paths may be replaced under our feet, so they are copied into the conditions first. */
    orm_path few_paths[4], *own = n <= 4 ? few_paths : PyMem_Calloc(n, sizeof *own);
    orm_query *result = NULL;
    if (conds && own) {
        memcpy(own, paths, n * sizeof *own);
        result = filter_with(model, query, values, own, n, conds, negate);
    } else
        PyErr_NoMemory();
    if (n > 4) {
        PyMem_Free(conds);
        PyMem_Free(own);
    }
    if (owned) PyMem_Free((void *)paths);
    return result;
}

int py_keywords_of_dict(py_keyword_args *self, PyObject *dict)
{
    Py_ssize_t n = PyDict_GET_SIZE(dict), position = 0, i = 0;
    PyObject *key, *value;
    self->values = PyMem_Calloc((size_t)n + 1, sizeof *self->values);
    self->names = PyTuple_New(n);
    if (!self->values || !self->names) {
        py_keywords_dispose(self);
        PyErr_NoMemory();
        return -1;
    }
    while (i < n && PyDict_Next(dict, &position, &key, &value)) {
        self->values[i] = Py_NewRef(value);
        PyTuple_SET_ITEM(self->names, i++, Py_NewRef(key));
    }
    if (i == n && PyDict_GET_SIZE(dict) == n) return 0;
    py_keywords_dispose(self); /* making the tuple may collect garbage, and that runs anything */
    PyErr_SetString(PyExc_RuntimeError, "the dict changed its size while it was read");
    return -1;
}

bool py_keywords_refill(py_keyword_args *self, PyObject *dict)
{
    Py_ssize_t position = 0, i = 0, n = self->names ? PyTuple_GET_SIZE(self->names) : -1;
    PyObject *key, *value;
    if (n != PyDict_GET_SIZE(dict)) return false;
    while (i < n && PyDict_Next(dict, &position, &key, &value)) {
        if (key != PyTuple_GET_ITEM(self->names, i)) break;
        self->values[i++] = Py_NewRef(value);
    }
    if (i == n) return true;
    py_keywords_clear(self);
    return false;
}

void py_keywords_clear(py_keyword_args *self)
{
    Py_ssize_t n = self->names ? PyTuple_GET_SIZE(self->names) : 0;
    for (Py_ssize_t i = 0; self->values && i < n; i++) Py_CLEAR(self->values[i]);
}

void py_keywords_dispose(py_keyword_args *self)
{
    py_keywords_clear(self);
    PyMem_Free(self->values);
    self->values = NULL;
    Py_CLEAR(self->names);
}
