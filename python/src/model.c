/* model.c - ModelType, the class of model classes, and the state behind each of them.
 *
 * Instances are read through member descriptors, which the interpreter specialises; therefore
 * what `Track.title` and `Track.objects` give on the class comes from the metaclass's own
 * getattr, where it costs instances nothing.
 *
 * Who keeps whom: class -> py_model -> fields, sparse class, targets, database.  A hidden sparse
 * class borrows the model of its base, which it keeps alive like any subclass does.
 */
#include "data.h"

py_model *py_model_of(PyTypeObject *type)
{
    PyTypeObject *meta = Py_TYPE((PyObject *)type);
    for (; meta; meta = meta->tp_base) {
        /* Subclasses of ModelType written in Python have slots of their own; their base has ours. */
        if (meta->tp_new == py_model_type_make) return ((py_model_class *)type)->model;
    }
    return NULL;
}

py_model *py_model_of_core(const orm_model *model)
{
    PyTypeObject *type = model ? orm_model_get_user(model) : NULL;
    return type ? ((py_model_class *)type)->model : NULL;
}

PyObject *py_model_name(const py_model *model)
{
    return ((PyHeapTypeObject *)model->type)->ht_name;
}

/* ---- the life of a py_model ---- */

static int model_traverse(py_model *model, visitproc visit, void *arg)
{
    Py_VISIT(model->sparse);
    Py_VISIT(model->database);
    Py_VISIT(model->index);
    Py_VISIT(model->objects);
    for (Py_ssize_t i = 0; model->fields && i < model->n_fields; i++) {
        int result = py_field_traverse(&model->fields[i], visit, arg);
        if (result) return result;
    }
    return 0;
}

/* Breaks what cycles need to be broken; the rest stays whole until the class is freed, since
 * its instances may go later. */
static void model_clear(py_model *model)
{
    Py_CLEAR(model->sparse);
    Py_CLEAR(model->database);
    Py_CLEAR(model->objects);
    for (Py_ssize_t i = 0; model->fields && i < model->n_fields; i++)
        Py_CLEAR(model->fields[i].target);
    model->sealed = false;
}

static void model_free(py_model *model)
{
    model_clear(model);
    py_model_drop_queries(model);
    if (model->model) {
        orm_model *core = (orm_model *)model->model;
        orm_model_set_user(core, NULL);
        orm_schema_remove(model->schema, core);
        orm_model_unref(core);
    }
    orm_schema_unref(model->schema);
    for (Py_ssize_t i = 0; model->fields && i < model->n_fields; i++)
        py_field_dispose(&model->fields[i]);
    PyMem_Free(model->fields);
    PyMem_Free(model->members);
    Py_XDECREF(model->index);
    PyMem_Free(model);
}

/* Compiles the Field objects and the name index. */
static int make_fields(py_model *model, PyObject *fields)
{
    Py_ssize_t n = PyList_GET_SIZE(fields);
    if (n > UINT16_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a model has at most 65535 fields");
        return -1;
    }
    model->fields = PyMem_Calloc((size_t)n + 1, sizeof(py_field));
    model->members = PyMem_Calloc((size_t)n + 1, sizeof(PyMemberDef));
    model->index = PyDict_New();
    if (!model->fields || !model->members || !model->index) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        py_field *field = &model->fields[i];
        model->n_fields = i + 1;
        field->model = model;
        if (py_field_init(model->state, field, PyList_GET_ITEM(fields, i), (uint16_t)i) < 0)
            return -1;
        PyObject *position = PyLong_FromSsize_t(i);
        int failed = !position || PyDict_SetItem(model->index, field->name, position) < 0;
        Py_XDECREF(position);
        if (failed) return -1;
    }
    return 0;
}

/* Puts the descriptors of the fields into the class. */
static int add_descriptors(py_model *model)
{
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        py_field *field = &model->fields[i];
        PyMemberDef *member = &model->members[i];
        member->name = PyUnicode_AsUTF8(field->name);
        if (!member->name) return -1;
        member->type = Py_T_OBJECT_EX;
        member->flags = Py_READONLY;
        member->offset = (Py_ssize_t)offsetof(py_instance, values) +
                         i * (Py_ssize_t)sizeof(PyObject *);
        PyObject *descriptor = field->is_reference ? py_reference_new(model, i)
                                                   : PyDescr_NewMember(model->type, member);
        if (!descriptor) return -1;
        int result = PyType_Type.tp_setattro((PyObject *)model->type, field->name, descriptor);
        Py_DECREF(descriptor);
        if (result < 0) return -1;
    }
    return 0;
}

/* A subclass of a model has an own layout; a descriptor that it inherited without the field
 * would read another field's place, or none. */
static int check_bases(py_model *model)
{
    PyObject *mro = model->type->tp_mro;
    for (Py_ssize_t i = 1; i < PyTuple_GET_SIZE(mro); i++) {
        py_model *base = py_model_of((PyTypeObject *)PyTuple_GET_ITEM(mro, i));
        for (Py_ssize_t k = 0; base && k < base->n_fields; k++) {
            PyObject *name = base->fields[k].name;
            int own = PyDict_Contains(model->type->tp_dict, name);
            if (own < 0) return -1;
            if (own) continue;
            py_error_format(model->state, ORM_ECONFIG,
                            "model '%U' inherits from '%U' without its field '%U'",
                            py_model_name(model), py_model_name(base), name);
            return -1;
        }
    }
    return 0;
}

static bool get_flag(PyObject *definition, PyObject *name)
{
    return PyDict_GetItemWithError(definition, name) == Py_True;
}

static int model_setup(py_model *model, PyObject *definition)
{
    py_names *names = model->state->names;
    PyObject *fields = PyDict_GetItemWithError(definition, names->fields);
    PyObject *schema = PyDict_GetItemWithError(definition, names->schema);
    if (!fields || !PyList_Check(fields) || !schema) {
        PyErr_SetString(PyExc_TypeError, "definition: expected 'fields', a list, and 'schema'");
        return -1;
    }
    orm_schema *core = py_schema_get(model->state, schema);
    if (!core) return -1;
    model->schema = orm_schema_ref(core);
    model->registry_style = get_flag(definition, names->registry_style);
    model->loads_filtered = get_flag(definition, names->loads_filtered);
    model->objects = Py_XNewRef(PyDict_GetItemWithError(definition, names->objects));
    model->calls_init = model->type->tp_init != py_instance_init ||
                        model->type->tp_new != py_instance_make ||
                        model->type->tp_setattro != py_instance_set_attribute;
    if (make_fields(model, fields) < 0 || py_field_define(model, definition) < 0) return -1;
    model->key = orm_model_key_count(model->model) == 1 ? orm_model_key_field(model->model, 0) : -1;
    return add_descriptors(model) < 0 || check_bases(model) < 0 ? -1 : 0;
}

int py_model_seal(py_model *model)
{
    if (model->sealed) return 0;
    orm_error err = {0};
    if (orm_model_seal(model->model, &err) < 0) {
        py_error_raise(model->state, &err, NULL, 0);
        return -1;
    }
    for (Py_ssize_t i = 0; i < model->n_fields; i++) {
        py_field *field = &model->fields[i];
        if (!field->is_reference) continue;
        py_model *target = py_model_of_core(orm_model_field_target(model->model, (size_t)i));
        if (!target) {
            py_error_format(model->state, ORM_ECONFIG, "%U.%U: its target's class is gone",
                            py_model_name(model), field->name);
            return -1;
        }
        Py_XSETREF(field->target, Py_NewRef((PyObject *)target->type));
    }
    model->sealed = true;
    return 0;
}

/* Follows all references from the classes in the list, which grows; 1: one of them runs Python
 * code for a row. */
static int walk_references(PyObject *found)
{
    for (Py_ssize_t next = 0; next < PyList_GET_SIZE(found); next++) {
        py_model *model = ((py_model_class *)PyList_GET_ITEM(found, next))->model;
        if (model->calls_init) return 1;
        if (py_model_seal(model) < 0) return -1;
        for (Py_ssize_t i = 0; i < model->n_fields; i++) {
            py_field *field = &model->fields[i];
            if (field->calls_python) return 1;
            if (!field->is_reference) continue;
            bool known = false;
            for (Py_ssize_t k = 0; k < PyList_GET_SIZE(found); k++)
                known |= PyList_GET_ITEM(found, k) == field->target;
            if (!known && PyList_Append(found, field->target) < 0) return -1;
        }
    }
    return 0;
}

int py_model_reaches_python(py_model *model)
{
    if (model->reaches_python) return model->reaches_python == 2;
    PyObject *found = Py_BuildValue("[O]", model->type);
    int result = found ? walk_references(found) : -1;
    Py_XDECREF(found);
    if (result >= 0) model->reaches_python = (uint8_t)(result + 1);
    return result;
}

py_field *py_model_target(py_model *model, py_field *field, py_model **target)
{
    if (!field->target && py_model_seal(model) < 0) return NULL;
    *target = ((py_model_class *)field->target)->model;
    if ((*target)->key < 0) {
        py_error_format(model->state, ORM_ECONFIG, "%U.%U: '%U' has no single key to refer to",
                        py_model_name(model), field->name, py_model_name(*target));
        return NULL;
    }
    return &(*target)->fields[(*target)->key];
}

int py_model_find_field(py_model *model, PyObject *name)
{
    PyObject *position = PyDict_GetItemWithError(model->index, name);
    if (position) return (int)PyLong_AsLong(position);
    PyErr_Clear();
    return -1;
}

py_database *py_model_database(py_model *model)
{
    if (model->database) return model->database;
    PyObject *resolve = py_import_get(model->state, PY_IMPORT_RESOLVE);
    if (!resolve) return NULL;
    PyObject *database = PyObject_CallOneArg(resolve, (PyObject *)model->type);
    if (!database) return NULL;
    if (!PyObject_TypeCheck(database, model->state->database_type)) {
        PyErr_Format(PyExc_TypeError, "orm.database.resolve returned a %s",
                     Py_TYPE(database)->tp_name);
        Py_DECREF(database);
        return NULL;
    }
    Py_XSETREF(model->database, (py_database *)database);
    return model->database;
}

/* ---- the hidden class of sparse and deferred instances ---- */

PyTypeObject *py_model_sparse(py_model *model)
{
    if (model->sparse) return model->sparse;
    py_names *names = model->state->names;
    PyObject *type = (PyObject *)model->type;
    PyObject *module = PyObject_GetAttr(type, names->__module__);
    PyObject *qualname = module ? PyObject_GetAttr(type, names->__qualname__) : NULL;
    PyObject *arguments = qualname ? Py_BuildValue("O(OO){sOsO}", py_model_name(model),
                                                   model->state->sparse_type, type, "__module__",
                                                   module, "__qualname__", qualname)
                                   : NULL;
    Py_XDECREF(module);
    Py_XDECREF(qualname);
    if (!arguments) return NULL;
    /* type's own: what a class statement means to a model is no matter here. */
    PyObject *sparse = PyType_Type.tp_new(Py_TYPE(type), arguments, NULL);
    Py_DECREF(arguments);
    if (!sparse) return NULL;
    ((py_model_class *)sparse)->model = model;
    py_instance_set_slots((PyTypeObject *)sparse);
    model->sparse = (PyTypeObject *)sparse;
    return model->sparse;
}

/* ---- ModelType ---- */

PyObject *py_model_type_make(PyTypeObject *metatype, PyObject *args, PyObject *kwargs)
{
    py_state *state = py_state_of_type(metatype);
    PyObject *definition = NULL, *rest = kwargs ? PyDict_Copy(kwargs) : NULL;
    if (kwargs && !rest) return NULL;
    if (rest) {
        definition = PyDict_GetItemWithError(rest, state->names->definition);
        Py_XINCREF(definition);
        if (definition && PyDict_DelItem(rest, state->names->definition) < 0) goto failed;
    }
    PyObject *class = PyType_Type.tp_new(metatype, args, rest);
    if (!class) goto failed;
    py_instance_set_slots((PyTypeObject *)class);
    if (definition && PyDict_Check(definition)) {
        py_model *model = PyMem_Calloc(1, sizeof(py_model));
        if (!model) {
            PyErr_NoMemory();
            Py_CLEAR(class);
            goto failed;
        }
        model->state = state;
        model->type = (PyTypeObject *)class;
        ((py_model_class *)class)->model = model;
        ((py_model_class *)class)->owns = true;
        if (model_setup(model, definition) < 0) Py_CLEAR(class);
    }
    Py_XDECREF(definition);
    Py_XDECREF(rest);
    return class;
failed:
    Py_XDECREF(definition);
    Py_XDECREF(rest);
    return NULL;
}

static int model_type_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)kwargs; /* `definition` was tp_new's */
    return PyType_Type.tp_init(self, args, NULL);
}

static void model_type_dealloc(PyObject *self)
{
    py_model_class *class = (py_model_class *)self;
    PyTypeObject *meta = Py_TYPE(self);
    if (class->owns && class->model) {
        PyObject_GC_UnTrack(self);
        py_model *model = class->model;
        class->model = NULL;
        model_free(model);
        PyObject_GC_Track(self); /* type's dealloc expects it */
    }
    PyType_Type.tp_dealloc(self);
    Py_DECREF(meta);
}

static int model_type_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_model_class *class = (py_model_class *)self;
    Py_VISIT(Py_TYPE(self));
    if (class->owns && class->model) {
        int result = model_traverse(class->model, visit, arg);
        if (result) return result;
    }
    return PyType_Type.tp_traverse(self, visit, arg);
}

static int model_type_clear(PyObject *self)
{
    py_model_class *class = (py_model_class *)self;
    if (class->owns && class->model) model_clear(class->model);
    return PyType_Type.tp_clear(self);
}

static PyObject *model_type_getattro(PyObject *self, PyObject *name)
{
    py_model *model = ((py_model_class *)self)->model;
    if (model) {
        if (py_name_is(name, model->state->names->objects)) return py_queryset_objects(model);
        int index = py_model_find_field(model, name);
        if (index >= 0) return Py_NewRef(model->fields[index].object);
    }
    return PyType_Type.tp_getattro(self, name);
}

/* The class and those that inherit from it ask for their database again. */
static int forget_database(PyObject *self)
{
    py_model *model = ((py_model_class *)self)->model;
    if (model) Py_CLEAR(model->database);
    PyObject *all = PyObject_CallMethod((PyObject *)&PyType_Type, "__subclasses__", "O", self);
    int result = all ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(all); i++)
        result = forget_database(PyList_GET_ITEM(all, i));
    Py_XDECREF(all);
    return result;
}

static int model_type_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    py_model *model = ((py_model_class *)self)->model;
    if (model && py_model_find_field(model, name) >= 0) {
        PyErr_Format(PyExc_AttributeError, "'%U' is a field of the model '%U' and stays one", name,
                     py_model_name(model));
        return -1;
    }
    if (PyType_Type.tp_setattro(self, name, value) < 0) return -1;
    bool is_database = PyUnicode_Check(name) &&
                       PyUnicode_CompareWithASCIIString(name, "__database__") == 0;
    return is_database ? forget_database(self) : 0;
}

/* type.__subclasses__ without the hidden class. */
static PyObject *model_type_subclasses(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *all = PyObject_CallMethod((PyObject *)&PyType_Type, "__subclasses__", "O", self);
    py_model *model = ((py_model_class *)self)->model;
    for (Py_ssize_t i = 0; all && model && i < PyList_GET_SIZE(all); i++) {
        if (PyList_GET_ITEM(all, i) != (PyObject *)model->sparse) continue;
        if (PyList_SetSlice(all, i, i + 1, NULL) < 0) Py_CLEAR(all);
        break;
    }
    return all;
}

static PyMethodDef model_type_methods[] = {
    {"__subclasses__", model_type_subclasses, METH_NOARGS,
     PyDoc_STR("The classes that derive from this one directly.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot model_type_slots[] = {
    {Py_tp_doc, "The class of model classes."},
    {Py_tp_new, py_model_type_make},
    {Py_tp_init, model_type_init},
    {Py_tp_dealloc, model_type_dealloc},
    {Py_tp_traverse, model_type_traverse},
    {Py_tp_clear, model_type_clear},
    {Py_tp_getattro, model_type_getattro},
    {Py_tp_setattro, model_type_setattro},
    {Py_tp_methods, model_type_methods},
    {0, NULL},
};

PyType_Spec py_model_type_spec = {
    .name = "orm._core.ModelType",
    .basicsize = sizeof(py_model_class),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = model_type_slots,
};

/* ---- Schema ---- */

orm_schema *py_schema_get(py_state *state, PyObject *object)
{
    if (PyObject_TypeCheck(object, state->schema_type)) return ((py_schema *)object)->schema;
    PyErr_Format(PyExc_TypeError, "expected a Schema, not %s", Py_TYPE(object)->tp_name);
    return NULL;
}

static PyObject *schema_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "Schema() takes no arguments");
        return NULL;
    }
    py_schema *self = (py_schema *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->schema = orm_schema_new();
    if (self->schema) return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void schema_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    orm_schema_unref(((py_schema *)self)->schema);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot schema_slots[] = {
    {Py_tp_doc, "Models that refer to each other by name."},
    {Py_tp_new, schema_make},
    {Py_tp_dealloc, schema_dealloc},
    {0, NULL},
};

PyType_Spec py_schema_spec = {
    .name = "orm._core.Schema",
    .basicsize = sizeof(py_schema),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = schema_slots,
};
