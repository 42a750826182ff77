/* module.c - orm._core: its state, its types, its constants. */
#include "data.h"
#include "ops.h"

PyObject *py_import_get(py_state *state, int which)
{
    static const struct {
        const char *module, *attribute;
    } sources[PY_IMPORT_COUNT] = {
#define PY_IMPORT_SOURCE(constant, module, attribute) {module, attribute},
        PY_IMPORTS(PY_IMPORT_SOURCE)
#undef PY_IMPORT_SOURCE
    };
    PyObject **slot = &state->imports->items[which];
    if (*slot) return *slot;
    PyObject *module = PyImport_ImportModule(sources[which].module);
    if (!module) return NULL;
    PyObject *object = PyObject_GetAttrString(module, sources[which].attribute);
    Py_DECREF(module);
    if (!object) return NULL;
    Py_XSETREF(*slot, object); /* an import inside the import may have filled it */
    return object;
}

int py_import_check(py_state *state, int which, PyObject *object)
{
    PyObject *type = py_import_get(state, which);
    if (!type) return -1;
    return PyObject_TypeCheck(object, (PyTypeObject *)type);
}

py_state *py_state_of_type(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    Py_ssize_t n = mro ? PyTuple_GET_SIZE(mro) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!(base->tp_flags & Py_TPFLAGS_HEAPTYPE)) continue;
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module && PyModule_GetDef(module) == &py_module_def) return PyModule_GetState(module);
    }
    return NULL;
}

static int add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec, PyTypeObject *base,
                    bool public)
{
    PyObject *bases = base ? PyTuple_Pack(1, base) : NULL;
    if (base && !bases) return -1;
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
    Py_XDECREF(bases);
    if (!*slot) return -1;
    return public ? PyModule_AddType(module, *slot) : 0;
}

static int add_types(PyObject *module, py_state *state)
{
    if (add_type(module, &state->model_type, &py_model_type_spec, &PyType_Type, true) ||
        add_type(module, &state->instance_type, &py_instance_spec, NULL, true) ||
        add_type(module, &state->sparse_type, &py_sparse_spec, NULL, false) ||
        add_type(module, &state->reference_type, &py_reference_spec, NULL, false) ||
        add_type(module, &state->schema_type, &py_schema_spec, NULL, true) ||
        add_type(module, &state->queryset_type, &py_queryset_spec, NULL, true) ||
        add_type(module, &state->operation_type, &py_operation_spec, NULL, true) ||
        add_type(module, &state->database_type, &py_database_spec, NULL, true) ||
        add_type(module, &state->transaction_type, &py_transaction_spec, NULL, true) ||
        add_type(module, &state->iterator_type, &py_iterator_spec, NULL, false))
        return -1;
    py_instance_set_slots(state->instance_type);
    return 0;
}

static int add_names(py_state *state)
{
    py_names *names = state->names = PyMem_Calloc(1, sizeof(py_names));
    state->imports = PyMem_Calloc(1, sizeof(py_imports));
    if (!names || !state->imports) {
        PyErr_NoMemory();
        return -1;
    }
#define PY_NAME_INTERN(name) \
    if (!(names->name = PyUnicode_InternFromString(#name))) return -1;
    PY_NAMES(PY_NAME_INTERN)
#undef PY_NAME_INTERN
    names->int_ = PyUnicode_InternFromString("int");
    return names->int_ ? 0 : -1;
}

static int add_constants(PyObject *module)
{
    static const struct {
        const char *name;
        int value;
    } constants[] = {
#define PY_TYPE_CONSTANT(constant, number, text) {#constant, number},
        ORM_TYPE_MAP(PY_TYPE_CONSTANT)
#undef PY_TYPE_CONSTANT
    };
    for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++) {
        const char *name = constants[i].name + strlen("ORM_");
        if (PyModule_AddIntConstant(module, name, constants[i].value) < 0) return -1;
    }
    return PyModule_AddStringConstant(module, "version", orm_version());
}

/* One interpreter, one lock: the core calls back on the engine's thread and counts on it. */
static int check_interpreter(void)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError, "orm does not run on free-threaded builds of Python");
    return -1;
#else
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) return 0;
    PyErr_SetString(PyExc_ImportError, "orm does not run in subinterpreters");
    return -1;
#endif
}

static int module_exec(PyObject *module)
{
    py_state *state = PyModule_GetState(module);
    if (check_interpreter() < 0 || py_temporal_init() < 0) return -1;
    if (add_names(state) < 0 || py_errors_init(state) < 0) return -1;
    if (add_constants(module) < 0 || add_types(module, state) < 0) return -1;
    return py_ops_init(module, state);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    py_state *state = PyModule_GetState(module);
    if (!state) return 0;
    Py_VISIT(state->model_type);
    Py_VISIT(state->instance_type);
    Py_VISIT(state->sparse_type);
    Py_VISIT(state->reference_type);
    Py_VISIT(state->schema_type);
    Py_VISIT(state->queryset_type);
    Py_VISIT(state->operation_type);
    Py_VISIT(state->database_type);
    Py_VISIT(state->transaction_type);
    Py_VISIT(state->iterator_type);
    Py_VISIT(state->validation_error);
    for (size_t i = 0; i < 64; i++) Py_VISIT(state->exceptions[i]);
    for (size_t i = 0; state->imports && i < PY_IMPORT_COUNT; i++)
        Py_VISIT(state->imports->items[i]);
    return py_ops_traverse(state, visit, arg);
}

static int module_clear(PyObject *module)
{
    py_state *state = PyModule_GetState(module);
    if (!state) return 0;
    Py_CLEAR(state->model_type);
    Py_CLEAR(state->instance_type);
    Py_CLEAR(state->sparse_type);
    Py_CLEAR(state->reference_type);
    Py_CLEAR(state->schema_type);
    Py_CLEAR(state->queryset_type);
    Py_CLEAR(state->operation_type);
    Py_CLEAR(state->database_type);
    Py_CLEAR(state->transaction_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->validation_error);
    for (size_t i = 0; i < 64; i++) Py_CLEAR(state->exceptions[i]);
    for (size_t i = 0; state->imports && i < PY_IMPORT_COUNT; i++)
        Py_CLEAR(state->imports->items[i]);
    return 0;
}

static void module_free(void *module)
{
    py_state *state = PyModule_GetState(module);
    if (!state) return;
    module_clear(module);
    if (state->names) {
#define PY_NAME_DROP(name) Py_CLEAR(state->names->name);
        PY_NAMES(PY_NAME_DROP)
#undef PY_NAME_DROP
        Py_CLEAR(state->names->int_);
    }
    py_ops_free(state); /* objects that are collected later than this module's cycle need it */
    PyMem_Free(state->names);
    PyMem_Free(state->imports);
    state->names = NULL;
    state->imports = NULL;
}

static PyMethodDef module_methods[] = {
    {"asdict", py_instance_asdict, METH_O,
     PyDoc_STR(
         "asdict(instance, /)\n--\n\n"
         "The values that are set, by field name; of related instances that are loaded a dict,\n"
         "of others their key.")},
    {"on_implicit_load", py_group_on_load, METH_O,
     PyDoc_STR(
         "on_implicit_load(callback, /)\n--\n\n"
         "Calls it with an ImplicitLoad for each load() that fetches the relation of the other rows\n"
         "as well; what this returns takes it back when it is called.")},
    {"validate", py_field_check, METH_VARARGS,
     PyDoc_STR("validate(field, value, /)\n--\n\nThe value by the field's built-in rules.")},
    {"new_row", py_write_new_row, METH_VARARGS,
     PyDoc_STR("new_row(model, values, /)\n--\n\n"
               "An instance as create() makes it, not written.")},
    {"with_given", py_queryset_with_given, METH_VARARGS,
     PyDoc_STR("with_given(queryset, values, /)\n--\n\n"
               "The queryset, whose created rows have these values unless they say otherwise.")},
    {"run_now", py_operation_run_now, METH_O,
     PyDoc_STR("run_now(operation, /)\n--\n\n"
               "Runs it to its end without an event loop: an operation with the result.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef py_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "orm._core",
    .m_doc = PyDoc_STR("The engine of the package orm."),
    .m_size = sizeof(py_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&py_module_def);
}
