/* hooks.c - callbacks that somebody has asked for, each with a handle that takes it back.
 *
 * The handle keeps the list rather than what the list belongs to: nobody is kept alive by it.
 */
#include "ops.h"

/* `self`: (list, entry). */
static PyObject *hook_remove(PyObject *self, PyObject *unused)
{
    PyObject *list = PyTuple_GET_ITEM(self, 0), *entry = PyTuple_GET_ITEM(self, 1);
    (void)unused;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        if (PyList_GET_ITEM(list, i) != entry) continue;
        if (PyList_SetSlice(list, i, i + 1, NULL) < 0) return NULL;
        break;
    }
    Py_RETURN_NONE;
}

static PyMethodDef remove_method = {"remove", hook_remove, METH_NOARGS,
                                    "remove(): the callback is called no more."};

PyObject *py_hooks_add(PyObject **list, PyObject *callback, const char *name)
{
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a callable, not %.100s", name,
                     Py_TYPE(callback)->tp_name);
        return NULL;
    }
    if (!*list && !(*list = PyList_New(0))) return NULL;
    PyObject *entry = PyTuple_Pack(1, callback); /* the same callback may be there twice */
    PyObject *pair = entry ? PyTuple_Pack(2, *list, entry) : NULL;
    PyObject *handle = pair ? PyCFunction_New(&remove_method, pair) : NULL;
    if (handle && PyList_Append(*list, entry) < 0) Py_CLEAR(handle);
    Py_XDECREF(pair);
    Py_XDECREF(entry);
    return handle;
}

void py_hooks_call(PyObject *list, PyObject *event)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *entries = PyList_AsTuple(list); /* a hook may remove itself */
    for (Py_ssize_t i = 0; entries && i < PyTuple_GET_SIZE(entries); i++) {
        PyObject *hook = PyTuple_GET_ITEM(PyTuple_GET_ITEM(entries, i), 0);
        PyObject *result = PyObject_CallOneArg(hook, event);
        if (!result) PyErr_WriteUnraisable(hook);
        Py_XDECREF(result);
    }
    if (!entries) PyErr_WriteUnraisable(NULL);
    Py_XDECREF(entries);
    PyErr_Restore(type, value, traceback);
}
