/* reference.c - the descriptor of a foreign key: reads as the related object.
 *
 * The instance holds the raw key; the object that stands for it is made at the first read and
 * kept from then on.
 */
#include "data.h"

PyObject *py_reference_new(py_model *model, Py_ssize_t index)
{
    PyTypeObject *type = model->state->reference_type;
    py_reference *self = PyObject_GC_New(py_reference, type);
    if (!self) return NULL;
    self->type = (PyTypeObject *)Py_NewRef((PyObject *)model->type);
    self->index = index;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *reference_get(PyObject *object, PyObject *instance, PyObject *type)
{
    (void)type;
    py_reference *self = (py_reference *)object;
    if (!instance || instance == Py_None) return Py_NewRef(object);
    if (!self->type || !PyObject_TypeCheck(instance, self->type)) {
        PyErr_Format(PyExc_TypeError, "this reference does not belong to a '%s' object",
                     Py_TYPE(instance)->tp_name);
        return NULL;
    }
    return py_instance_reference((py_instance *)instance, ((py_model_class *)self->type)->model,
                                 self->index);
}

static int reference_set(PyObject *object, PyObject *instance, PyObject *value)
{
    py_reference *self = (py_reference *)object;
    if (!self->type || !PyObject_TypeCheck(instance, self->type)) {
        PyErr_SetString(PyExc_TypeError, "this reference does not belong to the object");
        return -1;
    }
    py_model *model = ((py_model_class *)self->type)->model;
    return py_instance_set_attribute(instance, model->fields[self->index].name, value);
}

static int reference_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((py_reference *)self)->type);
    return 0;
}

static int reference_clear(PyObject *self)
{
    Py_CLEAR(((py_reference *)self)->type);
    return 0;
}

static void reference_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    reference_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot reference_slots[] = {
    {Py_tp_doc, "A foreign key: the related object, made sparse when only its key is known."},
    {Py_tp_descr_get, reference_get},
    {Py_tp_descr_set, reference_set},
    {Py_tp_traverse, reference_traverse},
    {Py_tp_clear, reference_clear},
    {Py_tp_dealloc, reference_dealloc},
    {0, NULL},
};

PyType_Spec py_reference_spec = {
    .name = "orm._core.Reference",
    .basicsize = sizeof(py_reference),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = reference_slots,
};
