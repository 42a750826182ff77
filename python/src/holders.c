/* holders.c - who holds the connections, in words, for errors of those that wait in vain.
 *
 * Nothing is kept for it while all goes well: the core remembers addresses of tasks, and names are
 * looked up when such an error is made.  An address is believed only when a task that is alive
 * has it.
 */
#include <time.h>

#include "ops.h"

#define MOST_SHOWN 8
#define NAMES_NS 100000000u /* many may be told at the same time: names are that old at most */

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- names of tasks ---- */

static PyObject *task_name(PyObject *task)
{
    PyObject *name = PyObject_CallMethod(task, "get_name", NULL);
    PyObject *text = name ? PyUnicode_FromFormat("task %.80R", name) : NULL;
    Py_XDECREF(name);
    return text;
}

static int add_name(PyObject *names, PyObject *task)
{
    PyObject *key = PyLong_FromVoidPtr(task), *name = task_name(task);
    int result = key && name ? PyDict_SetItem(names, key, name) : -1;
    Py_XDECREF(key);
    Py_XDECREF(name);
    return result;
}

/* By the addresses of the loop's tasks. */
static PyObject *collect_names(PyObject *loop)
{
    PyObject *names = PyDict_New(), *asyncio = PyImport_ImportModule("asyncio");
    PyObject *tasks = asyncio ? PyObject_CallMethod(asyncio, "all_tasks", "O", loop) : NULL;
    PyObject *iterator = tasks ? PyObject_GetIter(tasks) : NULL;
    for (PyObject *task; names && iterator && (task = PyIter_Next(iterator));) {
        if (add_name(names, task) < 0) Py_CLEAR(names);
        Py_DECREF(task);
    }
    if (PyErr_Occurred()) Py_CLEAR(names);
    Py_XDECREF(iterator);
    Py_XDECREF(tasks);
    Py_XDECREF(asyncio);
    return names;
}

static PyObject *names_of(py_engine *self)
{
    uint64_t now = clock_now();
    if (self->names && now - self->names_ns < NAMES_NS) return self->names;
    PyObject *loop = self->loop ? py_weakref_peek(self->loop) : NULL;
    PyObject *names = loop ? collect_names(loop) : PyDict_New();
    if (!names) return NULL;
    self->names_ns = now;
    Py_XSETREF(self->names, names);
    return names;
}

static PyObject *name_operation(py_engine *self, const orm_holder *holder)
{
    PyObject *names = names_of(self), *key = PyLong_FromVoidPtr((void *)holder->caller);
    PyObject *name = names && key ? PyDict_GetItemWithError(names, key) : NULL;
    Py_XDECREF(key);
    if (name) return Py_NewRef(name);
    return PyErr_Occurred() ? NULL : PyUnicode_FromString("an operation outside of tasks");
}

static PyObject *name_transaction(py_engine *self, const orm_holder *holder)
{
    py_transaction *one = self->transactions;
    while (one && one->handle != holder->transaction) one = one->next;
    if (!one) return PyUnicode_FromString("a transaction that was given up");
    if (!one->owner) return PyUnicode_FromString("a transaction outside of tasks");
    PyObject *task = py_weakref_peek(one->owner);
    if (!task) return PyUnicode_FromString("a transaction whose task has ended");
    Py_INCREF(task);
    PyObject *name = task_name(task);
    PyObject *done = name ? PyObject_CallMethod(task, "done", NULL) : NULL;
    PyObject *text = done ? PyUnicode_FromFormat("a transaction of %U%s", name,
                                                 done == Py_True ? ", which has ended," : "")
                          : NULL;
    Py_XDECREF(done);
    Py_XDECREF(name);
    Py_DECREF(task);
    return text;
}

/* ---- the text ---- */

static PyObject *describe(py_engine *self, const orm_holder *holder)
{
    PyObject *who;
    if (holder->kind == ORM_HOLDER_TRANSACTION)
        who = name_transaction(self, holder);
    else if (holder->kind == ORM_HOLDER_OPERATION)
        who = name_operation(self, holder);
    else
        who = PyUnicode_FromString("one that is made ready");
    if (!who) return NULL;
    PyObject *text = PyUnicode_FromFormat("%U for %llu ms", who,
                                          (unsigned long long)(holder->held_ns / 1000000u));
    Py_DECREF(who);
    return text;
}

PyObject *py_holders_text(py_engine *self)
{
    orm_holder holders[MOST_SHOWN];
    size_t n = self->engine ? orm_engine_holders(self->engine, holders, MOST_SHOWN) : 0;
    size_t shown = n < MOST_SHOWN ? n : MOST_SHOWN;
    PyObject *text = PyUnicode_FromString("");
    for (size_t i = 0; i < shown && text; i++) {
        PyObject *one = describe(self, &holders[i]);
        PyObject *longer = one ? PyUnicode_FromFormat("%U%s%U", text, i ? ", " : "; held by ", one)
                               : NULL;
        Py_XDECREF(one);
        Py_SETREF(text, longer);
    }
    if (text && n > shown)
        Py_SETREF(text, PyUnicode_FromFormat("%U and %zu more", text, n - shown));
    return text;
}
