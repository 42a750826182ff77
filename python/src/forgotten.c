/* forgotten.c - the warning of a transaction that nobody has ended.
 *
 * It is rolled back and its connection is free again; that it was open is a mistake of the
 * program.  Where it began is remembered in asyncio's debug mode alone: walking frames costs more
 * than beginning.
 */
#include "ops.h"

/* Our own Python frames say nothing to whoever looks for the mistake. */
static bool is_ours(PyObject *filename)
{
    const char *path = PyUnicode_AsUTF8(filename);
    const char *ours = path ? strstr(path, "orm/transactions.py") : NULL;
    if (!path) PyErr_Clear();
    return ours && !ours[strlen("orm/transactions.py")];
}

static PyObject *site_of(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *filename = PyObject_GetAttrString((PyObject *)code, "co_filename");
    PyObject *site = NULL;
    if (filename && !is_ours(filename))
        site = PyUnicode_FromFormat("%U:%d", filename, PyFrame_GetLineNumber(frame));
    Py_XDECREF(filename);
    Py_DECREF(code);
    return site;
}

int py_site_remember(py_transaction *self, PyObject *loop)
{
    PyObject *debug = PyObject_CallMethod(loop, "get_debug", NULL);
    if (!debug) return -1;
    Py_DECREF(debug);
    if (debug != Py_True) return 0;
    PyFrameObject *frame = PyEval_GetFrame();
    Py_XINCREF(frame);
    while (frame && !self->site) {
        self->site = site_of(frame);
        if (PyErr_Occurred()) break;
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return PyErr_Occurred() ? -1 : 0;
}

void py_transaction_warn(PyObject *object)
{
    py_transaction *self = (py_transaction *)object;
    if (!self->handle || self->closed || self->running) return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    const char *what = self->parent ? "savepoint" : "transaction";
    int failed = self->site
                     ? PyErr_ResourceWarning(object, 1,
                                             "a %s was never ended and is rolled back; it began "
                                             "at %U",
                                             what, self->site)
                     : PyErr_ResourceWarning(object, 1,
                                             "a %s was never ended and is rolled back; asyncio's "
                                             "debug mode says where it began",
                                             what);
    if (failed < 0) PyErr_WriteUnraisable(object);
    py_transaction_abandon(self); /* also when whoever records warnings keeps it with them */
    PyErr_Restore(type, value, traceback);
}
