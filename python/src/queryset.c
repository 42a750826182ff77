/* queryset.c - QuerySet: immutable steps over an orm_query, and the blocking forms.
 *
 * A step keeps its parent's query by reference and makes the next one; a name that is wrong is
 * an error at the step, not at the await.
 */
#include "data.h"
#include "ops.h"

static py_queryset *queryset_of(PyObject *self)
{
    return (py_queryset *)self;
}

/* ---- making ------------------------------------------------------------------------------ */

/* All is done when it is made; a subclass's __init__ may pass on encode/orm's arguments. */
static int queryset_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const known[] = {"model_cls",   "filter_clauses", "select_related",
                                        "limit_count", "offset",         "order_by"};
    bool is_own = Py_TYPE(self)->tp_init != queryset_init;
    Py_ssize_t n = PyTuple_GET_SIZE(args), position = 0;
    PyObject *name, *value, *unknown = NULL;
    while (kwargs && !unknown && PyDict_Next(kwargs, &position, &name, &value)) {
        bool found = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
            found |= PyUnicode_CompareWithASCIIString(name, known[i]) == 0;
        if (!found) unknown = name;
    }
    if (!unknown && n <= (is_own ? 6 : 1)) return 0;
    if (unknown)
        PyErr_Format(PyExc_TypeError, "%s() has no argument %R", Py_TYPE(self)->tp_name, unknown);
    else
        PyErr_Format(PyExc_TypeError, "%s() takes a model", Py_TYPE(self)->tp_name);
    return -1;
}

static orm_query *root_query(py_model *model)
{
    if (model->root) return model->root;
    if (!model->model) {
        py_error_format(model->state, ORM_ECONFIG, "%s is abstract: it has no table",
                        model->type->tp_name);
        return NULL;
    }
    if (py_model_seal(model) < 0) return NULL;
    orm_query *root = orm_query_new(model->model);
    if (model->loads_filtered) root = orm_query_set(root, ORM_QUERY_LOAD_FILTERED);
    if (!root || orm_query_error(root)) {
        if (root)
            py_error_raise(model->state, orm_query_error(root), NULL, 0);
        else
            PyErr_NoMemory();
        orm_query_unref(root);
        return NULL;
    }
    return model->root = root;
}

static PyObject *queryset_make(PyTypeObject *type, py_model *model, orm_query *query)
{
    py_queryset *self = (py_queryset *)type->tp_alloc(type, 0);
    if (!self) {
        orm_query_unref(query);
        return NULL;
    }
    self->model = model;
    self->model_class = Py_NewRef((PyObject *)model->type);
    self->query = query;
    return (PyObject *)self;
}

PyObject *py_queryset_new(py_model *model, PyTypeObject *type)
{
    orm_query *root = root_query(model);
    if (!root) return NULL;
    return queryset_make(type ? type : model->state->queryset_type, model, orm_query_ref(root));
}

/* A type with an __init__ of its own has it called, as encode/orm did for every step. */
static PyObject *queryset_init_own(PyObject *self)
{
    PyTypeObject *type = self ? Py_TYPE(self) : NULL;
    if (!self || type->tp_init == queryset_init) return self;
    PyObject *none = PyTuple_New(0);
    PyObject *keywords = Py_BuildValue("{sO}", "model_cls", queryset_of(self)->model_class);
    int result = none && keywords ? type->tp_init(self, none, keywords) : -1;
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    if (result < 0) Py_CLEAR(self);
    return self;
}

PyObject *py_queryset_objects(py_model *model)
{
    if (!model->objects) return py_queryset_new(model, NULL);
    if (PyType_Check(model->objects))
        return queryset_init_own(py_queryset_new(model, (PyTypeObject *)model->objects));
    return PyObject_CallOneArg(model->objects, (PyObject *)model->type);
}

PyObject *py_queryset_derive(py_queryset *self, orm_query *query)
{
    const orm_error *err = query ? orm_query_error(query) : NULL;
    if (query && !err) {
        PyObject *next = queryset_make(Py_TYPE(self), self->model, query);
        if (next) queryset_of(next)->given = Py_XNewRef(self->given);
        return queryset_init_own(next);
    }
    if (err)
        py_error_raise(self->model->state, err, NULL, 0);
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    orm_query_unref(query);
    return NULL;
}

PyObject *py_queryset_with_given(PyObject *module, PyObject *args)
{
    PyObject *queryset, *values;
    if (!PyArg_ParseTuple(args, "OO!:with_given", &queryset, &PyDict_Type, &values)) return NULL;
    py_state *state = PyModule_GetState(module);
    if (!py_queryset_check(state, queryset))
        return PyErr_Format(PyExc_TypeError, "expected a queryset, not %.100R", queryset);
    py_queryset *self = queryset_of(queryset);
    PyObject *copy = PyDict_Copy(values);
    PyObject *next = copy ? py_queryset_derive(self, orm_query_ref(self->query)) : NULL;
    if (next)
        Py_XSETREF(queryset_of(next)->given, copy);
    else
        Py_XDECREF(copy);
    return next;
}

orm_query *py_queryset_query(PyObject *queryset)
{
    return queryset_of(queryset)->query;
}

bool py_queryset_check(py_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->queryset_type);
}

/* QuerySet(Track) makes one by hand.  QuerySet() in the body of a model becomes a queryset of that
 * model where it is read; until then it is an orm.models.Unbound, so that none is without model.
 * Further arguments are for the __init__ of a subclass. */
static PyObject *queryset_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    py_state *state = py_state_of_type(type);
    PyObject *cls = PyTuple_GET_SIZE(args) ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (!cls && kwargs) cls = PyDict_GetItemWithError(kwargs, state->names->model_cls);
    if (!cls && PyErr_Occurred()) return NULL;
    if (!cls || cls == Py_None) {
        PyObject *unbound = py_import_get(state, PY_IMPORT_UNBOUND);
        PyObject *keywords = kwargs ? Py_NewRef(kwargs) : PyDict_New();
        PyObject *result = unbound && keywords ? PyObject_CallFunctionObjArgs(
                                                     unbound, (PyObject *)type, keywords, NULL)
                                               : NULL;
        Py_XDECREF(keywords);
        return result;
    }
    py_model *model = PyType_Check(cls) ? py_model_of((PyTypeObject *)cls) : NULL;
    if (!model) {
        py_error_format(state, ORM_EMISUSE, "QuerySet() takes a model class, not %.100R", cls);
        return NULL;
    }
    return py_queryset_new(model, type);
}

/* ---- steps ------------------------------------------------------------------------------- */

/* The keywords of a call as a dict, for the one that may be without them. */
static PyObject *keywords_dict(PyObject *const *values, PyObject *kwnames)
{
    PyObject *dict = PyDict_New();
    for (Py_ssize_t i = 0; dict && kwnames && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0) Py_CLEAR(dict);
    return dict;
}

/* Conditions that are clauses: orm.clauses says what they mean.  Excluding means that they and the
 * keywords do not all hold; in the registry's style, as in encode/orm, clauses are never negated. */
static PyObject *add_clauses(py_queryset *self, PY_FASTCALL, bool negate)
{
    bool together = negate && !self->model->registry_style;
    PyObject *terms = py_import_get(self->model->state, PY_IMPORT_CLAUSE_TERMS);
    PyObject *clauses = terms ? PyTuple_New(nargs) : NULL;
    for (Py_ssize_t i = 0; clauses && i < nargs; i++)
        PyTuple_SET_ITEM(clauses, i, Py_NewRef(args[i]));
    PyObject *keywords = clauses ? keywords_dict(args + nargs, together ? kwnames : NULL) : NULL;
    PyObject *items = keywords ? PyObject_CallFunction(terms, "OOOO", self->model_class, clauses,
                                                       keywords, together ? Py_True : Py_False)
                               : NULL;
    Py_XDECREF(clauses);
    Py_XDECREF(keywords);
    orm_query *query = items && PyList_Check(items)
                           ? py_terms_match(self->model, self->query, items)
                           : NULL;
    Py_XDECREF(items);
    if (query && kwnames && !together) {
        orm_query *clauses_only = query;
        query = py_keywords_filter(self->model, query, args + nargs, kwnames, negate);
        orm_query_unref(clauses_only);
    }
    return query ? py_queryset_derive(self, query) : NULL;
}

static PyObject *add_filter(PyObject *object, PY_FASTCALL, bool negate)
{
    py_queryset *self = queryset_of(object);
    if (nargs == 1 && args[0] == Py_None) { /* encode/orm's default for the clause */
        nargs--;
        args++;
    }
    if (nargs) return add_clauses(self, args, nargs, kwnames, negate);
    orm_query *query = py_keywords_filter(self->model, self->query, args, kwnames, negate);
    return query ? py_queryset_derive(self, query) : NULL;
}

static PyObject *queryset_filter(PyObject *self, PY_FASTCALL)
{
    return add_filter(self, args, nargs, kwnames, false);
}

static PyObject *queryset_exclude(PyObject *self, PY_FASTCALL)
{
    return add_filter(self, args, nargs, kwnames, true);
}

static int resolve_names(py_model *model, PyObject *const *names, Py_ssize_t n, int accept,
                         orm_path *paths)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len = 0;
        if (!PyUnicode_Check(names[i])) {
            py_error_format(model->state, ORM_EFIELD, "expected the name of a field, not %.100R",
                            names[i]);
            return -1;
        }
        const char *text = PyUnicode_AsUTF8AndSize(names[i], &len);
        if (!text) return -1;
        orm_error err = {0};
        if (orm_path_resolve(model->model, text, (size_t)len, accept, &paths[i], &err) < 0) {
            py_error_raise(model->state, &err, NULL, 0);
            return -1;
        }
    }
    return 0;
}

typedef orm_query *(*paths_fn)(orm_query *, const orm_path *, size_t);

static PyObject *add_paths(py_queryset *self, PyObject *const *names, Py_ssize_t n, int accept,
                           paths_fn step)
{
    orm_path *paths = PyMem_Calloc((size_t)n + 1, sizeof *paths);
    if (!paths) return PyErr_NoMemory();
    PyObject *result = NULL;
    if (resolve_names(self->model, names, n, accept, paths) == 0)
        result = py_queryset_derive(self, step(orm_query_ref(self->query), paths, (size_t)n));
    PyMem_Free(paths);
    return result;
}

static PyObject *queryset_order_by(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return add_paths(queryset_of(self), args, nargs, ORM_PATH_ORDER, orm_query_order);
}

/* The only argument of a method, given by place or by its name. */
static PyObject *only_argument(const char *method, const char *name, PY_FASTCALL)
{
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs == 1 && !named) return args[0];
    PyObject *given = nargs == 0 && named == 1 ? PyTuple_GET_ITEM(kwnames, 0) : NULL;
    if (given && PyUnicode_CompareWithASCIIString(given, name) == 0) return args[0];
    PyErr_Format(PyExc_TypeError, "%s() takes one argument, %s", method, name);
    return NULL;
}

/* Names, or one list or tuple of them. */
static PyObject *queryset_select_related(PyObject *self, PY_FASTCALL)
{
    if (kwnames && !only_argument("select_related", "related", args, nargs, kwnames)) return NULL;
    if (kwnames) nargs = 1;
    bool is_list = nargs == 1 && (PyList_Check(args[0]) || PyTuple_Check(args[0]));
    if (!is_list)
        return add_paths(queryset_of(self), args, nargs, ORM_PATH_RELATION, orm_query_related);
    PyObject *names = PySequence_Tuple(args[0]);
    if (!names) return NULL;
    PyObject *result = add_paths(queryset_of(self), ((PyTupleObject *)names)->ob_item,
                                 PyTuple_GET_SIZE(names), ORM_PATH_RELATION, orm_query_related);
    Py_DECREF(names);
    return result;
}

/* A number of rows: an int from 0 that fits the database's integers, and nothing like it. */
static int parse_count(PyObject *object, const char *what, int64_t *out)
{
    if (PyLong_Check(object) && !PyBool_Check(object)) {
        int overflow = 0;
        *out = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (!overflow && *out >= 0) return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s is an integer from 0 to 9223372036854775807, not %.100R",
                 what, object);
    return -1;
}

static PyObject *queryset_limit(PyObject *self, PY_FASTCALL)
{
    PyObject *argument = only_argument("limit", "limit_count", args, nargs, kwnames);
    int64_t limit = -1;
    if (!argument) return NULL;
    if (argument != Py_None && parse_count(argument, "a limit", &limit) < 0) return NULL;
    orm_query *query = queryset_of(self)->query;
    return py_queryset_derive(queryset_of(self), orm_query_limit(orm_query_ref(query), limit));
}

static PyObject *queryset_offset(PyObject *self, PY_FASTCALL)
{
    PyObject *argument = only_argument("offset", "offset", args, nargs, kwnames);
    int64_t offset = 0;
    if (!argument) return NULL;
    if (argument != Py_None && parse_count(argument, "an offset", &offset) < 0) return NULL;
    orm_query *query = queryset_of(self)->query;
    return py_queryset_derive(queryset_of(self), orm_query_offset(orm_query_ref(query), offset));
}

static size_t text_fields(py_model *model, uint16_t *out)
{
    size_t n = 0;
    for (Py_ssize_t i = 0; i < model->n_fields; i++)
        if (model->fields[i].type == ORM_TYPE_TEXT) out[n++] = (uint16_t)i;
    return n;
}

static orm_query *search_query(py_queryset *self, PyObject *text)
{
    py_model *model = self->model;
    Py_ssize_t len = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    if (!bytes) return NULL;
    uint16_t *fields = PyMem_Calloc((size_t)model->n_fields + 1, sizeof *fields);
    if (!fields) return (orm_query *)PyErr_NoMemory();
    size_t n = text_fields(model, fields);
    orm_query *query = NULL;
    if (n)
        query = orm_query_search(orm_query_ref(self->query), fields, n,
                                 orm_textn(bytes, (size_t)len));
    else
        py_error_format(model->state, ORM_EFIELD, "%s has no text field to search",
                        orm_model_name(model->model));
    PyMem_Free(fields);
    return query;
}

static PyObject *queryset_search(PyObject *self, PY_FASTCALL)
{
    PyObject *term = only_argument("search", "term", args, nargs, kwnames);
    if (!term) return NULL;
    PyObject *text = term == Py_None ? PyUnicode_FromString("") : PyObject_Str(term);
    if (!text) return NULL;
    PyObject *result;
    if (PyUnicode_GET_LENGTH(text) == 0)
        result = Py_NewRef(self); /* nothing to look for */
    else
        result = py_queryset_derive(queryset_of(self), search_query(queryset_of(self), text));
    Py_DECREF(text);
    return result;
}

/* ---- slices and the blocking forms ------------------------------------------------------- */

PyObject *py_queryset_rows(py_queryset *self)
{
    if (!self->rows) {
        py_operation *op = py_fetch_new(self->model, orm_query_ref(self->query), "all");
        PyObject *rows = op ? py_operation_block(op) : NULL;
        if (!rows) return NULL;
        Py_XSETREF(self->rows, rows);
    }
    return self->rows;
}

static PyObject *queryset_slice(py_queryset *self, PyObject *slice)
{
    PySliceObject *s = (PySliceObject *)slice;
    int64_t start = 0, stop = -1;
    int64_t step = 1;
    if (s->step != Py_None && (!PyLong_Check(s->step) || PyBool_Check(s->step))) step = 0;
    if (s->step != Py_None && step) step = PyLong_AsLongLong(s->step);
    if (step != 1) {
        PyErr_Format(PyExc_ValueError, "a queryset's slice has no step: not %.100R", s->step);
        return NULL;
    }
    if ((s->start != Py_None && parse_count(s->start, "the start of a slice", &start) < 0) ||
        (s->stop != Py_None && parse_count(s->stop, "the end of a slice", &stop) < 0))
        return NULL;
    return py_queryset_derive(self, orm_query_slice(orm_query_ref(self->query), start, stop));
}

static PyObject *queryset_subscript(PyObject *self, PyObject *key)
{
    if (PySlice_Check(key)) return queryset_slice(queryset_of(self), key);
    if (!PyIndex_Check(key)) {
        PyErr_Format(PyExc_TypeError, "a queryset's index is an integer or a slice, not %.100s",
                     Py_TYPE(key)->tp_name);
        return NULL;
    }
    PyObject *rows = py_queryset_rows(queryset_of(self));
    return rows ? PyObject_GetItem(rows, key) : NULL;
}

static Py_ssize_t queryset_length(PyObject *self)
{
    PyObject *rows = py_queryset_rows(queryset_of(self));
    return rows ? PyList_GET_SIZE(rows) : -1;
}

static PyObject *queryset_iter(PyObject *self)
{
    PyObject *rows = py_queryset_rows(queryset_of(self));
    return rows ? PyObject_GetIter(rows) : NULL;
}

/* `if queryset:` asks nothing: a hidden query in a truth value is a trap. */
static int queryset_bool(PyObject *self)
{
    (void)self;
    return 1;
}

static PyObject *queryset_await(PyObject *self)
{
    return py_queryset_all(self, NULL, 0, NULL);
}

static PyObject *queryset_repr(PyObject *self)
{
    const char *name = Py_TYPE(self)->tp_name, *dot = strrchr(name, '.');
    return PyUnicode_FromFormat("<%s of %s>", dot ? dot + 1 : name,
                                ((PyTypeObject *)queryset_of(self)->model_class)->tp_name);
}

/* ---- the object -------------------------------------------------------------------------- */

static PyObject *get_model(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(queryset_of(self)->model_class);
}

/* The one that the model was given; for a URL, the one that stands behind it. */
static PyObject *get_database(PyObject *self, void *unused)
{
    (void)unused;
    PyObject *given = PyObject_GetAttrString(queryset_of(self)->model_class, "__database__");
    if (given && given != Py_None && !PyUnicode_Check(given)) return given;
    Py_XDECREF(given);
    PyErr_Clear();
    return Py_XNewRef((PyObject *)py_model_database(queryset_of(self)->model));
}

static PyObject *get_pkname(PyObject *self, void *unused)
{
    (void)unused;
    return PyObject_GetAttrString(queryset_of(self)->model_class, "__pkname__");
}

static PyObject *get_table(PyObject *self, void *unused)
{
    (void)unused;
    PyObject *table_of = py_import_get(queryset_of(self)->model->state, PY_IMPORT_TABLE_OF);
    return table_of ? PyObject_CallOneArg(table_of, queryset_of(self)->model_class) : NULL;
}

static PyObject *get_schema(PyObject *self, void *unused)
{
    (void)unused;
    PyObject *make = py_import_get(queryset_of(self)->model->state, PY_IMPORT_SCHEMA_OF);
    return make ? PyObject_CallOneArg(make, queryset_of(self)->model_class) : NULL;
}

static int queryset_traverse(PyObject *object, visitproc visit, void *arg)
{
    py_queryset *self = queryset_of(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->dict);
    Py_VISIT(self->model_class);
    Py_VISIT(self->rows);
    Py_VISIT(self->given);
    return 0;
}

static int queryset_clear(PyObject *object)
{
    py_queryset *self = queryset_of(object);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->rows);
    Py_CLEAR(self->given);
    return 0;
}

static void queryset_dealloc(PyObject *object)
{
    py_queryset *self = queryset_of(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs) PyObject_ClearWeakRefs(object);
    queryset_clear(object);
    orm_query_unref(self->query);
    Py_XDECREF(self->model_class);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *queryset_bulk_update(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"objs", "fields", NULL};
    PyObject *rows, *fields;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:bulk_update", names, &rows, &fields))
        return NULL;
    py_model *model = queryset_of(self)->model;
    PyObject *make = py_import_get(model->state, PY_IMPORT_BULK_UPDATE);
    return make ? PyObject_CallFunctionObjArgs(make, (PyObject *)model->type, rows, fields, NULL)
                : NULL;
}

#define FASTCALL(f) ((PyCFunction)(void (*)(void))(f))
#define WITH_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)
static PyMethodDef queryset_methods[] = {
    {"filter", FASTCALL(queryset_filter), WITH_KEYWORDS,
     "filter(*clauses, **conditions): the rows for which all of them hold."},
    {"exclude", FASTCALL(queryset_exclude), WITH_KEYWORDS,
     "exclude(*clauses, **conditions): every row that filter() with them leaves out."},
    {"order_by", FASTCALL(queryset_order_by), METH_FASTCALL,
     "order_by(*names): '-name' descends, 'album__name' walks relations; replaces the order before."},
    {"select_related", FASTCALL(queryset_select_related), WITH_KEYWORDS,
     "select_related(*names): loads these relations in the same query."},
    {"limit", FASTCALL(queryset_limit), WITH_KEYWORDS,
     "limit(limit_count): at most so many rows; None: all."},
    {"offset", FASTCALL(queryset_offset), WITH_KEYWORDS,
     "offset(offset): leaves out the first rows."},
    {"search", FASTCALL(queryset_search), WITH_KEYWORDS,
     "search(term): rows with it in any text field, whatever its case."},
    {"all", FASTCALL(py_queryset_all), WITH_KEYWORDS, "all(**conditions): a list of instances."},
    {"get", FASTCALL(py_queryset_get), WITH_KEYWORDS,
     "get(**conditions): the only row; NoMatch, MultipleMatches."},
    {"get_or_none", FASTCALL(py_queryset_get_or_none), WITH_KEYWORDS,
     "get_or_none(**conditions): the only row, or None; MultipleMatches."},
    {"first", FASTCALL(py_queryset_first), WITH_KEYWORDS,
     "first(**conditions): the first row, by the key when there is no order; or None."},
    {"last", FASTCALL(py_queryset_last), WITH_KEYWORDS,
     "last(**conditions): the last row, by the key when there is no order; or None."},
    {"count", py_queryset_count, METH_NOARGS, "count(): the number of rows."},
    {"exists", py_queryset_exists, METH_NOARGS, "exists(): True when there is a row."},
    {"create", FASTCALL(py_queryset_create), WITH_KEYWORDS,
     "create(**values): inserts a row; its instance.  ValidationError, IntegrityError."},
    {"bulk_create", py_queryset_bulk_create, METH_O,
     "bulk_create(rows): inserts dicts or instances, all or none; their instances."},
    {"bulk_update", (PyCFunction)(void (*)(void))queryset_bulk_update, METH_VARARGS | METH_KEYWORDS,
     "bulk_update(objs, fields): writes these fields of the instances, all or none."},
    {"update", FASTCALL(py_queryset_update), WITH_KEYWORDS,
     "update(**values): sets them on every row; the number of rows."},
    {"delete", py_queryset_delete, METH_NOARGS, "delete(): deletes the rows; their number."},
    {"get_or_create", FASTCALL(py_queryset_get_or_create), WITH_KEYWORDS,
     "get_or_create(defaults=None, **conditions): (instance, created); atomic.  MultipleMatches."},
    {"update_or_create", FASTCALL(py_queryset_update_or_create), WITH_KEYWORDS,
     "update_or_create(defaults=None, **conditions): (instance, created); atomic.  MultipleMatches."},
    {"raw", FASTCALL(py_queryset_raw), WITH_KEYWORDS,
     "raw(sql, *values): instances from SQL of your own, matched by column name."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "QuerySet[Model], for annotations."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef queryset_getset[] = {
    {"model_cls", get_model, NULL, "The model class.", NULL},
    {"database", get_database, NULL, "The model's database, as it was given.", NULL},
    {"pkname", get_pkname, NULL, "The name of the key; None when it has several fields.", NULL},
    {"table", get_table, NULL, "The model's sqlalchemy.Table.", NULL},
    {"schema", get_schema, NULL, "The model's fields as a validator of dicts.", NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMemberDef queryset_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(py_queryset, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_queryset, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot queryset_slots[] = {
    {Py_tp_doc, "A query that can be refined, awaited, iterated; immutable."},
    {Py_tp_new, queryset_new},
    {Py_tp_init, queryset_init},
    {Py_tp_repr, queryset_repr},
    {Py_tp_iter, queryset_iter},
    {Py_nb_bool, queryset_bool},
    {Py_mp_subscript, queryset_subscript},
    {Py_mp_length, queryset_length},
    {Py_am_await, queryset_await},
    {Py_am_aiter, py_queryset_iterate},
    {Py_tp_methods, queryset_methods},
    {Py_tp_getset, queryset_getset},
    {Py_tp_members, queryset_members},
    {Py_tp_traverse, queryset_traverse},
    {Py_tp_clear, queryset_clear},
    {Py_tp_dealloc, queryset_dealloc},
    {0, NULL},
};
PyType_Spec py_queryset_spec = {
    .name = "orm._core.QuerySet",
    .basicsize = sizeof(py_queryset),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = queryset_slots,
};
