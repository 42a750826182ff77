/* coerce.c - any value -> the Python type of a field, or the text of what it should have been.
 *
 * Shared by validation (before the rules) and by filter arguments (without rules).  Subclasses
 * of str, int and float are read by their real value; no method of theirs is called.
 */
#include "data.h"
#include <math.h>

PyObject *py_refuse(PyObject **message, const char *text)
{
    *message = PyUnicode_FromString(text);
    return NULL;
}

PyObject *py_text_exact(PyObject *text)
{
    return PyUnicode_FromObject(text); /* the object itself when it is a plain str */
}

PyObject *py_integer_exact(PyObject *number)
{
    if (PyLong_CheckExact(number)) return Py_NewRef(number);
    return PyLong_Type.tp_as_number->nb_positive(number);
}

/* ---- numbers ---- */

static PyObject *decimal_call(py_state *state, PyObject *argument, PyObject **message)
{
    PyObject *type = py_import_get(state, PY_IMPORT_DECIMAL);
    PyObject *decimal = type ? PyObject_CallOneArg(type, argument) : NULL;
    if (decimal || !PyErr_ExceptionMatches(PyExc_ArithmeticError)) return decimal;
    PyErr_Clear(); /* decimal.InvalidOperation: no number */
    return py_refuse(message, "Must be a number.");
}

static PyObject *check_finite(PyObject *decimal /* stolen */, PyObject **message)
{
    PyObject *finite = decimal ? PyObject_CallMethod(decimal, "is_finite", NULL) : NULL;
    if (finite == Py_True) {
        Py_DECREF(finite);
        return decimal;
    }
    if (finite) py_refuse(message, "Must be finite.");
    Py_XDECREF(finite);
    Py_XDECREF(decimal);
    return NULL;
}

static PyObject *coerce_decimal(py_state *state, PyObject *value, PyObject **message)
{
    PyObject *argument = NULL;
    int is_decimal = 0;
    if (PyFloat_Check(value)) {
        if (!isfinite(PyFloat_AS_DOUBLE(value))) return py_refuse(message, "Must be finite.");
        argument = PyFloat_Type.tp_repr(value); /* 1.1 is 1.1, not its binary expansion */
    } else if (PyLong_Check(value) && !PyBool_Check(value)) {
        argument = py_integer_exact(value);
    } else if (PyUnicode_Check(value)) {
        argument = py_text_exact(value);
    } else if ((is_decimal = py_import_check(state, PY_IMPORT_DECIMAL, value)) > 0) {
        argument = Py_NewRef(value);
    } else if (is_decimal == 0) {
        return py_refuse(message, "Must be a number.");
    }
    PyObject *decimal = argument ? decimal_call(state, argument, message) : NULL;
    Py_XDECREF(argument);
    return decimal ? check_finite(decimal, message) : NULL;
}

/* The integer that a decimal (stolen) is. */
static PyObject *integer_of_decimal(PyObject *decimal, PyObject **message)
{
    if (!decimal) return NULL;
    PyObject *result = NULL, *size = PyObject_CallMethod(decimal, "adjusted", NULL);
    long adjusted = size ? PyLong_AsLong(size) : 0;
    PyObject *integral = size ? PyObject_CallMethod(decimal, "to_integral_value", NULL) : NULL;
    int same = integral ? PyObject_RichCompareBool(integral, decimal, Py_EQ) : -1;
    if (same == 0) py_refuse(message, "Must be an integer.");
    if (same > 0 && adjusted > 100) /* no column holds it, and it takes long to write out */
        py_refuse(message, "Must be less than or equal to 9223372036854775807.");
    else if (same > 0)
        result = PyNumber_Long(decimal);
    Py_XDECREF(size);
    Py_XDECREF(integral);
    Py_DECREF(decimal);
    return result;
}

static PyObject *coerce_integer(py_state *state, PyObject *value, PyObject **message)
{
    if (PyBool_Check(value)) return py_refuse(message, "Must be a number.");
    if (PyLong_Check(value)) return py_integer_exact(value);
    if (!PyFloat_Check(value))
        return integer_of_decimal(coerce_decimal(state, value, message), message);
    double number = PyFloat_AS_DOUBLE(value);
    if (!isfinite(number) || number != floor(number))
        return py_refuse(message, "Must be an integer.");
    return PyLong_FromDouble(number);
}

static PyObject *float_of(double number, PyObject **message)
{
    return isfinite(number) ? PyFloat_FromDouble(number) : py_refuse(message, "Must be finite.");
}

static PyObject *coerce_float(py_state *state, PyObject *value, PyObject **message)
{
    if (PyFloat_Check(value)) {
        if (PyFloat_CheckExact(value) && isfinite(PyFloat_AS_DOUBLE(value)))
            return Py_NewRef(value);
        return float_of(PyFloat_AS_DOUBLE(value), message);
    }
    if (PyLong_Check(value) && !PyBool_Check(value)) {
        PyObject *exact = py_integer_exact(value);
        double number = exact ? PyLong_AsDouble(exact) : -1;
        Py_XDECREF(exact);
        if (number != -1 || !PyErr_Occurred()) return PyFloat_FromDouble(number);
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return NULL;
        PyErr_Clear();
        return py_refuse(message, "Must be finite.");
    }
    PyObject *decimal = coerce_decimal(state, value, message);
    PyObject *number = decimal ? PyNumber_Float(decimal) : NULL;
    Py_XDECREF(decimal);
    if (!number) return NULL;
    double result = PyFloat_AS_DOUBLE(number);
    Py_DECREF(number);
    return float_of(result, message);
}

static PyObject *coerce_bool(PyObject *value, PyObject **message)
{
    static const struct {
        const char *word;
        bool truth;
    } words[] = {{"true", true}, {"false", false}, {"on", true}, {"off", false},
                 {"1", true},    {"0", false},     {"", false}};
    if (PyBool_Check(value)) return Py_NewRef(value);
    if (PyLong_Check(value)) {
        int overflow;
        long number = PyLong_AsLongAndOverflow(value, &overflow);
        if (!overflow && (number == 0 || number == 1)) return PyBool_FromLong(number);
    } else if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        if (number == 0 || number == 1) return PyBool_FromLong(number == 1);
    } else if (PyUnicode_Check(value)) {
        PyObject *exact = py_text_exact(value);
        PyObject *lower = exact ? PyObject_CallMethod(exact, "lower", NULL) : NULL;
        Py_XDECREF(exact);
        if (!lower) return NULL;
        PyObject *result = NULL;
        for (size_t i = 0; !result && i < sizeof(words) / sizeof(*words); i++)
            if (PyUnicode_CompareWithASCIIString(lower, words[i].word) == 0)
                result = words[i].truth ? Py_True : Py_False;
        Py_DECREF(lower);
        if (result) return Py_NewRef(result);
    }
    return py_refuse(message, "Must be a boolean.");
}

/* ---- formats: their native objects, or text ---- */

static PyObject *coerce_temporal(int type, PyObject *value, PyObject **message)
{
    int kind = py_temporal_kind(value);
    int wanted = type == ORM_TYPE_DATE   ? ORM_V_DATE
                 : type == ORM_TYPE_TIME ? ORM_V_TIME
                                         : ORM_V_DATETIME;
    if (kind == wanted) return Py_NewRef(value);
    if (type == ORM_TYPE_DATE && kind == ORM_V_DATETIME) return py_date_of_datetime(value);
    if (!PyUnicode_Check(value)) return py_refuse(message, "Must be a string.");
    return py_temporal_parse(type, value, message);
}

static PyObject *coerce_interval(PyObject *value, PyObject **message)
{
    if (py_temporal_kind(value) == ORM_V_INTERVAL) return Py_NewRef(value);
    return py_refuse(message, "Must be a timedelta.");
}

/* Lower-case hex of versions 1 to 5, with all dashes or none, as encode/orm accepted it. */
static bool is_uuid_text(const char *p, size_t len)
{
    char digits[32];
    size_t n = 0;
    if (len != 36 && len != 32) return false;
    for (size_t i = 0; i < len; i++) {
        bool dash = len == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        bool hex = (p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f');
        if (dash ? p[i] != '-' : !hex) return false;
        if (!dash) digits[n++] = p[i];
    }
    return digits[12] >= '1' && digits[12] <= '5' && strchr("89ab", digits[16]);
}

static PyObject *coerce_uuid(py_state *state, PyObject *value, PyObject **message)
{
    int native = py_import_check(state, PY_IMPORT_UUID, value);
    if (native) return native > 0 ? Py_NewRef(value) : NULL;
    if (!PyUnicode_Check(value)) return py_refuse(message, "Must be a string.");
    Py_ssize_t len = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &len);
    if (!bytes) PyErr_Clear();
    if (!bytes || !is_uuid_text(bytes, (size_t)len))
        return py_refuse(message, "Must be a valid UUID format.");
    PyObject *exact = py_text_exact(value);
    PyObject *uuid = exact ? PyObject_CallOneArg(py_import_get(state, PY_IMPORT_UUID), exact)
                           : NULL;
    Py_XDECREF(exact);
    return uuid;
}

/* Four numbers up to 255 and perhaps more: encode/orm calls such an address not real. */
static bool begins_as_ipv4(PyObject *text)
{
    const char *s = PyUnicode_AsUTF8(text);
    for (int part = 0; s && part < 3; part++) {
        int number = 0, digits = 0;
        for (; *s >= '0' && *s <= '9' && digits < 4; s++, digits++) number = number * 10 + *s - '0';
        bool is_padded = digits > 1 && s[-digits] == '0';
        if (!digits || is_padded || number > 255 || *s++ != '.') return false;
    }
    if (!s) PyErr_Clear();
    return s && *s >= '0' && *s <= '9';
}

static PyObject *coerce_ip(py_state *state, PyObject *value, PyObject **message)
{
    int native = py_import_check(state, PY_IMPORT_IPV4, value);
    if (native == 0) native = py_import_check(state, PY_IMPORT_IPV6, value);
    if (native) return native > 0 ? Py_NewRef(value) : NULL;
    if (!PyUnicode_Check(value)) return py_refuse(message, "Must be a string.");
    PyObject *parse = py_import_get(state, PY_IMPORT_IP_ADDRESS);
    PyObject *exact = parse ? py_text_exact(value) : NULL;
    PyObject *address = exact ? PyObject_CallOneArg(parse, exact) : NULL;
    Py_XDECREF(exact);
    if (address || !PyErr_ExceptionMatches(PyExc_ValueError)) return address;
    PyErr_Clear();
    return py_refuse(message,
                     begins_as_ipv4(value) ? "Must be a real IP." : "Must be a valid IP format.");
}

/* ---- the rest ---- */

static PyObject *coerce_blob(PyObject *value, PyObject **message)
{
    if (PyBytes_CheckExact(value)) return Py_NewRef(value);
    if (PyBytes_Check(value))
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (PyByteArray_Check(value) || PyMemoryView_Check(value) || PyObject_CheckBuffer(value))
        return PyBytes_FromObject(value); /* a copy: its owner may resize it */
    return py_refuse(message, "Must be bytes.");
}

static PyObject *refuse_member(py_rules *rules, PyObject **message)
{
    PyObject *names = PyDict_Keys(rules->enum_members), *reprs = PyList_New(0);
    PyObject *comma = PyUnicode_FromString(", "), *joined = NULL;
    for (Py_ssize_t i = 0; names && reprs && i < PyList_GET_SIZE(names); i++) {
        PyObject *repr = PyObject_Repr(PyList_GET_ITEM(names, i));
        if (!repr || PyList_Append(reprs, repr) < 0) Py_CLEAR(reprs);
        Py_XDECREF(repr);
    }
    if (names && reprs && comma) joined = PyUnicode_Join(comma, reprs);
    if (joined) *message = PyUnicode_FromFormat("Must be one of %U.", joined);
    Py_XDECREF(names);
    Py_XDECREF(reprs);
    Py_XDECREF(comma);
    Py_XDECREF(joined);
    return NULL;
}

/* A member, or the name of one: names are what the database holds. */
static PyObject *coerce_enum(py_rules *rules, PyObject *value, PyObject **message)
{
    if (PyObject_TypeCheck(value, (PyTypeObject *)rules->enum_class)) return Py_NewRef(value);
    if (!PyUnicode_Check(value)) return refuse_member(rules, message);
    PyObject *exact = py_text_exact(value);
    PyObject *member = exact ? PyDict_GetItemWithError(rules->enum_members, exact) : NULL;
    Py_XDECREF(exact);
    if (member) return Py_NewRef(member);
    return PyErr_Occurred() ? NULL : refuse_member(rules, message);
}

static PyObject *coerce_array(py_state *state, py_field *field, PyObject *value, PyObject **message)
{
    if (!PyList_Check(value) && !PyTuple_Check(value)) return py_refuse(message, "Must be a list.");
    PyObject *items = PySequence_List(value), *text = NULL;
    for (Py_ssize_t i = 0; items && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = py_field_validate(state, field->rules->item, PyList_GET_ITEM(items, i),
                                           &text);
        if (item) {
            PyList_SetItem(items, i, item);
            continue;
        }
        if (text) *message = PyUnicode_FromFormat("Item %zd: %U", i, text);
        Py_CLEAR(text);
        Py_CLEAR(items);
    }
    return items;
}

PyObject *py_field_coerce(py_state *state, py_field *field, PyObject *value, PyObject **message)
{
    switch (field->type) {
    case ORM_TYPE_BOOL: return coerce_bool(value, message);
    case ORM_TYPE_INT16:
    case ORM_TYPE_INT32:
    case ORM_TYPE_INT64: return coerce_integer(state, value, message);
    case ORM_TYPE_FLOAT: return coerce_float(state, value, message);
    case ORM_TYPE_DECIMAL: return coerce_decimal(state, value, message);
    case ORM_TYPE_TEXT:
        if (PyUnicode_Check(value)) return py_text_exact(value);
        return py_refuse(message, "Must be a string.");
    case ORM_TYPE_BLOB: return coerce_blob(value, message);
    case ORM_TYPE_DATE:
    case ORM_TYPE_TIME:
    case ORM_TYPE_DATETIME:
    case ORM_TYPE_DATETIMETZ: return coerce_temporal(field->type, value, message);
    case ORM_TYPE_INTERVAL: return coerce_interval(value, message);
    case ORM_TYPE_UUID: return coerce_uuid(state, value, message);
    case ORM_TYPE_ENUM: return coerce_enum(field->rules, value, message);
    case ORM_TYPE_IP: return coerce_ip(state, value, message);
    case ORM_TYPE_ARRAY: return coerce_array(state, field, value, message);
    default: return Py_NewRef(value); /* JSON: whatever can be written as such */
    }
}
