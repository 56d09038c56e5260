"""What every call of a module and every look-up of its parameters goes through, compiled: a layer fetches two or three
parameters in each call."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from .._tensor cimport is_watched

from . import _report
from ..autograd.watch import watcher


cdef extern from *:
    """
    /* a look-up without the AttributeError that a miss would cost: NULL then */
    static PyObject *fdl_find(PyObject *object, PyObject *name) {
        return _PyObject_GenericGetAttrWithDict(object, name, NULL, 1);
    }
    typedef PyObject *(*fdl_call)(PyObject *, PyObject *, PyObject *);
    static void fdl_set_slots(PyObject *type, getattrofunc get, fdl_call call) {
        ((PyTypeObject *) type)->tp_getattro = get;
        ((PyTypeObject *) type)->tp_call = call;
    }
    """
    PyObject *fdl_find(object o, object name) except? NULL
    void fdl_set_slots(object type, PyObject *(*get)(PyObject *, PyObject *) except NULL,
                       PyObject *(*call)(PyObject *, PyObject *, PyObject *) except NULL)
    object PyObject_Call(object function, PyObject *args, PyObject *kwargs)


cdef object find(object module, str name):
    """The attribute; None if there is none."""
    cdef PyObject *found = fdl_find(module, name)
    if found is NULL:
        return None
    value = <object> found
    Py_DECREF(value)
    return value


cdef object find_member(object module, str name):
    """A parameter, child or buffer."""
    cdef PyObject *value
    cdef str kind
    for kind in ("_parameters", "_modules", "_buffers"):
        group = find(module, kind)
        if group is None:
            break
        value = PyDict_GetItemWithError(group, name)
        if value is not NULL:
            return <object> value
    raise AttributeError(f"'{type(module).__name__}' object has no attribute '{name}'", name=name, obj=module)


# Slots: without the wrappers and dictionaries that Cython puts around methods.

cdef PyObject *get_slot(PyObject *module, PyObject *name) except NULL:
    cdef PyObject *found = fdl_find(<object> module, <object> name)
    if found is NULL:
        value = find_member(<object> module, <object> name)
        Py_INCREF(value)
        return <PyObject *> value
    return found


cdef PyObject *call_slot(PyObject *module, PyObject *args, PyObject *kwargs) except NULL:
    self = <object> module
    try:
        if not is_watched() and find(self, "_hooked") is False:
            result = PyObject_Call(self.forward, args, kwargs)
        else:
            result = self._call(<object> args, {} if kwargs is NULL else <object> kwargs)
    except Exception as error:
        _report.note_module(error, self)
        raise
    Py_INCREF(result)
    return <PyObject *> result


cdef class ModuleBase:
    _hooked = False  # whether a hook on calls was ever registered

    def __getattribute__(self, name):
        result = <object> get_slot(<PyObject *> self, <PyObject *> name)
        Py_DECREF(result)
        return result

    def __getattr__(self, name):  # for subclasses whose own one calls it
        return find_member(self, name)

    def __call__(self, *args, **kwargs):  # what `super().__call__` finds
        result = <object> call_slot(<PyObject *> self, <PyObject *> args, <PyObject *> kwargs)
        Py_DECREF(result)
        return result

    def _call(self, args, kwargs):
        if watcher.active:
            return watcher.call(self, self._call_with_hooks, args, kwargs)
        return self._call_with_hooks(args, kwargs)


fdl_set_slots(ModuleBase, get_slot, call_slot)
