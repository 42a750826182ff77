/* validate.c - the rules of a field, in encode/orm's words.
 *
 * Order: NULL, blank text, the type (coerce.c), limits, choices, the field's own converter.
 * A broken rule is a message, not an exception: the caller knows which error it belongs into.
 * What cannot be stored although no rule forbids it is convert.c's DataError.
 */
#include "data.h"

/* ---- rules about numbers ---- */

/* A decimal context that never rounds what a column can hold; new reference. */
static PyObject *wide_context(py_state *state)
{
    PyObject *type = py_import_get(state, PY_IMPORT_DECIMAL_CONTEXT);
    return type ? PyObject_CallFunction(type, "i", 2000) : NULL;
}

/* Decimal of a number as it prints. */
static PyObject *decimal_of(py_state *state, PyObject *number)
{
    PyObject *type = py_import_get(state, PY_IMPORT_DECIMAL);
    PyObject *text = type ? PyObject_Str(number) : NULL;
    PyObject *decimal = text ? PyObject_CallOneArg(type, text) : NULL;
    Py_XDECREF(text);
    return decimal;
}

/* `value` rounded half up to the field's precision, as the type it had. */
static PyObject *round_half_up(py_state *state, py_field *field, PyObject *value)
{
    PyObject *type = py_import_get(state, PY_IMPORT_DECIMAL);
    PyObject *decimal = type ? PyObject_CallOneArg(type, value) : NULL;
    PyObject *step = decimal ? decimal_of(state, field->rules->precision) : NULL;
    PyObject *context = step ? wide_context(state) : NULL;
    PyObject *rounded = context ? PyObject_CallMethod(decimal, "quantize", "OsO", step,
                                                      "ROUND_HALF_UP", context)
                                : NULL;
    Py_XDECREF(decimal);
    Py_XDECREF(step);
    Py_XDECREF(context);
    if (!rounded || field->type == ORM_TYPE_DECIMAL) return rounded;
    PyObject *result = field->type == ORM_TYPE_FLOAT ? PyNumber_Float(rounded)
                                                     : PyNumber_Long(rounded);
    Py_DECREF(rounded);
    return result;
}

/* 1: a multiple, 0: not, -1: exception. */
static int is_multiple(py_state *state, PyObject *value, PyObject *of)
{
    PyObject *rest = NULL;
    if (PyLong_Check(value) && PyLong_Check(of)) {
        rest = PyNumber_Remainder(value, of);
    } else {
        PyObject *context = wide_context(state);
        PyObject *a = context ? decimal_of(state, value) : NULL;
        PyObject *b = a ? decimal_of(state, of) : NULL;
        rest = b ? PyObject_CallMethod(context, "remainder", "OO", a, b) : NULL;
        Py_XDECREF(context);
        Py_XDECREF(a);
        Py_XDECREF(b);
    }
    int truth = rest ? PyObject_Not(rest) : -1;
    Py_XDECREF(rest);
    return truth;
}

/* True when the rule is kept; false: *message, or an exception. */
static bool check_limits(py_rules *rules, PyObject *value, PyObject **message)
{
    const struct {
        PyObject *limit;
        int broken_by;
        const char *text;
    } limits[] = {
        {rules->minimum, Py_LT, "Must be greater than or equal to %S."},
        {rules->exclusive_minimum, Py_LE, "Must be greater than %S."},
        {rules->maximum, Py_GT, "Must be less than or equal to %S."},
        {rules->exclusive_maximum, Py_GE, "Must be less than %S."},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        if (!limits[i].limit) continue;
        int broken = PyObject_RichCompareBool(value, limits[i].limit, limits[i].broken_by);
        if (broken == 0) continue;
        if (broken > 0) *message = PyUnicode_FromFormat(limits[i].text, limits[i].limit);
        return false;
    }
    return true;
}

/* Digits in all and behind the point, zeros at the end of the fraction not counted. */
static bool check_digits(py_rules *rules, PyObject *value, PyObject **message)
{
    PyObject *parts = PyObject_CallMethod(value, "as_tuple", NULL);
    PyObject *digits = parts ? PyTuple_GetItem(parts, 1) : NULL;
    PyObject *last = digits ? PyTuple_GetItem(parts, 2) : NULL;
    if (!last) {
        Py_XDECREF(parts);
        return false;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(digits);
    long exponent = PyLong_AsLong(last);
    while (n > 0 && exponent < 0 && PyLong_AsLong(PyTuple_GET_ITEM(digits, n - 1)) == 0) {
        n--;
        exponent++;
    }
    bool is_zero = n == 0 || (n == 1 && PyLong_AsLong(PyTuple_GET_ITEM(digits, 0)) == 0);
    Py_DECREF(parts);
    if (is_zero) return true;
    long places = exponent < 0 ? -exponent : 0;
    long whole = (long)n + exponent > 0 ? (long)n + exponent : 0;
    if (rules->decimal_places >= 0 && places > rules->decimal_places) {
        *message = PyUnicode_FromFormat("Must have no more than %ld decimal places.",
                                        rules->decimal_places);
        return false;
    }
    long room = rules->max_digits - (rules->decimal_places > 0 ? rules->decimal_places : 0);
    if (whole <= room) return true;
    *message = PyUnicode_FromFormat("Must have no more than %ld digits before the decimal point.",
                                    room);
    return false;
}

static PyObject *check_number(py_state *state, py_field *field, PyObject *value /* stolen */,
                              PyObject **message)
{
    py_rules *rules = field->rules;
    if (rules->precision) {
        PyObject *rounded = round_half_up(state, field, value);
        Py_SETREF(value, rounded);
        if (!value) return NULL;
    }
    bool valid = check_limits(rules, value, message);
    if (valid && rules->multiple_of) {
        int multiple = is_multiple(state, value, rules->multiple_of);
        if (multiple == 0)
            *message = PyUnicode_FromFormat("Must be a multiple of %S.", rules->multiple_of);
        valid = multiple > 0;
    }
    if (valid && rules->max_digits >= 0) valid = check_digits(rules, value, message);
    if (!valid) Py_CLEAR(value);
    return value;
}

/* ---- rules about text ---- */

static PyObject *trim(PyObject *text)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(text);
    if (n == 0 || (!Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, 0)) &&
                   !Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, n - 1))))
        return Py_NewRef(text);
    Py_ssize_t start = 0;
    while (start < n && Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, start))) start++;
    while (n > start && Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, n - 1))) n--;
    return PyUnicode_Substring(text, start, n);
}

static bool check_length(py_rules *rules, Py_ssize_t n, const char *what, PyObject **message)
{
    if (rules->min_length >= 0 && n < rules->min_length)
        *message = PyUnicode_FromFormat("Must have at least %zd %s.", rules->min_length, what);
    else if (rules->max_length >= 0 && n > rules->max_length)
        *message = PyUnicode_FromFormat("Must have no more than %zd %s.", rules->max_length, what);
    else
        return true;
    return false;
}

static PyObject *check_text(py_field *field, PyObject *text /* stolen */, PyObject **message)
{
    py_rules *rules = field->rules;
    bool valid = check_length(rules, PyUnicode_GET_LENGTH(text), "characters", message);
    if (valid && rules->search) {
        PyObject *match = PyObject_CallOneArg(rules->search, text);
        valid = match && match != Py_None;
        if (match && !valid)
            *message = PyUnicode_FromFormat("Must match the pattern /%U/.", rules->pattern_text);
        Py_XDECREF(match);
    }
    if (!valid) Py_CLEAR(text);
    return text;
}

/* ---- rules about any value ---- */

static bool check_choices(py_rules *rules, PyObject *value, PyObject **message)
{
    int found = PySequence_Contains(rules->choices, value);
    if (found) return found > 0;
    PyObject *text = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(rules->choices); i++) {
        PyObject *choice = PyTuple_GET_ITEM(rules->choices, i);
        PyObject *longer = text ? PyUnicode_FromFormat("%U, %R", text, choice)
                                : PyObject_Repr(choice);
        Py_XSETREF(text, longer);
        if (!text) return false;
    }
    *message = PyUnicode_FromFormat("Must be one of %U.", text ? text : rules->choices);
    Py_XDECREF(text);
    return false;
}

/* What a converter's ValueError says; of a ValidationError the first message. */
static PyObject *text_of_error(py_state *state, PyObject *error)
{
    if (!PyObject_TypeCheck(error, (PyTypeObject *)state->validation_error))
        return PyObject_Str(error);
    PyObject *texts = PyMapping_Values(error);
    PyObject *text = texts && PyList_GET_SIZE(texts) ? PyObject_Str(PyList_GET_ITEM(texts, 0))
                                                     : NULL;
    Py_XDECREF(texts);
    return text || PyErr_Occurred() ? text : PyObject_Str(error);
}

/* What a rule in Python makes of a value; its ValueError is a broken rule. */
static PyObject *convert(py_state *state, PyObject *rule, PyObject *value /* stolen */,
                         PyObject **message)
{
    PyObject *result = PyObject_CallOneArg(rule, value);
    Py_DECREF(value);
    if (result || !PyErr_ExceptionMatches(PyExc_ValueError) ||
        PyErr_ExceptionMatches(state->exceptions[-ORM_EDATA]))
        return result;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    *message = text_of_error(state, error ? error : type);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return NULL;
}

static PyObject *check_rules(py_state *state, py_field *field, PyObject *value /* stolen */,
                             PyObject **message)
{
    py_rules *rules = field->rules;
    if (field->type == ORM_TYPE_TEXT) {
        value = check_text(field, value, message);
    } else if (field->type == ORM_TYPE_BLOB) {
        if (!check_length(rules, PyBytes_GET_SIZE(value), "bytes", message)) Py_CLEAR(value);
    } else if (field->type >= ORM_TYPE_INT16 && field->type <= ORM_TYPE_DECIMAL && !rules->plain) {
        value = check_number(state, field, value, message);
    }
    if (!value || rules->plain) return value;
    if (rules->choices && !check_choices(rules, value, message)) Py_CLEAR(value);
    return value && rules->converter ? convert(state, rules->converter, value, message) : value;
}

/* ---- NULL ---- */

static PyObject *validate_null(py_field *field, PyObject **message)
{
    if (field->nullable || field->primary_key) return Py_NewRef(Py_None);
    if (field->rules->allow_blank) return PyUnicode_New(0, 0);
    return py_refuse(message, "May not be null.");
}

/* ---- references ---- */

static PyObject *validate_reference(py_field *field, PyObject *value, PyObject **message)
{
    py_model *target = NULL;
    py_field *key = py_model_target(field->model, field, &target);
    if (!key) return NULL;
    if (py_instance_check(target->state, value)) {
        py_model *model = py_model_get((py_instance *)value);
        bool may_be_absent = model == target && field->model->registry_style;
        if (may_be_absent && py_instance_is_absent((py_instance *)value, model))
            return validate_null(field, message);
        if (model == target) return Py_NewRef(value);
        *message = PyUnicode_FromFormat("Must be an instance of %U, not of %U.",
                                        py_model_name(target), py_model_name(model));
        return NULL;
    }
    return py_field_validate(target->state, key, value, message);
}

/* ---- what no rule forbids and no column holds ---- */

static bool fits(int type, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow) return false;
    if (type == ORM_TYPE_INT16) return value >= INT16_MIN && value <= INT16_MAX;
    return type != ORM_TYPE_INT32 || (value >= INT32_MIN && value <= INT32_MAX);
}

/* Tries the conversion where it could fail: DataError now rather than when it is written.
 * Steals value. */
static PyObject *check_storable(py_state *state, py_field *field, PyObject *value)
{
    bool storable = false;
    if (value == Py_None) return value;
    switch (field->encode ? ORM_TYPE_NONE : field->type) {
    case ORM_TYPE_INT16:
    case ORM_TYPE_INT32:
    case ORM_TYPE_INT64:
        if (!(storable = PyLong_Check(value) && fits(field->type, value)))
            py_error_data(state, field->model, field, "the number does not fit into its column");
        break;
    case ORM_TYPE_BOOL:
    case ORM_TYPE_FLOAT:
    case ORM_TYPE_BLOB:
    case ORM_TYPE_DATE:
    case ORM_TYPE_UUID:
    case ORM_TYPE_IP: return value;
    case ORM_TYPE_TEXT:
        if (PyUnicode_Check(value) && PyUnicode_MAX_CHAR_VALUE(value) < 0x100) return value;
        /* fall through */
    default: {
        orm_value converted;
        storable = py_value_of_field(state, field->model, field, value, &converted) == 0;
        if (storable && converted.release) converted.release(converted.owner);
    }
    }
    if (!storable) Py_CLEAR(value);
    return value;
}

/* ---- the entrance ---- */

static bool has_text_rules(int type)
{
    return type == ORM_TYPE_TEXT || (type >= ORM_TYPE_DATE && type <= ORM_TYPE_DATETIMETZ) ||
           type == ORM_TYPE_UUID || type == ORM_TYPE_IP;
}

/* Text for a field of any type: trimmed, blank.  *done: it is the result (or an error). */
static PyObject *prepare_text(py_field *field, PyObject *value, PyObject **message, bool *done)
{
    PyObject *text = py_text_exact(value);
    if (!text) return NULL;
    if (has_text_rules(field->type)) {
        if (field->rules->trim || field->type != ORM_TYPE_TEXT) Py_SETREF(text, trim(text));
        if (!text) return NULL;
        *done = PyUnicode_GET_LENGTH(text) == 0 && !field->rules->allow_blank;
        if (!*done) return text;
        Py_DECREF(text);
        if (field->nullable) return Py_NewRef(Py_None);
        return py_refuse(message, "Must not be blank.");
    }
    bool is_null = PyUnicode_GET_LENGTH(text) == 0;
    if (field->type == ORM_TYPE_BOOL && !is_null) {
        PyObject *lower = PyObject_CallMethod(text, "lower", NULL);
        Py_SETREF(text, lower);
        if (!text) return NULL;
        is_null = PyUnicode_CompareWithASCIIString(text, "null") == 0 ||
                  PyUnicode_CompareWithASCIIString(text, "none") == 0;
    }
    bool is_scalar = field->type >= ORM_TYPE_BOOL && field->type <= ORM_TYPE_DECIMAL;
    if (!is_null || !is_scalar || !field->nullable) return text;
    *done = true;
    Py_DECREF(text);
    return Py_NewRef(Py_None);
}

static PyObject *validate_value(py_state *state, py_field *field, PyObject *value,
                                PyObject **message)
{
    PyObject *result = NULL;
    if (PyUnicode_Check(value)) {
        bool done = false;
        PyObject *text = prepare_text(field, value, message, &done);
        if (!text || done) return text;
        result = py_field_coerce(state, field, text, message);
        Py_DECREF(text);
    } else {
        result = py_field_coerce(state, field, value, message);
    }
    if (result) result = check_rules(state, field, result, message);
    return result ? check_storable(state, field, result) : NULL;
}

/* The field's own rules, in Python, stand for all of ours. */
static PyObject *validate_own(py_state *state, py_field *field, PyObject *value, PyObject **message)
{
    if (value == Py_None && (field->nullable || field->primary_key)) return Py_NewRef(Py_None);
    PyObject *result = convert(state, field->rules->checker, Py_NewRef(value), message);
    return result ? check_storable(state, field, result) : NULL;
}

PyObject *py_field_validate(py_state *state, py_field *field, PyObject *value, PyObject **message)
{
    *message = NULL;
    if (field->rules->checker) return validate_own(state, field, value, message);
    if (value == Py_None) return validate_null(field, message);
    if (field->is_reference) return validate_reference(field, value, message);
    if (PyLong_CheckExact(value) && field->rules->plain && field->type >= ORM_TYPE_INT16 &&
        field->type <= ORM_TYPE_INT64)
        return check_storable(state, field, Py_NewRef(value));
    return validate_value(state, field, value, message);
}
