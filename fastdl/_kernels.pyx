"""The kernel table chosen for this CPU, memory for tensors, and the thread pool."""

import operator
import os
import warnings

cimport cython
cimport numpy as cnp
from cpython.ref cimport Py_INCREF

import numpy as np

cdef extern from "fastdl.h" nogil:
    ctypedef struct fdl_isa_info:
        const char *name
        const char *flags
        int usable
        const fdl_table *f32
        const fdl_table *f64
    int fdl_isa_count()
    const fdl_isa_info *fdl_isa(int i)
    const char *fdl_compiler()
    const char **fdl_kernel_names
    ctypedef struct fdl_memory_stats:
        int64_t live_bytes, peak_bytes, cached_bytes, live_blocks, total_blocks, system_blocks
    void *fdl_alloc(size_t nbytes)
    void fdl_free(void *p, size_t nbytes)
    void fdl_memory(fdl_memory_stats *out)
    void fdl_reset_peak()
    size_t fdl_empty_cache()
    void fdl_fail_alloc(int64_t after)
    int fdl_num_threads()
    int fdl_set_num_threads(int n)
    int fdl_pool_size()
    int fdl_default_num_threads(char *why, int why_size)
    int fdl_set_flush_denormal(int on)
    int fdl_thread_failures()
    void fdl_on_thread_failure(void (*callback)() noexcept nogil)
    void fdl_watch()
    int fdl_unwatch()
    void fdl_on_poll(int (*poll)() noexcept nogil)

cdef extern from "Python.h" nogil:
    int Py_AddPendingCall(int (*function)(void *) noexcept with gil, void *arg)

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(type subtype, cnp.dtype descr, int ndim, npy_intp *shape, npy_intp *strides,
                                void *data, int flags, object obj)

cnp.import_array()

include "_bfloat16.pxi"


# ISA --------------------------------------------------------------------------------------------------------------

cdef str isa_reason = ""


def isas():
    """Built ISAs, best first: [(name, usable on this CPU)]."""
    return [(fdl_isa(i).name.decode(), bool(fdl_isa(i).usable)) for i in range(fdl_isa_count())]


def isa_flags():
    """What each built ISA was compiled with: {name: flags}."""
    return {fdl_isa(i).name.decode(): fdl_isa(i).flags.decode() for i in range(fdl_isa_count())}


def isa():
    """Name of the ISA in use."""
    for i in range(fdl_isa_count()):
        if fdl_isa(i).f32 == F32:
            return fdl_isa(i).name.decode()


def isa_why():
    """Why isa() is in use."""
    return isa_reason


def set_isa(name, reason="set_isa"):
    """Switches every kernel to another ISA (tests and benchmarks; users set FASTDL_ISA).

    Raises:
        ValueError: no such ISA was built, or this CPU cannot run it.
    """
    global F32, F64, isa_reason
    for i in range(fdl_isa_count()):
        if fdl_isa(i).name.decode() == name and fdl_isa(i).usable:
            F32, F64 = fdl_isa(i).f32, fdl_isa(i).f64
            isa_reason = reason
            return
    built = ", ".join(n + ("" if usable else " (not on this CPU)") for n, usable in isas())
    raise ValueError(f"[set_isa] expected one of: {built}; got {name!r}")


def compiler():
    """The compiler that built the kernels."""
    return fdl_compiler().decode()


def kernel_names():
    """Names of all kernels, in the order of csrc/kernels.def."""
    names, i = [], 0
    while fdl_kernel_names[i] != NULL:
        names.append(fdl_kernel_names[i].decode())
        i += 1
    return names


def choose_isa():
    forced = os.environ.get("FASTDL_ISA")
    if not forced:
        set_isa(next(name for name, usable in isas() if usable), "best of those that this CPU can run")
        return
    try:
        set_isa(forced, "FASTDL_ISA")
    except ValueError as error:
        raise ImportError(f"FASTDL_ISA={forced}: {error}") from None


choose_isa()


# Memory -----------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Storage:
    def __dealloc__(self):
        if self.data != NULL:
            fdl_free(self.data, self.nbytes)


cdef ndarray empty_array(int ndim, npy_intp *shape, int typenum):
    """An uninitialised C-contiguous array in the allocator's memory."""
    cdef cnp.dtype descr = cnp.PyArray_DescrFromType(typenum)
    cdef size_t nbytes = cnp.PyDataType_ELSIZE(descr)
    cdef int i
    for i in range(ndim):
        if shape[i] and nbytes > <size_t> 0x7fffffffffffffff // <size_t> shape[i]:
            raise MemoryError(f"a tensor of shape {tuple([shape[i] for i in range(ndim)])} is too large")
        nbytes *= <size_t> shape[i]
    cdef Storage storage = Storage.__new__(Storage)
    storage.data = fdl_alloc(nbytes)
    if storage.data == NULL:
        raise MemoryError(f"cannot allocate {nbytes} bytes for a tensor of shape "
                          f"{tuple([shape[i] for i in range(ndim)])}")
    storage.nbytes = nbytes
    Py_INCREF(descr)
    cdef ndarray a = PyArray_NewFromDescr(ndarray, descr, ndim, shape, NULL, storage.data,
                                              cnp.NPY_ARRAY_CARRAY, None)
    cnp.set_array_base(a, storage)
    return a


cdef Storage storage_of(ndarray a):
    """The Storage that an array made by empty_array (or a view of it) lives in; a new one for foreign memory."""
    base = cnp.get_array_base(a)
    while base is not None:
        if type(base) is Storage:
            return <Storage> base
        if not isinstance(base, ndarray):
            break
        base = cnp.get_array_base(<ndarray> base)
    cdef Storage foreign = Storage.__new__(Storage)
    foreign.exposed = True
    return foreign


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Scratch:
    def __dealloc__(self):
        if self.data != NULL:
            fdl_free(self.data, self.nbytes)


cdef Scratch scratch(int64_t nbytes):
    cdef Scratch s = Scratch.__new__(Scratch)
    if nbytes > 0:
        s.data = fdl_alloc(nbytes)
        if s.data == NULL:
            raise MemoryError(f"cannot allocate {nbytes} bytes of scratch memory")
        s.nbytes = nbytes
    return s


def memory_stats():
    """Allocator counters as a dict (bytes and blocks)."""
    cdef fdl_memory_stats s
    fdl_memory(&s)
    return dict(live_bytes=s.live_bytes, peak_bytes=s.peak_bytes, cached_bytes=s.cached_bytes,
                live_blocks=s.live_blocks, total_blocks=s.total_blocks, system_blocks=s.system_blocks)


def reset_peak():
    """Lets the peak begin anew from what is live."""
    fdl_reset_peak()


def empty_cache():
    """Gives cached blocks back to the system; returns their bytes."""
    cdef size_t nbytes
    with nogil:
        nbytes = fdl_empty_cache()
    return nbytes


def fail_alloc(after):
    """For tests: after that many more blocks, one allocation fails; -1: none does."""
    fdl_fail_alloc(after)


# Interrupts -------------------------------------------------------------------------------------------------------

cdef extern from *:
    """
    static PyObject *fdl_raised[3]; /* by a signal's handler while a kernel ran; only the main thread runs them */

    static int fdl_poll_signals(void) {
        PyGILState_STATE gil = PyGILState_Ensure();
        int stop = PyErr_CheckSignals() != 0;
        if (stop) PyErr_Fetch(&fdl_raised[0], &fdl_raised[1], &fdl_raised[2]);
        PyGILState_Release(gil);
        return stop;
    }

    static int fdl_raise(void) {
        PyErr_Restore(fdl_raised[0], fdl_raised[1], fdl_raised[2]);
        return -1;
    }
    """
    int fdl_poll_signals() noexcept nogil
    int fdl_raise() except -1

fdl_on_poll(fdl_poll_signals)


cdef int watch(double fmas) noexcept:
    if fmas >= WATCH_FMAS:
        fdl_watch()
    return 0


cdef int unwatch() except -1:
    if fdl_unwatch():
        fdl_raise()
    return 0


# Threads ----------------------------------------------------------------------------------------------------------

cdef str threads_reason = ""


def get_num_threads():
    """Threads that a kernel may use."""
    return fdl_num_threads()


def set_num_threads(n):
    """Sets how many threads a kernel may use, at most 256. Results do not depend on it. With 1 the process has no
    thread of fastdl's. Call it while no other Python thread computes.

    Raises:
        TypeError: n is not a whole number.
        RuntimeError: n < 1.
    """
    global threads_reason
    cdef int count
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"[set_num_threads] n: expected a whole number, got {n!r}")
    if n < 1:
        raise RuntimeError(f"[set_num_threads] n: expected at least 1, got {n}")
    count = min(operator.index(n), 256)
    with nogil:
        fdl_set_num_threads(count)
    threads_reason = "set_num_threads"


def set_flush_denormal(mode):
    """Has the CPU take denormal numbers (float32: below 1.2e-38) for 0 and make none, in this thread and in what its
    calls compute on others. Returns whether the CPU can. As torch.set_flush_denormal. Gradients that small can make a
    step ninety times slower.

    Raises:
        TypeError: mode is not a bool.
    """
    if not isinstance(mode, bool):
        raise TypeError(f"[set_flush_denormal] mode: expected a bool, got {mode!r}")
    return fdl_set_flush_denormal(mode is True) != 0


def threads_why():
    """Why there are get_num_threads() threads."""
    return threads_reason


def default_num_threads():
    """(count, why): affinity mask and container quota."""
    cdef char why[256]
    why[0] = 0
    cdef int n = fdl_default_num_threads(why, sizeof(why))
    return n, (<bytes> why).decode()


def pool_size():
    """Worker threads alive; the calling thread is not one of them."""
    return fdl_pool_size()


cdef int warn_of_refusal(void *arg) noexcept with gil:
    cdef int refused = fdl_thread_failures()
    if refused:
        warnings.warn(f"the system refused {refused} of fastdl's {fdl_num_threads()} threads; going on with fewer",
                      RuntimeWarning)
    return 0


cdef void on_refusal() noexcept nogil:
    Py_AddPendingCall(warn_of_refusal, NULL)  # kernels run without the GIL: the warning comes when Python goes on


def choose_num_threads():
    global threads_reason
    forced = os.environ.get("FASTDL_NUM_THREADS")
    if forced:
        if not (forced.isascii() and forced.isdigit() and len(forced) < 10 and int(forced) >= 1):
            raise ImportError(f"FASTDL_NUM_THREADS={forced}: expected a whole number >= 1")
        set_num_threads(int(forced))
        threads_reason = "FASTDL_NUM_THREADS"
    else:
        count, why = default_num_threads()
        fdl_set_num_threads(count)
        threads_reason = why
    fdl_on_thread_failure(on_refusal)


choose_num_threads()
