# bfloat16 as a NumPy dtype: float32's upper half, to store numbers in. Arithmetic is done in float32: NumPy's functions
# convert by themselves, ours through to_type. Rounds to nearest, ties to even; NaN stays NaN.
# Its kind is "f", as that of every floating-point type here; "<f2" would name float16 in a file or in another library's
# eyes, so that such arrays do not leave the package: Tensor.numpy() refuses, as PyTorch's does.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef uint16_t bf16;

    static inline float bf16_up(bf16 h) {
        uint32_t bits = (uint32_t)h << 16;
        float x;
        memcpy(&x, &bits, 4);
        return x;
    }
    static inline bf16 bf16_down(float x) {
        uint32_t bits;
        memcpy(&bits, &x, 4);
        uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        return (bf16)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
    }

    static bf16 bf16_read(const void *p) {
        bf16 h;
        memcpy(&h, p, 2);
        return h;
    }
    static PyObject *bf16_getitem(void *p, void *array) {
        (void)array;
        return PyFloat_FromDouble(bf16_up(bf16_read(p)));
    }
    static int bf16_setitem(PyObject *value, void *p, void *array) {
        (void)array;
        double x = PyFloat_AsDouble(value);
        if (x == -1 && PyErr_Occurred()) return -1;
        bf16 h = bf16_down((float)x);
        memcpy(p, &h, 2);
        return 0;
    }
    static void bf16_copyswapn(void *to, npy_intp step, void *from, npy_intp from_step, npy_intp n, int swap, void *array) {
        (void)array;
        for (npy_intp i = 0; i < n; i++) {
            bf16 h = bf16_read(from ? (char *)from + i * from_step : (char *)to + i * step);
            if (swap) h = (bf16)(h << 8 | h >> 8);
            memcpy((char *)to + i * step, &h, 2);
        }
    }
    static void bf16_copyswap(void *to, void *from, int swap, void *array) { bf16_copyswapn(to, 2, from, 2, 1, swap, array); }
    static npy_bool bf16_nonzero(void *p, void *array) {
        (void)array;
        return bf16_up(bf16_read(p)) != 0;
    }
    /* NaN after all numbers, as NumPy sorts */
    static int bf16_compare(const void *p, const void *q, void *array) {
        (void)array;
        float x = bf16_up(bf16_read(p)), y = bf16_up(bf16_read(q));
        return x < y || (y != y && x == x) ? -1 : x > y || (x != x && y == y);
    }
    static int bf16_argbest(bf16 *p, npy_intp n, npy_intp *at, float sign) {
        *at = 0;
        for (npy_intp i = 0; i < n; i++) {
            float x = sign * bf16_up(p[i]);
            if (x != x) return *at = i, 0;
            if (x > sign * bf16_up(p[*at])) *at = i;
        }
        return 0;
    }
    static int bf16_argmax(void *p, npy_intp n, npy_intp *at, void *a) { (void)a; return bf16_argbest((bf16 *)p, n, at, 1); }
    static int bf16_argmin(void *p, npy_intp n, npy_intp *at, void *a) { (void)a; return bf16_argbest((bf16 *)p, n, at, -1); }

    #define BF16_CASTS(T, name) \\
        static void bf16_to_##name(void *from, void *to, npy_intp n, void *a, void *b) { \\
            (void)a, (void)b; \\
            for (npy_intp i = 0; i < n; i++) ((T *)to)[i] = (T)bf16_up(((bf16 *)from)[i]); \\
        } \\
        static void name##_to_bf16(void *from, void *to, npy_intp n, void *a, void *b) { \\
            (void)a, (void)b; \\
            for (npy_intp i = 0; i < n; i++) ((bf16 *)to)[i] = bf16_down((float)((T *)from)[i]); \\
        }
    BF16_CASTS(float, f32) BF16_CASTS(double, f64) BF16_CASTS(int64_t, i64) BF16_CASTS(long long, ill) BF16_CASTS(int32_t, i32)
    BF16_CASTS(int16_t, i16) BF16_CASTS(int8_t, i8) BF16_CASTS(uint8_t, u8)

    static void bf16_to_bool(void *from, void *to, npy_intp n, void *a, void *b) {
        (void)a, (void)b;
        for (npy_intp i = 0; i < n; i++) ((npy_bool *)to)[i] = bf16_up(((bf16 *)from)[i]) != 0;
    }
    static int bf16_register(PyObject *scalar) {
        static PyArray_ArrFuncs f;
        static PyArray_DescrProto proto = {PyObject_HEAD_INIT(NULL)};
        static const struct { int type; PyArray_VectorUnaryFunc *from, *to; } casts[] = {
            {NPY_FLOAT, f32_to_bf16, bf16_to_f32}, {NPY_DOUBLE, f64_to_bf16, bf16_to_f64}, {NPY_INT64, i64_to_bf16, bf16_to_i64},
            {NPY_LONGLONG, ill_to_bf16, bf16_to_ill}, {NPY_INT32, i32_to_bf16, bf16_to_i32},
            {NPY_INT16, i16_to_bf16, bf16_to_i16}, {NPY_INT8, i8_to_bf16, bf16_to_i8}, {NPY_UINT8, u8_to_bf16, bf16_to_u8},
            {NPY_BOOL, u8_to_bf16, bf16_to_bool}}; /* not float16: NumPy would take it for one that holds bfloat16 */
        PyArray_InitArrFuncs(&f);
        f.getitem = bf16_getitem;
        f.setitem = bf16_setitem;
        f.copyswap = bf16_copyswap;
        f.copyswapn = bf16_copyswapn;
        f.nonzero = bf16_nonzero;
        f.compare = bf16_compare;
        f.argmax = bf16_argmax;
        f.argmin = bf16_argmin;
        proto.typeobj = (PyTypeObject *)scalar;
        proto.kind = 'f';
        proto.type = 'E';
        proto.byteorder = '=';
        proto.flags = NPY_USE_GETITEM;
        proto.elsize = 2;
        proto.alignment = 2;
        proto.f = &f;
        Py_SET_TYPE(&proto, &PyArrayDescr_Type);
        int num = PyArray_RegisterDataType(&proto);
        if (num < 0) return -1;
        PyArray_Descr *descr = PyArray_DescrFromType(num); /* lives as long as the process */
        for (size_t i = 0; i < sizeof casts / sizeof *casts; i++) {
            PyArray_Descr *other = PyArray_DescrFromType(casts[i].type);
            int failed = PyArray_RegisterCastFunc(other, num, casts[i].from)
                || PyArray_RegisterCastFunc(descr, casts[i].type, casts[i].to);
            Py_DECREF(other);
            if (failed) return -1;
        }
        if (PyArray_RegisterCanCast(descr, NPY_FLOAT, NPY_NOSCALAR) || PyArray_RegisterCanCast(descr, NPY_DOUBLE, NPY_NOSCALAR))
            return -1;
        return num;
    }
    """
    int bf16_register(object scalar) except -1


class bfloat16(np.generic):
    """The type that NumPy knows bfloat16 by. Elements are read as Python floats."""


bf16_register(bfloat16)
