/* convert.c - Python object -> orm_value.
 *
 * Text and bytes are borrowed from the object, which the value keeps until the core releases it:
 * on the engine's thread, with the GIL held.  What a column cannot hold is DataError naming it,
 * before anything is sent; no method of an argument is called that its type's own code did not
 * define, so that no object can answer differently from what is stored.
 */
#include "data.h"
#include <math.h>

#define PY_ENCODE_ARGS \
    py_state *state, const py_model *model, const py_field *field, PyObject *object, orm_value *out

int py_value_refuse(py_state *state, const py_model *model, const py_field *field,
                    const char *expected, PyObject *object)
{
    return py_error_data(state, model, field, "expected %s, not %.100s", expected,
                         Py_TYPE(object)->tp_name);
}

/* ---- one function per type ---- */

static int encode_bool(PY_ENCODE_ARGS)
{
    if (!PyBool_Check(object)) return py_value_refuse(state, model, field, "a bool", object);
    *out = orm_bool(object == Py_True);
    return 0;
}

static int encode_integer(PY_ENCODE_ARGS)
{
    int overflow;
    if (!PyLong_Check(object)) return py_value_refuse(state, model, field, "an int", object);
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) return py_error_data(state, model, field, "the number does not fit into 64 bits");
    *out = orm_int(number);
    return 0;
}

static int encode_float(PY_ENCODE_ARGS)
{
    if (!PyFloat_Check(object)) {
        if (encode_integer(state, model, field, object, out) < 0) return -1;
        *out = orm_float((double)out->as.i);
        return 0;
    }
    double number = PyFloat_AS_DOUBLE(object);
    if (isnan(number)) return py_error_data(state, model, field, "NaN cannot be stored");
    *out = orm_float(number);
    return 0;
}

/* Borrows the text's UTF-8 form.  Steals object. */
static int encode_owned_text(py_state *state, const py_model *model, const py_field *field,
                             PyObject *object, orm_value *out)
{
    if (!object) return -1;
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(object, &len);
    if (bytes) {
        *out = orm_textn(bytes, (size_t)len);
        py_value_own(out, object);
        return 0;
    }
    Py_DECREF(object);
    if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) return -1;
    return py_error_data(state, model, field, "the text holds a lone surrogate");
}

static int encode_text(PY_ENCODE_ARGS)
{
    if (!PyUnicode_Check(object)) return py_value_refuse(state, model, field, "a str", object);
    return encode_owned_text(state, model, field, Py_NewRef(object), out);
}

static int encode_decimal(PY_ENCODE_ARGS)
{
    PyObject *exact = NULL, *message = NULL;
    py_field any = {.type = ORM_TYPE_DECIMAL};
    exact = py_field_coerce(state, &any, object, &message); /* plain Decimal, finite */
    if (!exact && message) {
        int result = py_error_data(state, model, field, "%U", message);
        Py_DECREF(message);
        return result;
    }
    PyObject *text = exact ? PyObject_Str(exact) : NULL;
    Py_XDECREF(exact);
    return encode_owned_text(state, model, field, text, out);
}

static int encode_blob(PY_ENCODE_ARGS)
{
    if (!PyObject_CheckBuffer(object)) return py_value_refuse(state, model, field, "bytes", object);
    PyObject *bytes = PyBytes_CheckExact(object) ? Py_NewRef(object) : PyBytes_FromObject(object);
    if (!bytes) return -1;
    *out = orm_bytes(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    py_value_own(out, bytes);
    return 0;
}

static orm_value count_value(uint8_t kind, int64_t count)
{
    orm_value value = orm_int(count);
    value.kind = kind;
    return value;
}

static int encode_date(PY_ENCODE_ARGS)
{
    int kind = py_temporal_kind(object);
    if (kind != ORM_V_DATE && kind != ORM_V_DATETIME)
        return py_value_refuse(state, model, field, "a date", object);
    *out = count_value(ORM_V_DATE, py_date_days(object));
    return 0;
}

static int encode_time(PY_ENCODE_ARGS)
{
    if (py_temporal_kind(object) != ORM_V_TIME)
        return py_value_refuse(state, model, field, "a time", object);
    int64_t us = py_time_us(object);
    if (us < 0) return py_error_data(state, model, field, "expected a time without time zone");
    *out = count_value(ORM_V_TIME, us);
    return 0;
}

/* Years 1 to 9999 in UTC: what can be read back. */
static bool is_in_calendar(int64_t us)
{
    return us >= -719162 * PY_US_PER_DAY && us < 2932897 * PY_US_PER_DAY;
}

static int encode_datetime(PY_ENCODE_ARGS)
{
    if (py_temporal_kind(object) != ORM_V_DATETIME)
        return py_value_refuse(state, model, field, "a datetime", object);
    bool wants_aware = field->type == ORM_TYPE_DATETIMETZ;
    int64_t us;
    int aware = py_datetime_us(object, &us);
    if (aware < 0) return -1;
    if (aware != wants_aware)
        return py_error_data(state, model, field, "expected %s datetime, not %s",
                             wants_aware ? "an aware" : "a naive", aware ? "an aware" : "a naive");
    if (!is_in_calendar(us))
        return py_error_data(state, model, field, "in UTC the datetime is not in years 1 to 9999");
    *out = count_value(aware ? ORM_V_DATETIMETZ : ORM_V_DATETIME, us);
    return 0;
}

static int encode_interval(PY_ENCODE_ARGS)
{
    int64_t us;
    if (py_temporal_kind(object) != ORM_V_INTERVAL)
        return py_value_refuse(state, model, field, "a timedelta", object);
    if (!py_interval_us(object, &us))
        return py_error_data(state, model, field, "the timedelta exceeds 64 bits of microseconds");
    *out = count_value(ORM_V_INTERVAL, us);
    return 0;
}

static int encode_uuid(PY_ENCODE_ARGS)
{
    int native = py_import_check(state, PY_IMPORT_UUID, object);
    if (native <= 0)
        return native < 0 ? -1 : py_value_refuse(state, model, field, "a UUID", object);
    PyObject *bytes = PyObject_GetAttr(object, state->names->bytes);
    if (!bytes) return -1;
    if (!PyBytes_CheckExact(bytes) || PyBytes_GET_SIZE(bytes) != 16) {
        Py_DECREF(bytes);
        return py_value_refuse(state, model, field, "a UUID of 16 bytes", object);
    }
    *out = orm_bytes(PyBytes_AS_STRING(bytes), 16);
    out->kind = ORM_V_UUID;
    py_value_own(out, bytes);
    return 0;
}

/* json.dumps writes a lone surrogate as an escape that most readers refuse. */
static bool has_lone_surrogate(PyObject *json)
{
    const char *p = PyUnicode_IS_COMPACT_ASCII(json) ? PyUnicode_AsUTF8(json) : NULL;
    bool expects_low = false;
    while (p && (p = strchr(p, '\\'))) {
        unsigned unit = 0;
        bool is_unit = p[1] == 'u';
        for (int i = 2; is_unit && i < 6; i++)
            unit = unit * 16 + (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
        bool is_low = is_unit && unit >= 0xDC00 && unit < 0xE000;
        if (is_low != expects_low) return true;
        p += is_unit ? 6 : 2;
        expects_low = is_unit && unit >= 0xD800 && unit < 0xDC00;
        if (expects_low && *p != '\\') return true;
    }
    return false;
}

/* JSON text of any object; what cannot be written as such is DataError. */
static int encode_json(PY_ENCODE_ARGS)
{
    PyObject *dumps = py_import_get(state, PY_IMPORT_JSON_DUMPS);
    PyObject *args = dumps ? PyTuple_Pack(1, object) : NULL;
    PyObject *options = args ? Py_BuildValue("{sO}", "allow_nan", Py_False) : NULL;
    PyObject *text = options ? PyObject_Call(dumps, args, options) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(options);
    if (text && has_lone_surrogate(text)) {
        Py_DECREF(text);
        return py_error_data(state, model, field, "the text holds a lone surrogate");
    }
    if (text) return encode_owned_text(state, model, field, text, out);
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_RecursionError))
        return -1;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    int result = py_error_data(state, model, field, "no JSON can say it: %S", error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return result;
}

/* Stored by name: the member's own, which the field's enum must have. */
static int encode_enum(PY_ENCODE_ARGS)
{
    py_rules *rules = field->rules;
    PyObject *name = NULL;
    if (PyObject_TypeCheck(object, (PyTypeObject *)rules->enum_class))
        name = PyObject_GetAttr(object, state->names->_name_);
    else if (PyUnicode_Check(object))
        name = py_text_exact(object);
    else
        return py_value_refuse(state, model, field, ((PyTypeObject *)rules->enum_class)->tp_name,
                               object);
    if (!name) return -1;
    int known = PyUnicode_Check(name) ? PyDict_Contains(rules->enum_members, name) : 0;
    if (known > 0) return encode_owned_text(state, model, field, name, out);
    if (known == 0)
        py_error_data(state, model, field, "%R is no member of %s", name,
                      ((PyTypeObject *)rules->enum_class)->tp_name);
    Py_DECREF(name);
    return -1;
}

static int encode_ip(PY_ENCODE_ARGS)
{
    int native = py_import_check(state, PY_IMPORT_IPV4, object);
    if (native == 0) native = py_import_check(state, PY_IMPORT_IPV6, object);
    if (native < 0) return -1;
    if (native == 0) return py_value_refuse(state, model, field, "an IP address", object);
    return encode_owned_text(state, model, field, PyObject_Str(object), out);
}

/* An array's item as something JSON has. */
static PyObject *item_for_json(py_state *state, py_field *item, PyObject *object)
{
    int64_t us;
    switch (item->type) {
    case ORM_TYPE_BLOB: return PyObject_CallMethod(object, "hex", NULL);
    case ORM_TYPE_ENUM: return PyObject_GetAttr(object, state->names->_name_);
    case ORM_TYPE_INTERVAL:
        if (!py_interval_us(object, &us)) us = INT64_MAX;
        return PyLong_FromLongLong(us);
    case ORM_TYPE_DECIMAL:
    case ORM_TYPE_DATE:
    case ORM_TYPE_TIME:
    case ORM_TYPE_DATETIME:
    case ORM_TYPE_DATETIMETZ:
    case ORM_TYPE_UUID:
    case ORM_TYPE_IP: return PyObject_Str(object);
    default: return Py_NewRef(object);
    }
}

/* A JSON list.  Every item must be storable in a column of its type. */
static int encode_array(PY_ENCODE_ARGS)
{
    if (!PyList_Check(object) && !PyTuple_Check(object))
        return py_value_refuse(state, model, field, "a list", object);
    py_field *item = field->rules->item;
    PyObject *items = PySequence_List(object);
    for (Py_ssize_t i = 0; items && i < PyList_GET_SIZE(items); i++) {
        orm_value value;
        PyObject *member = PyList_GET_ITEM(items, i), *plain = NULL;
        if (member == Py_None) continue;
        if (py_value_of_field(state, (py_model *)model, item, member, &value) == 0) {
            if (value.release) value.release(value.owner);
            plain = item_for_json(state, item, member);
        }
        if (!plain)
            Py_CLEAR(items);
        else
            PyList_SetItem(items, i, plain);
    }
    if (!items) return -1;
    int result = encode_json(state, model, field, items, out);
    Py_DECREF(items);
    return result;
}

/* ---- references ---- */

PyObject *py_value_key(py_state *state, const py_model *owner, const py_field *field,
                       py_model *expected, PyObject *object)
{
    py_instance *instance = (py_instance *)object;
    py_model *model = py_model_get(instance);
    if (model != expected) {
        py_error_data(state, owner, field, "expected an instance of %U, not of %U",
                      py_model_name(expected), py_model_name(model));
        return NULL;
    }
    if (owner && owner->registry_style && py_instance_is_absent(instance, model))
        return Py_NewRef(Py_None);
    PyObject *key = py_instance_find_key(instance, model);
    if (!key && !PyErr_Occurred())
        py_error_data(state, owner, field, "the %U has no key yet: save it first",
                      py_model_name(model));
    return key;
}

static int encode_reference(PY_ENCODE_ARGS)
{
    py_model *target;
    py_field *key_field = py_model_target((py_model *)model, (py_field *)field, &target);
    if (!key_field) return -1;
    PyObject *key = py_instance_check(state, object)
                        ? py_value_key(state, model, field, target, object)
                        : Py_NewRef(object);
    if (!key) return -1;
    int result = py_value_of_field(state, target, key_field, key, out);
    Py_DECREF(key);
    return result;
}

/* A custom column type makes something that its storage's type takes, of NULL as well. */
static int encode_custom(PY_ENCODE_ARGS)
{
    PyObject *plain = PyObject_CallOneArg(field->encode, object);
    if (!plain &&
        (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
         PyErr_ExceptionMatches(PyExc_AttributeError))) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        py_error_data(state, model, field, "its column type refuses %.100R: %S", object, error);
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
    }
    if (!plain) return -1;
    py_field storage = *field;
    storage.encode = NULL;
    int result = py_value_of_field(state, (py_model *)model, &storage, plain, out);
    Py_DECREF(plain);
    return result;
}

int py_value_of_field(py_state *state, py_model *model, py_field *field, PyObject *object,
                      orm_value *out)
{
    static int (*const encoders[])(PY_ENCODE_ARGS) = {
        [ORM_TYPE_BOOL] = encode_bool,
        [ORM_TYPE_INT16] = encode_integer,
        [ORM_TYPE_INT32] = encode_integer,
        [ORM_TYPE_INT64] = encode_integer,
        [ORM_TYPE_FLOAT] = encode_float,
        [ORM_TYPE_DECIMAL] = encode_decimal,
        [ORM_TYPE_TEXT] = encode_text,
        [ORM_TYPE_BLOB] = encode_blob,
        [ORM_TYPE_DATE] = encode_date,
        [ORM_TYPE_TIME] = encode_time,
        [ORM_TYPE_DATETIME] = encode_datetime,
        [ORM_TYPE_DATETIMETZ] = encode_datetime,
        [ORM_TYPE_INTERVAL] = encode_interval,
        [ORM_TYPE_UUID] = encode_uuid,
        [ORM_TYPE_JSON] = encode_json,
        [ORM_TYPE_ENUM] = encode_enum,
        [ORM_TYPE_IP] = encode_ip,
        [ORM_TYPE_ARRAY] = encode_array,
        [ORM_TYPE_REF] = encode_reference,
    };
    *out = orm_null();
    if (field->encode) return encode_custom(state, model, field, object, out);
    if (object == Py_None) return 0;
    return encoders[field->type](state, model, field, object, out);
}

/* ---- raw SQL: by the object's own type ---- */

static int type_of_object(py_state *state, PyObject *object)
{
    if (PyBool_Check(object)) return ORM_TYPE_BOOL;
    if (PyLong_Check(object)) return ORM_TYPE_INT64;
    if (PyFloat_Check(object)) return ORM_TYPE_FLOAT;
    if (PyUnicode_Check(object)) return ORM_TYPE_TEXT;
    if (PyObject_CheckBuffer(object)) return ORM_TYPE_BLOB;
    switch (py_temporal_kind(object)) {
    case ORM_V_DATE: return ORM_TYPE_DATE;
    case ORM_V_TIME: return ORM_TYPE_TIME;
    case ORM_V_DATETIME: return ORM_TYPE_DATETIME;
    case ORM_V_INTERVAL: return ORM_TYPE_INTERVAL;
    default: break;
    }
    static const struct {
        int import, type;
    } others[] = {{PY_IMPORT_DECIMAL, ORM_TYPE_DECIMAL},
                  {PY_IMPORT_UUID, ORM_TYPE_UUID},
                  {PY_IMPORT_IPV4, ORM_TYPE_IP},
                  {PY_IMPORT_IPV6, ORM_TYPE_IP}};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        int found = py_import_check(state, others[i].import, object);
        if (found) return found < 0 ? -1 : others[i].type;
    }
    return ORM_TYPE_NONE;
}

/* An enum's member outside of any field: its name, as a column of its type holds it. */
static int encode_member(py_state *state, PyObject *object, orm_value *out)
{
    PyObject *name = PyObject_GetAttr(object, state->names->_name_);
    if (name && PyUnicode_Check(name)) return encode_owned_text(state, NULL, NULL, name, out);
    Py_XDECREF(name);
    return name ? py_value_refuse(state, NULL, NULL, "a named member", object) : -1;
}

int py_value_of_object(py_state *state, PyObject *object, orm_value *out)
{
    *out = orm_null();
    if (object == Py_None) return 0;
    int is_member = py_import_check(state, PY_IMPORT_ENUM, object);
    if (is_member) return is_member < 0 ? -1 : encode_member(state, object, out);
    if (py_instance_check(state, object)) {
        py_model *model = py_model_get((py_instance *)object);
        PyObject *key = py_instance_find_key((py_instance *)object, model);
        if (!key && !PyErr_Occurred())
            py_error_format(state, ORM_EDATA, "the %s has no key yet: save it first",
                            orm_model_name(model->model));
        int result = !key ? -1
                     : model->key >= 0
                         ? py_value_of_field(state, model, &model->fields[model->key], key, out)
                         : py_value_refuse(state, NULL, NULL, "a value", object);
        Py_XDECREF(key);
        return result;
    }
    int type = type_of_object(state, object);
    if (type < 0) return -1;
    if (type == ORM_TYPE_NONE) return py_value_refuse(state, NULL, NULL, "a value", object);
    py_field any = {.type = (uint8_t)type};
    int64_t us;
    int aware = type == ORM_TYPE_DATETIME ? py_datetime_us(object, &us) : 0;
    if (aware < 0) return -1;
    if (aware) any.type = ORM_TYPE_DATETIMETZ;
    return py_value_of_field(state, NULL, &any, object, out);
}
