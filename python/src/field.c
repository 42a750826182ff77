/* field.c - a field's compiled form: the Python Field object, read once.
 *
 * From then on neither validation nor conversion looks at a Python attribute of the field.
 */
#include "data.h"

/* New reference; NULL for None, too: then *failed tells. */
static PyObject *get_option(PyObject *object, const char *name, bool *failed)
{
    PyObject *value = *failed ? NULL : PyObject_GetAttrString(object, name);
    if (!value) *failed = true;
    if (value == Py_None) Py_CLEAR(value);
    return value;
}

static bool get_bool(PyObject *object, const char *name, bool *failed)
{
    PyObject *value = get_option(object, name, failed);
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth < 0) *failed = true;
    Py_XDECREF(value);
    return truth == 1;
}

/* -1 for None. */
static long get_count(PyObject *object, const char *name, bool *failed)
{
    PyObject *value = get_option(object, name, failed);
    if (!value) return -1;
    long count = PyLong_AsLong(value);
    if (count < 0 && PyErr_Occurred()) *failed = true;
    Py_DECREF(value);
    return count;
}

static void rules_free(py_rules *rules)
{
    if (!rules) return;
    Py_XDECREF(rules->search);
    Py_XDECREF(rules->pattern_text);
    Py_XDECREF(rules->choices);
    Py_XDECREF(rules->minimum);
    Py_XDECREF(rules->maximum);
    Py_XDECREF(rules->exclusive_minimum);
    Py_XDECREF(rules->exclusive_maximum);
    Py_XDECREF(rules->multiple_of);
    Py_XDECREF(rules->precision);
    Py_XDECREF(rules->enum_class);
    Py_XDECREF(rules->enum_members);
    Py_XDECREF(rules->converter);
    Py_XDECREF(rules->checker);
    if (rules->item) py_field_dispose(rules->item);
    PyMem_Free(rules->item);
    PyMem_Free(rules);
}

/* The enum's members by name, aliases included: what the database holds is a name. */
static int read_enum(py_state *state, py_rules *rules, PyObject *object, bool *failed)
{
    rules->enum_class = get_option(object, "enum", failed);
    if (!rules->enum_class) return 0;
    PyObject *members = PyObject_GetAttr(rules->enum_class, state->names->_member_map_);
    rules->enum_members = members ? PyDict_New() : NULL;
    if (rules->enum_members && PyDict_Update(rules->enum_members, members) < 0)
        Py_CLEAR(rules->enum_members);
    Py_XDECREF(members);
    if (!rules->enum_members) *failed = true;
    return 0;
}

static void read_item(py_state *state, py_rules *rules, PyObject *object, bool *failed)
{
    PyObject *item = get_option(object, "item", failed);
    if (!item) return;
    rules->item = PyMem_Calloc(1, sizeof(py_field));
    if (!rules->item) PyErr_NoMemory();
    if (!rules->item || py_field_init(state, rules->item, item, 0) < 0) *failed = true;
    Py_DECREF(item);
}

static py_rules *rules_new(py_state *state, PyObject *object)
{
    py_rules *rules = PyMem_Calloc(1, sizeof(py_rules));
    if (!rules) {
        PyErr_NoMemory();
        return NULL;
    }
    bool failed = false;
    PyObject *pattern = get_option(object, "pattern", &failed);
    if (pattern) rules->search = PyObject_GetAttrString(pattern, "search");
    if (pattern && !rules->search) failed = true;
    Py_XDECREF(pattern);
    rules->pattern_text = get_option(object, "pattern_text", &failed);
    PyObject *choices = get_option(object, "choices", &failed);
    if (choices && !(rules->choices = PySequence_Tuple(choices))) failed = true;
    Py_XDECREF(choices);
    rules->minimum = get_option(object, "minimum", &failed);
    rules->maximum = get_option(object, "maximum", &failed);
    rules->exclusive_minimum = get_option(object, "exclusive_minimum", &failed);
    rules->exclusive_maximum = get_option(object, "exclusive_maximum", &failed);
    rules->multiple_of = get_option(object, "multiple_of", &failed);
    rules->precision = get_option(object, "precision", &failed);
    rules->converter = get_option(object, "converter", &failed);
    rules->checker = get_option(object, "checker", &failed);
    rules->max_length = get_count(object, "max_length", &failed);
    rules->min_length = get_count(object, "min_length", &failed);
    rules->max_digits = get_count(object, "max_digits", &failed);
    rules->decimal_places = get_count(object, "decimal_places", &failed);
    rules->allow_blank = get_bool(object, "allow_blank", &failed);
    rules->trim = get_bool(object, "trim_whitespace", &failed);
    if (!failed) read_enum(state, rules, object, &failed);
    if (!failed) read_item(state, rules, object, &failed);
    rules->plain = !rules->search && !rules->choices && !rules->minimum && !rules->maximum &&
                   !rules->exclusive_minimum && !rules->exclusive_maximum && !rules->multiple_of &&
                   !rules->precision && !rules->converter && !rules->checker &&
                   rules->max_digits < 0;
    if (!failed) return rules;
    rules_free(rules);
    return NULL;
}

static int read_default(py_state *state, py_field *self, PyObject *object)
{
    PyObject *none = py_import_get(state, PY_IMPORT_NO_DEFAULT);
    PyObject *value = none ? PyObject_GetAttrString(object, "default") : NULL;
    if (!value) return -1;
    if (value == none) {
        Py_DECREF(value);
        return 0;
    }
    self->has_default = true;
    self->default_value = value;
    self->default_is_callable = PyCallable_Check(value);
    self->default_is_mutable = PyList_Check(value) || PyDict_Check(value) || PySet_Check(value) ||
                               PyByteArray_Check(value);
    return 0;
}

int py_field_init(py_state *state, py_field *self, PyObject *object, uint16_t index)
{
    bool failed = false;
    self->index = index;
    self->object = Py_NewRef(object);
    self->name = get_option(object, "name", &failed);
    if (self->name) {
        if (!PyUnicode_CheckExact(self->name)) {
            PyErr_SetString(PyExc_TypeError, "a field's name must be a str");
            return -1;
        }
        PyUnicode_InternInPlace(&self->name);
    }
    long type = get_count(object, "type", &failed);
    self->type = (uint8_t)type;
    self->primary_key = get_bool(object, "primary_key", &failed);
    self->nullable = get_bool(object, "allow_null", &failed);
    self->auto_now = get_bool(object, "auto_now", &failed);
    self->auto_now_add = get_bool(object, "auto_now_add", &failed);
    self->read_only = get_bool(object, "read_only", &failed);
    if (failed) return -1;
    if (type <= ORM_TYPE_NONE || type > ORM_TYPE_REF) {
        py_error_format(state, ORM_ECONFIG, "%s: a field without a type", Py_TYPE(object)->tp_name);
        return -1;
    }
    self->is_reference = type == ORM_TYPE_REF;
    self->encode = get_option(object, "encoder", &failed);
    self->decode = get_option(object, "decoder", &failed);
    if (failed) return -1;
    self->calls_python = type == ORM_TYPE_JSON || type == ORM_TYPE_IP || type == ORM_TYPE_ARRAY ||
                         self->decode;
    self->rules = rules_new(state, object);
    return self->rules ? read_default(state, self, object) : -1;
}

void py_field_dispose(py_field *self)
{
    Py_CLEAR(self->object);
    Py_CLEAR(self->name);
    Py_CLEAR(self->default_value);
    Py_CLEAR(self->target);
    Py_CLEAR(self->encode);
    Py_CLEAR(self->decode);
    rules_free(self->rules);
    self->rules = NULL;
}

int py_field_traverse(py_field *self, visitproc visit, void *arg)
{
    Py_VISIT(self->object);
    Py_VISIT(self->default_value);
    Py_VISIT(self->target);
    Py_VISIT(self->encode);
    Py_VISIT(self->decode);
    py_rules *rules = self->rules;
    if (!rules) return 0;
    Py_VISIT(rules->search);
    Py_VISIT(rules->choices);
    Py_VISIT(rules->minimum);
    Py_VISIT(rules->maximum);
    Py_VISIT(rules->exclusive_minimum);
    Py_VISIT(rules->exclusive_maximum);
    Py_VISIT(rules->multiple_of);
    Py_VISIT(rules->enum_class);
    Py_VISIT(rules->enum_members);
    Py_VISIT(rules->converter);
    Py_VISIT(rules->checker);
    return rules->item ? py_field_traverse(rules->item, visit, arg) : 0;
}

PyObject *py_field_check(PyObject *module, PyObject *args)
{
    py_state *state = PyModule_GetState(module);
    PyObject *object, *value, *message = NULL, *result = NULL;
    if (!PyArg_ParseTuple(args, "OO:validate", &object, &value)) return NULL;
    py_field field = {0};
    if (py_field_init(state, &field, object, 0) == 0) {
        Py_CLEAR(field.rules->checker); /* which calls this for the built-in rules */
        result = py_field_validate(state, &field, value, &message);
    }
    py_field_dispose(&field);
    if (!message) return result;
    PyObject *error = PyObject_CallOneArg(state->validation_error, message);
    Py_DECREF(message);
    if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return NULL;
}

PyObject *py_field_default(py_state *state, py_field *field)
{
    if (field->auto_now || field->auto_now_add) return py_temporal_now(field->type);
    if (!field->has_default) return Py_NewRef(Py_None);
    if (field->default_is_callable) return PyObject_CallNoArgs(field->default_value);
    if (!field->default_is_mutable) return Py_NewRef(field->default_value);
    PyObject *deepcopy = py_import_get(state, PY_IMPORT_DEEPCOPY);
    return deepcopy ? PyObject_CallOneArg(deepcopy, field->default_value) : NULL;
}

/* ---- the definition for the core: texts are borrowed from a list that lives as long ---- */

typedef struct definition {
    py_state *state;
    PyObject *texts; /* list: keeps what the pointers point into */
    orm_field_def *fields;
    orm_constraint_def *constraints;
    orm_model_def model;
    bool failed;
} definition;

/* Borrowed text of a str (stolen; NULL and None: NULL). */
static const char *keep_text(definition *self, PyObject *text)
{
    if (!text) return NULL;
    const char *bytes = NULL;
    if (text != Py_None) {
        Py_ssize_t len = 0;
        bytes = PyUnicode_AsUTF8AndSize(text, &len);
        if (bytes && strlen(bytes) != (size_t)len) {
            py_error_format(self->state, ORM_ECONFIG, "%R holds a NUL character", text);
            bytes = NULL;
        }
        if (!bytes || PyList_Append(self->texts, text) < 0) self->failed = true;
    }
    Py_DECREF(text);
    return bytes;
}

/* Memory that lives as long as the texts. */
static void *keep_array(definition *self, size_t n, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((n + 1) * size));
    if (!bytes || PyList_Append(self->texts, bytes) < 0) self->failed = true;
    void *array = self->failed ? NULL : memset(PyBytes_AS_STRING(bytes), 0, (n + 1) * size);
    Py_XDECREF(bytes);
    return array;
}

static uint8_t read_action(PyObject *object, const char *name, bool *failed)
{
    static const struct {
        const char *text;
        uint8_t action;
    } actions[] = {
        {"NO ACTION", ORM_NO_ACTION}, {"CASCADE", ORM_CASCADE},         {"RESTRICT", ORM_RESTRICT},
        {"SET NULL", ORM_SET_NULL},   {"SET DEFAULT", ORM_SET_DEFAULT},
    };
    PyObject *value = get_option(object, name, failed);
    uint8_t action = ORM_NO_ACTION;
    for (size_t i = 0; value && i < sizeof(actions) / sizeof(*actions); i++)
        if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, actions[i].text) == 0)
            action = actions[i].action;
    Py_XDECREF(value);
    return action;
}

/* The core knows a model by its class's name. */
static PyObject *read_target(py_state *state, PyObject *object, bool *failed)
{
    PyObject *target = get_option(object, "target", failed);
    if (!target || !PyType_Check(target)) return target;
    py_model *model = py_model_of((PyTypeObject *)target);
    PyObject *name = model ? Py_NewRef(py_model_name(model)) : NULL;
    Py_DECREF(target);
    if (name) return name;
    py_error_format(state, ORM_ECONFIG, "a reference to a class that is no model, or abstract");
    *failed = true;
    return NULL;
}

/* Without the second names of members: rows hold the first. */
static const char *const *enum_names(definition *self, PyObject *members)
{
    if (!members) return NULL;
    const char **names = keep_array(self, (size_t)PyDict_GET_SIZE(members), sizeof(char *));
    PyObject *name, *member;
    Py_ssize_t position = 0;
    size_t n = 0;
    while (names && PyDict_Next(members, &position, &name, &member)) {
        PyObject *own = PyObject_GetAttrString(member, "name");
        int same = own ? PyObject_RichCompareBool(own, name, Py_EQ) : -1;
        Py_XDECREF(own);
        if (same < 0) self->failed = true;
        if (same > 0) names[n++] = keep_text(self, Py_NewRef(name));
    }
    return names;
}

static void define_field(definition *self, py_field *field, orm_field_def *out)
{
    PyObject *object = field->object;
    py_rules *rules = field->rules;
    out->name = keep_text(self, Py_NewRef(field->name));
    out->column = keep_text(self, get_option(object, "column", &self->failed));
    out->comment = keep_text(self, get_option(object, "comment", &self->failed));
    out->sql_type = keep_text(self, get_option(object, "sql_type", &self->failed));
    out->target = field->is_reference
                      ? keep_text(self, read_target(self->state, object, &self->failed))
                      : NULL;
    out->type = field->type;
    out->member = ORM_M_NONE;
    out->max_length = rules->max_length > 0 ? (uint32_t)rules->max_length : 0;
    out->digits = rules->max_digits > 0 ? (uint16_t)rules->max_digits : 0;
    out->places = rules->decimal_places > 0 ? (uint16_t)rules->decimal_places : 0;
    out->primary_key = field->primary_key;
    out->nullable = field->nullable;
    out->unique = get_bool(object, "unique", &self->failed);
    out->index = get_bool(object, "index", &self->failed);
    out->on_delete = read_action(object, "on_delete", &self->failed);
    out->on_update = read_action(object, "on_update", &self->failed);
    out->choices = enum_names(self, rules->enum_members);
    out->enum_name = keep_text(self, get_option(object, "enum_name", &self->failed));
}

/* (kind, name | None, (field names…), sql | None) */
static void define_constraint(definition *self, PyObject *tuple, orm_constraint_def *out)
{
    int kind = 0;
    PyObject *name, *fields, *sql;
    if (!PyTuple_Check(tuple) ||
        !PyArg_ParseTuple(tuple, "iOO!O", &kind, &name, &PyTuple_Type, &fields, &sql)) {
        self->failed = true;
        return;
    }
    out->kind = (uint32_t)kind;
    out->name = keep_text(self, Py_NewRef(name));
    out->sql = keep_text(self, Py_NewRef(sql));
    out->n_fields = (uint32_t)PyTuple_GET_SIZE(fields);
    const char **names = keep_array(self, out->n_fields, sizeof(char *));
    for (uint32_t i = 0; names && i < out->n_fields; i++)
        names[i] = keep_text(self, Py_NewRef(PyTuple_GET_ITEM(fields, i)));
    out->fields = names;
}

static void define_model(definition *self, py_model *model, PyObject *source)
{
    py_names *names = self->state->names;
    PyObject *table = PyDict_GetItemWithError(source, names->table);
    PyObject *comment = PyDict_GetItemWithError(source, names->comment);
    PyObject *constraints = PyDict_GetItemWithError(source, names->constraints);
    orm_model_def *out = &self->model;
    if (!table || !PyUnicode_Check(table)) {
        py_error_format(self->state, ORM_ECONFIG, "model '%U': the table's name must be a str",
                        py_model_name(model));
        self->failed = true;
        return;
    }
    out->size = sizeof(orm_model_def);
    out->field_size = sizeof(orm_field_def);
    out->constraint_size = sizeof(orm_constraint_def);
    out->name = keep_text(self, Py_NewRef(py_model_name(model)));
    out->table = keep_text(self, Py_NewRef(table));
    out->comment = keep_text(self, Py_XNewRef(comment));
    out->n_fields = (uint32_t)model->n_fields;
    out->fields = self->fields = keep_array(self, out->n_fields, sizeof(orm_field_def));
    for (uint32_t i = 0; !self->failed && i < out->n_fields; i++)
        define_field(self, &model->fields[i], &self->fields[i]);
    if (!constraints || !PyList_Check(constraints)) return;
    out->n_constraints = (uint32_t)PyList_GET_SIZE(constraints);
    self->constraints = keep_array(self, out->n_constraints, sizeof(orm_constraint_def));
    out->constraints = self->constraints;
    for (uint32_t i = 0; !self->failed && i < out->n_constraints; i++)
        define_constraint(self, PyList_GET_ITEM(constraints, i), &self->constraints[i]);
}

int py_field_define(py_model *model, PyObject *source)
{
    definition self = {.state = model->state, .texts = PyList_New(0)};
    if (!self.texts) return -1;
    define_model(&self, model, source);
    orm_model *core = NULL;
    orm_error err = {0};
    if (!self.failed && orm_schema_add(model->schema, &self.model, &core, &err) < 0) {
        py_error_raise(model->state, &err, NULL, 0);
        self.failed = true;
    }
    Py_DECREF(self.texts);
    if (self.failed) return -1;
    model->model = orm_model_ref(core);
    orm_model_set_user(core, model->type);
    return 0;
}
