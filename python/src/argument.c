/* argument.c - what a filter compares with: Python object -> orm_value.
 *
 * Accepted wider than what is stored (text for dates, instances for their keys, iterables,
 * querysets), converted by the field's type or the lookup's, never checked against rules: a
 * filter may ask for anything.  What no column could hold is DataError.
 */
#include "data.h"
#include <math.h>

/* What encode/orm let SQLite compare: text of a UUID in any form, a date with datetimes, the
 * infinities. */
static PyObject *widen_argument(py_state *state, py_field *field, PyObject *object,
                                PyObject **message)
{
    if (field->type == ORM_TYPE_UUID && PyUnicode_Check(object)) {
        PyObject *type = py_import_get(state, PY_IMPORT_UUID);
        PyObject *text = type ? py_text_exact(object) : NULL;
        PyObject *uuid = text ? PyObject_CallOneArg(type, text) : NULL;
        Py_XDECREF(text);
        if (uuid || !PyErr_ExceptionMatches(PyExc_ValueError)) return uuid;
        PyErr_Clear();
        return py_refuse(message, "Must be a valid UUID format.");
    }
    if (field->type == ORM_TYPE_FLOAT && PyFloat_Check(object) && isinf(PyFloat_AS_DOUBLE(object)))
        return PyFloat_FromDouble(PyFloat_AS_DOUBLE(object));
    int kind = py_temporal_kind(object);
    if (field->type == ORM_TYPE_DATETIME && kind == ORM_V_DATE)
        return py_datetime_new(py_date_days(object) * PY_US_PER_DAY, false);
    if (field->type == ORM_TYPE_DATETIME && PyUnicode_Check(object) &&
        PyUnicode_GET_LENGTH(object) <= 10) {
        PyObject *date = py_temporal_parse(ORM_TYPE_DATE, object, message);
        PyObject *midnight = date ? py_datetime_new(py_date_days(date) * PY_US_PER_DAY, false)
                                  : NULL;
        Py_XDECREF(date);
        return midnight;
    }
    return py_field_coerce(state, field, object, message);
}

static int value_of_argument(py_state *state, py_model *model, py_field *field, PyObject *object,
                             orm_value *out)
{
    *out = orm_null();
    if (object == Py_None) return 0;
    py_model *expected = field->is_reference ? NULL : model;
    py_field *scalar = field;
    if (field->is_reference && !(scalar = py_model_target(model, field, &expected))) return -1;
    if (py_instance_check(state, object)) {
        if (!field->is_reference && field->index != model->key)
            return py_value_refuse(state, model, field, "a value", object);
        PyObject *key = py_value_key(state, model, field, expected, object);
        int result = key ? py_value_of_field(state, expected, &expected->fields[expected->key], key,
                                             out)
                         : -1;
        Py_XDECREF(key);
        return result;
    }
    if (scalar->is_reference) return value_of_argument(state, expected, scalar, object, out);
    if (scalar->encode)
        return py_value_of_field(state, field->is_reference ? expected : model, scalar, object,
                                 out);
    PyObject *message = NULL;
    PyObject *value = widen_argument(state, scalar, object, &message);
    if (!value) {
        if (!message) return -1;
        int result = py_error_data(state, model, field, "%U", message);
        Py_DECREF(message);
        return result;
    }
    int result = py_value_of_field(state, field->is_reference ? expected : model, scalar, value,
                                   out);
    Py_DECREF(value);
    return result;
}

typedef struct value_list {
    Py_ssize_t n;
    void **owners; /* behind the members, in the same allocation */
    orm_value members[];
} value_list;

static void list_release(void *owner)
{
    value_list *list = owner;
    for (Py_ssize_t i = 0; i < list->n; i++) Py_XDECREF((PyObject *)list->owners[i]);
    PyMem_Free(list);
}

/* The members of an iterable argument as a tuple, which nobody can change meanwhile. */
static PyObject *members_of(py_state *state, py_model *model, py_field *field, PyObject *object)
{
    bool is_scalar = PyUnicode_Check(object) || PyBytes_Check(object) ||
                     PyByteArray_Check(object) || PyDict_Check(object) ||
                     py_instance_check(state, object);
    PyObject *iterator = is_scalar ? NULL : PyObject_GetIter(object);
    if (!iterator) {
        if (is_scalar || PyErr_ExceptionMatches(PyExc_TypeError))
            py_value_refuse(state, model, field, "a list, tuple, set or queryset", object);
        return NULL;
    }
    PyObject *members = PySequence_Tuple(iterator);
    Py_DECREF(iterator);
    return members;
}

static int value_of_list(py_state *state, py_model *model, py_field *field, PyObject *object,
                         bool is_range, orm_value *out)
{
    PyObject *members = members_of(state, model, field, object);
    if (!members) return -1;
    Py_ssize_t n = PyTuple_GET_SIZE(members);
    if (is_range && n != 2) {
        Py_DECREF(members);
        return py_error_data(state, model, field, "a range has two ends, not %zd", n);
    }
    value_list *list = PyMem_Malloc(sizeof(value_list) +
                                    (size_t)n * (sizeof(orm_value) + sizeof(void *)));
    if (!list) {
        Py_DECREF(members);
        PyErr_NoMemory();
        return -1;
    }
    list->n = 0;
    list->owners = (void **)&list->members[n];
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < n; i++) {
        orm_value *member = &list->members[i];
        result = value_of_argument(state, model, field, PyTuple_GET_ITEM(members, i), member);
        if (result < 0) break;
        list->owners[i] = member->release ? member->owner : NULL; /* the list releases them */
        member->release = NULL;
        member->owner = NULL;
        list->n++;
    }
    Py_DECREF(members);
    if (result < 0) {
        list_release(list);
        return -1;
    }
    *out = orm_list(list->members, (size_t)n);
    out->release = list_release;
    out->owner = list;
    return 0;
}

static int value_of_subquery(py_state *state, py_model *model, py_field *field, PyObject *object,
                             orm_value *out)
{
    py_model *expected = model;
    if (field->is_reference && !py_model_target(model, field, &expected)) return -1;
    if (!field->is_reference && field->index != model->key)
        return py_error_data(state, model, field,
                             "a queryset stands for keys, and this is neither a key nor a "
                             "reference");
    orm_query *query = py_queryset_query(object);
    py_model *actual = py_model_of_core(orm_query_model(query));
    if (actual != expected)
        return py_error_data(state, model, field, "expected a queryset of %U, not of %U",
                             py_model_name(expected), actual ? py_model_name(actual) : Py_None);
    *out = orm_null();
    out->kind = ORM_V_QUERY;
    out->as.query = orm_query_ref(query);
    return 0;
}

static int value_of_type(py_state *state, py_model *model, py_field *field, int type,
                         PyObject *object, orm_value *out)
{
    py_field other = *field;
    other.type = (uint8_t)type;
    other.is_reference = false;
    other.encode = NULL;
    return value_of_argument(state, model, &other, object, out);
}

/* What an argument is where the lookup decides, and not the field; 0: the field does. */
static const uint8_t lookup_types[ORM_LOOKUP_COUNT] = {
    [ORM_LOOKUP_ISNULL] = ORM_TYPE_BOOL,      [ORM_LOOKUP_YEAR] = ORM_TYPE_INT64,
    [ORM_LOOKUP_MONTH] = ORM_TYPE_INT64,      [ORM_LOOKUP_DAY] = ORM_TYPE_INT64,
    [ORM_LOOKUP_WEEK_DAY] = ORM_TYPE_INT64,   [ORM_LOOKUP_HOUR] = ORM_TYPE_INT64,
    [ORM_LOOKUP_MINUTE] = ORM_TYPE_INT64,     [ORM_LOOKUP_SECOND] = ORM_TYPE_INT64,
    [ORM_LOOKUP_DATE] = ORM_TYPE_DATE,        [ORM_LOOKUP_TIME] = ORM_TYPE_TIME,
    [ORM_LOOKUP_IEXACT] = ORM_TYPE_TEXT,      [ORM_LOOKUP_CONTAINS] = ORM_TYPE_TEXT,
    [ORM_LOOKUP_ICONTAINS] = ORM_TYPE_TEXT,   [ORM_LOOKUP_STARTSWITH] = ORM_TYPE_TEXT,
    [ORM_LOOKUP_ISTARTSWITH] = ORM_TYPE_TEXT, [ORM_LOOKUP_ENDSWITH] = ORM_TYPE_TEXT,
    [ORM_LOOKUP_IENDSWITH] = ORM_TYPE_TEXT,   [ORM_LOOKUP_REGEX] = ORM_TYPE_TEXT,
    [ORM_LOOKUP_IREGEX] = ORM_TYPE_TEXT,
};

/* The most common question: an integer field that equals an int. */
static bool is_plain_integer(const py_field *field, int lookup, PyObject *object, orm_value *out)
{
    if (lookup != ORM_LOOKUP_EXACT || !PyLong_CheckExact(object) || field->encode) return false;
    if (field->type < ORM_TYPE_INT16 || field->type > ORM_TYPE_INT64) return false;
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    *out = orm_int(number);
    return !overflow;
}

int py_value_of_path(py_state *state, const orm_path *path, PyObject *object, orm_value *out)
{
    int lookup = path->lookup;
    py_model *model = py_model_of_core(orm_path_model(path));
    if (!model) {
        py_error_format(state, ORM_ECONFIG, "the class of a model in this path is gone");
        return -1;
    }
    py_field *field = &model->fields[path->field];
    if (is_plain_integer(field, lookup, object, out)) return 0;
    bool is_member = lookup == ORM_LOOKUP_IN || lookup == ORM_LOOKUP_NOT_IN;
    if (py_queryset_check(state, object)) {
        if (is_member) return value_of_subquery(state, model, field, object, out);
        return py_error_data(state, model, field, "a queryset is an argument of 'in' and 'not_in'");
    }
    if (is_member || lookup == ORM_LOOKUP_RANGE)
        return value_of_list(state, model, field, object, lookup == ORM_LOOKUP_RANGE, out);
    bool may_be_null = lookup == ORM_LOOKUP_EXACT || lookup == ORM_LOOKUP_NE ||
                       lookup == ORM_LOOKUP_IEXACT;
    if (object == Py_None && lookup == ORM_LOOKUP_ISNULL)
        return py_error_data(state, model, field, "'isnull' takes True or False, not None");
    if (object == Py_None && !may_be_null)
        return py_error_data(state, model, field, "'%s' has no answer for None; isnull has",
                             orm_lookup_name(lookup));
    if (lookup_types[lookup])
        return value_of_type(state, model, field, lookup_types[lookup], object, out);
    return value_of_argument(state, model, field, object, out);
}
