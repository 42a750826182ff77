/* errors.c - orm_error -> the exceptions of orm.exceptions, with all they know.
 *
 * Which class: ORM_STATUS_MAP alone decides.  A class that is missing there makes the import
 * fail, so no status can be without its exception.
 */
#include "data.h"

int py_errors_init(py_state *state)
{
    static const struct {
        int status;
        const char *exception;
    } classes[] = {
#define PY_STATUS_CLASS(constant, number, exception) {number, exception},
        ORM_STATUS_MAP(PY_STATUS_CLASS)
#undef PY_STATUS_CLASS
    };
    PyObject *module = PyImport_ImportModule("orm.exceptions");
    if (!module) return -1;
    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
        if (classes[i].status >= 0) continue;
        PyObject *class = classes[i].status == ORM_ENOMEM
                              ? Py_NewRef(PyExc_MemoryError)
                              : PyObject_GetAttrString(module, classes[i].exception);
        if (!class) break;
        state->exceptions[-classes[i].status] = class;
    }
    Py_DECREF(module);
    if (PyErr_Occurred()) return -1;
    state->validation_error = Py_NewRef(state->exceptions[-ORM_EVALIDATION]);
    return 0;
}

static PyObject *find_class(py_state *state, int status)
{
    PyObject *class = status < 0 && status > -64 ? state->exceptions[-status] : NULL;
    return class ? class : state->exceptions[-ORM_EDATABASE];
}

/* The class attributes say "not known"; only what is known is set.  Steals value. */
static int set_known(PyObject *exception, const char *name, PyObject *value)
{
    if (!value) return -1;
    int result = PyObject_SetAttrString(exception, name, value);
    Py_DECREF(value);
    return result;
}

static int set_text(PyObject *exception, const char *name, const char *text, size_t len)
{
    if (len == 0) return 0;
    return set_known(exception, name, PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "replace"));
}

static int set_details(PyObject *exception, const orm_error *err, const char *sql, size_t sql_len)
{
    const struct {
        const char *name, *text;
    } texts[] = {
        {"backend", err->backend},       {"sqlstate", err->sqlstate}, {"table", err->table},
        {"constraint", err->constraint}, {"column", err->column},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (set_text(exception, texts[i].name, texts[i].text, strlen(texts[i].text)) < 0) return -1;
    if (err->backend[0] && set_text(exception, "detail", err->message, strlen(err->message)) < 0)
        return -1;
    if (sql && set_text(exception, "sql", sql, sql_len) < 0) return -1;
    if (err->native && set_known(exception, "code", PyLong_FromLong(err->native)) < 0) return -1;
    if ((err->flags & ORM_ERROR_DISCONNECT) &&
        PyObject_SetAttrString(exception, "is_disconnect", Py_True) < 0)
        return -1;
    if ((err->flags & ORM_ERROR_RETRYABLE) &&
        PyObject_SetAttrString(exception, "is_retryable", Py_True) < 0)
        return -1;
    if (err->outcome == ORM_OUTCOME_NONE) return 0;
    const char *outcome = err->outcome == ORM_OUTCOME_UNKNOWN ? "unknown" : "rolled_back";
    return set_text(exception, "outcome", outcome, strlen(outcome));
}

static void raise_object(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

/* What somebody who meets it for the first time wants to know next; the backend's own words alone
 * stay in `detail`. */
static const char *hint_for(const orm_error *err)
{
    if (!err->backend[0]) return NULL;
    switch (err->status) {
    case ORM_ENOTABLE: return "orm.create_all(metadata) makes the tables of models";
    case ORM_ENOCOLUMN: return "create_all() adds no column to a table that exists: migrate it";
    case ORM_EFOREIGNKEY: return "the row that is referred to is missing, or others refer to it";
    default: return NULL;
    }
}

static PyObject *text_with_hint(const orm_error *err)
{
    const char *hint = hint_for(err);
    Py_ssize_t len = (Py_ssize_t)strlen(err->message);
    PyObject *text = PyUnicode_DecodeUTF8(err->message, len, "replace");
    if (!text || !hint) return text;
    PyObject *whole = PyUnicode_FromFormat("%U; %s", text, hint);
    Py_DECREF(text);
    return whole;
}

PyObject *py_error_raise_more(py_state *state, const orm_error *err, PyObject *more,
                              const char *sql, size_t sql_len)
{
    if (err->status == ORM_ENOMEM) return PyErr_NoMemory();
    PyObject *text = text_with_hint(err);
    if (text && more) Py_SETREF(text, PyUnicode_Concat(text, more));
    if (!text) return NULL;
    PyObject *exception = PyObject_CallOneArg(find_class(state, err->status), text);
    Py_DECREF(text);
    if (!exception) return NULL;
    if (set_details(exception, err, sql, sql_len) < 0) {
        Py_DECREF(exception);
        return NULL;
    }
    raise_object(exception);
    return NULL;
}

PyObject *py_error_raise(py_state *state, const orm_error *err, const char *sql, size_t sql_len)
{
    return py_error_raise_more(state, err, NULL, sql, sql_len);
}

PyObject *py_error_format(py_state *state, orm_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyErr_FormatV(find_class(state, status), format, arguments);
    va_end(arguments);
    return NULL;
}

PyObject *py_error_validation(py_state *state, PyObject *messages)
{
    PyObject *exception = PyObject_CallOneArg(find_class(state, ORM_EVALIDATION), messages);
    if (exception) raise_object(exception);
    return NULL;
}

static PyObject *data_text(const py_model *model, const py_field *field, const char *format,
                           va_list arguments)
{
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    if (!text || !field || !field->name) return text;
    PyObject *whole = model && model->model
                          ? PyUnicode_FromFormat("%s.%U: %U", orm_model_table(model->model),
                                                 field->name, text)
                          : PyUnicode_FromFormat("%U: %U", field->name, text);
    Py_DECREF(text);
    return whole;
}

int py_error_data(py_state *state, const py_model *model, const py_field *field, const char *format,
                  ...)
{
    PyErr_Clear();
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = data_text(model, field, format, arguments);
    va_end(arguments);
    if (!text) return -1;
    PyObject *exception = PyObject_CallOneArg(find_class(state, ORM_EDATA), text);
    Py_DECREF(text);
    if (!exception) return -1;
    if (model && model->model && field) {
        const char *table = orm_model_table(model->model);
        const char *column = orm_model_field(model->model, field->index)->column;
        if (set_text(exception, "table", table, strlen(table)) < 0 ||
            (column && set_text(exception, "column", column, strlen(column)) < 0)) {
            Py_DECREF(exception);
            return -1;
        }
    }
    raise_object(exception);
    return -1;
}

int py_error_field(py_state *state, PyObject *name, PyObject *text)
{
    PyObject *messages = text ? PyDict_New() : NULL;
    if (messages && PyDict_SetItem(messages, name, text) == 0) py_error_validation(state, messages);
    Py_XDECREF(messages);
    Py_XDECREF(text);
    return -1;
}

int py_error_argument(py_state *state, PyObject *name, PyObject *text, PyObject *sentence)
{
    PyObject *class = text && sentence ? py_import_get(state, PY_IMPORT_INVALID_KEYWORD) : NULL;
    PyObject *messages = class ? PyDict_New() : NULL;
    if (messages && PyDict_SetItem(messages, name, text) == 0) {
        PyObject *exception = PyObject_CallFunctionObjArgs(class, messages, sentence, NULL);
        if (exception) raise_object(exception);
    }
    Py_XDECREF(messages);
    Py_XDECREF(text);
    Py_XDECREF(sentence);
    return -1;
}
