/* cells.c - orm_cell -> Python object, one function per type.
 *
 * A cell points into the driver's memory; everything is copied before these functions return.
 */
#include "data.h"

static bool is_ascii(const char *bytes, size_t len)
{
    uint64_t seen = 0, word;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, bytes + i, 8);
        seen |= word;
    }
    if (seen & UINT64_C(0x8080808080808080)) return false;
    for (; i < len; i++)
        if ((unsigned char)bytes[i] & 0x80) return false;
    return true;
}

PyObject *py_text_new(const void *bytes, size_t len)
{
    /* Short text comes from the interpreter's own cache. */
    if (len < 2 || !is_ascii(bytes, len)) return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)len, NULL);
    PyObject *text = PyUnicode_New((Py_ssize_t)len, 127);
    if (text) memcpy(PyUnicode_1BYTE_DATA(text), bytes, len);
    return text;
}

/* Replaces an error of decoding by DataError that names the column. */
static PyObject *refuse_cell(py_state *state, py_field *field, const char *what)
{
    py_error_data(state, field ? field->model : NULL, field, "%s", what);
    return NULL;
}

static PyObject *text_of(py_state *state, py_field *field, const orm_cell *cell)
{
    PyObject *text = py_text_new(cell->as.ptr, cell->len);
    if (text || !PyErr_ExceptionMatches(PyExc_UnicodeError)) return text;
    return refuse_cell(state, field, "the stored text is not valid UTF-8");
}

/* The imported callable applied to the cell's text; its ValueError is what is stored. */
static PyObject *call_with_text(py_state *state, py_field *field, int import, const orm_cell *cell,
                                const char *refusal)
{
    PyObject *call = py_import_get(state, import);
    PyObject *text = call ? text_of(state, field, cell) : NULL;
    PyObject *object = text ? PyObject_CallOneArg(call, text) : NULL;
    Py_XDECREF(text);
    if (object || !text) return object;
    if (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_ArithmeticError) ||
        PyErr_ExceptionMatches(PyExc_RecursionError))
        return refuse_cell(state, field, refusal);
    return NULL;
}

/* Filled in by hand: the class's own __init__ takes longer than the rest of the row. */
static PyObject *uuid_of(py_state *state, const orm_cell *cell)
{
    PyTypeObject *type = (PyTypeObject *)py_import_get(state, PY_IMPORT_UUID);
    PyObject *safety = type ? py_import_get(state, PY_IMPORT_SAFE_UUID) : NULL;
    PyObject *unknown = safety ? PyObject_GetAttrString(safety, "unknown") : NULL;
    PyObject *number = unknown ? py_long_from_bytes(cell->as.ptr, 16) : NULL;
    PyObject *uuid = number ? type->tp_alloc(type, 0) : NULL;
    if (uuid && (PyObject_GenericSetAttr(uuid, state->names->int_, number) < 0 ||
                 PyObject_GenericSetAttr(uuid, state->names->is_safe, unknown) < 0))
        Py_CLEAR(uuid);
    Py_XDECREF(number);
    Py_XDECREF(unknown);
    return uuid;
}

static PyObject *member_of(py_state *state, py_field *field, const orm_cell *cell)
{
    PyObject *name = text_of(state, field, cell);
    PyObject *member = name ? PyDict_GetItemWithError(field->rules->enum_members, name) : NULL;
    if (name && !member && !PyErr_Occurred())
        py_error_data(state, field->model, field, "the stored name %R is no member of %s", name,
                      ((PyTypeObject *)field->rules->enum_class)->tp_name);
    Py_XDECREF(name);
    return Py_XNewRef(member);
}

/* An array's item from what JSON had. */
static PyObject *item_from_json(py_state *state, py_field *item, PyObject *plain)
{
    PyObject *message = NULL, *value = NULL;
    if (plain == Py_None) return Py_NewRef(plain);
    if (item->type == ORM_TYPE_INTERVAL && PyLong_Check(plain)) {
        long long us = PyLong_AsLongLong(plain);
        return us == -1 && PyErr_Occurred() ? NULL : py_interval_new(us);
    }
    if (item->type == ORM_TYPE_BLOB)
        return PyObject_CallMethod((PyObject *)&PyBytes_Type, "fromhex", "O", plain);
    if (item->type == ORM_TYPE_UUID) {
        PyObject *type = py_import_get(state, PY_IMPORT_UUID);
        return type ? PyObject_CallOneArg(type, plain) : NULL;
    }
    value = py_field_coerce(state, item, plain, &message);
    if (message) PyErr_SetObject(PyExc_ValueError, message);
    Py_XDECREF(message);
    return value;
}

static PyObject *array_of(py_state *state, py_field *field, const orm_cell *cell)
{
    PyObject *list = call_with_text(state, field, PY_IMPORT_JSON_LOADS, cell,
                                    "the stored text is not a JSON list");
    if (!list) return NULL;
    if (!PyList_Check(list)) {
        Py_DECREF(list);
        return refuse_cell(state, field, "the stored text is not a JSON list");
    }
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++) {
        PyObject *item = item_from_json(state, field->rules->item, PyList_GET_ITEM(list, i));
        if (item)
            PyList_SetItem(list, i, item);
        else
            Py_CLEAR(list);
    }
    if (list ||
        !(PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError)))
        return list;
    return refuse_cell(state, field, "a stored item is not of the array's type");
}

/* Logical kinds that are text stand for several Python types. */
static PyObject *object_of_text(py_state *state, int type, py_field *field, const orm_cell *cell)
{
    switch (type) {
    case ORM_TYPE_DECIMAL:
        return call_with_text(state, field, PY_IMPORT_DECIMAL, cell,
                              "the stored text is not a number");
    case ORM_TYPE_JSON:
        return call_with_text(state, field, PY_IMPORT_JSON_LOADS, cell,
                              "the stored text is not JSON");
    case ORM_TYPE_IP:
        return call_with_text(state, field, PY_IMPORT_IP_ADDRESS, cell,
                              "the stored text is not an IP address");
    case ORM_TYPE_ENUM:
        if (field && field->type == ORM_TYPE_ENUM) return member_of(state, field, cell);
        break;
    case ORM_TYPE_ARRAY:
        if (field && field->type == ORM_TYPE_ARRAY) return array_of(state, field, cell);
        break;
    default: break;
    }
    return text_of(state, field, cell);
}

static PyObject *object_of(py_state *state, int type, py_field *field, const orm_cell *cell)
{
    switch (cell->kind) {
    case ORM_V_NULL: return Py_NewRef(Py_None);
    case ORM_V_BOOL: return PyBool_FromLong(cell->as.i != 0);
    case ORM_V_INT: return PyLong_FromLongLong(cell->as.i);
    case ORM_V_FLOAT: return PyFloat_FromDouble(cell->as.f);
    case ORM_V_TEXT: return object_of_text(state, type, field, cell);
    case ORM_V_BLOB: return PyBytes_FromStringAndSize(cell->as.ptr, cell->len);
    case ORM_V_DATE: return py_date_new(cell->as.i);
    case ORM_V_TIME: return py_time_new(cell->as.i);
    case ORM_V_DATETIME: return py_datetime_new(cell->as.i, false);
    case ORM_V_DATETIMETZ: return py_datetime_new(cell->as.i, true);
    case ORM_V_INTERVAL: return py_interval_new(cell->as.i);
    case ORM_V_UUID: return uuid_of(state, cell);
    default: return refuse_cell(state, field, "a cell of an unknown kind");
    }
}

PyObject *py_cell_object(py_state *state, const orm_column *column, py_field *field,
                         const orm_cell *cell)
{
    orm_cell decoded = *cell;
    char scratch[48];
    orm_error err = {0};
    bool is_bare = column->type == ORM_TYPE_NONE;
    if (cell->kind != column->expect && cell->kind != ORM_V_NULL && !is_bare &&
        orm_cell_decode(column, &decoded, scratch, &err) < 0)
        return py_error_raise(state, &err, NULL, 0);
    PyObject *object = object_of(state, column->type, field, &decoded);
    if (!object || !field || !field->decode) return object;
    Py_SETREF(object, PyObject_CallOneArg(field->decode, object));
    return object;
}
