/* compat.h - the differences between CPython 3.10 and 3.14, in one place. */
#ifndef ORM_PY_COMPAT_H
#define ORM_PY_COMPAT_H
#include <Python.h>
#include <structmember.h>

#ifndef Py_T_OBJECT_EX
#  define Py_T_OBJECT_EX T_OBJECT_EX
#  define Py_READONLY READONLY
#endif

/* The object that a weak reference stands for, borrowed, or NULL.  Only for comparing, or where
 * something else keeps the object alive. */
static inline PyObject *py_weakref_peek(PyObject *reference)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    if (PyWeakref_GetRef(reference, &object) <= 0)
        return NULL;
    Py_DECREF(object);
    return object;
#else
    PyObject *object = PyWeakref_GET_OBJECT(reference);
    return object == Py_None ? NULL : object;
#endif
}

/* The unsigned number that these bytes are, most significant first. */
static inline PyObject *py_long_from_bytes(const void *bytes, size_t n)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyLong_FromUnsignedNativeBytes(bytes, n, Py_ASNATIVEBYTES_BIG_ENDIAN);
#else
    return _PyLong_FromByteArray(bytes, n, 0, 0);
#endif
}
#endif
