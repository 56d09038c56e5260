"""cross_entropy and nll_loss; the other losses are composed of operators in nn/functional.py."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp

import numpy as np

from .reduction import reduction_of

from .._kernels cimport (ELEM_FMAS, FDL_MUL, FDL_REDUCTION_MEAN, FDL_REDUCTION_NONE, FDL_REDUCTION_SUM, Scratch, fdl_table,
                        scratch, unwatch, watch)
from .._tensor cimport (Node, Tensor, alias, attach, cast, contiguous, edge, empty, empty_like, grad_enabled, is_fast, is_half,
                        kernels, own_array, wants, wrap)
from .common cimport GIL_ELEMS, MAX_DIMS, same_shape, shape_of, to_type

cnp.import_array()

cdef enum:
    PLANE_POSITIONS = 8     # of (N, C, d..) from which classes that lie apart are left so: half a vector


# Arguments --------------------------------------------------------------------------------------------------------

cdef int reduction_code(str op, object reduction, object size_average, object reduce) except -1:
    if size_average is not None or reduce is not None:
        reduction = reduction_of(op, reduction, size_average, reduce)
    if reduction == "mean":
        return FDL_REDUCTION_MEAN
    if reduction == "none":
        return FDL_REDUCTION_NONE
    if reduction == "sum":
        return FDL_REDUCTION_SUM
    reduction_of(op, reduction)  # raises


cdef tuple target_shape(str op, tuple shape, tuple target):
    """The shape of class indices for scores (C), (N, C) or (N, C, d..)."""
    if len(shape) == 2 and len(target) == 1 and shape[0] == target[0] and shape[1] > 0:
        return target
    cdef tuple expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if not shape:
        raise ValueError(f"[{op}] input: expected shape (C), (N, C) or (N, C, d1, ..), got ()")
    if target != expected:
        raise (ValueError if len(shape) == 1 or shape[:1] != target[:1] else RuntimeError)(
            f"[{op}] target: expected one class per row of input {shape}, that is shape {expected}, got "
                         f"{target}")
    if shape[0 if len(shape) == 1 else 1] == 0:
        raise ValueError(f"[{op}] input: expected at least one class, got shape {shape}")
    return expected


cdef Tensor class_indices(str op, Tensor target):
    if cnp.PyArray_TYPE(target.a) != cnp.NPY_INT64 and (<object> target.a).dtype.kind not in "iu":
        raise RuntimeError(f"[{op}] target: expected class indices (int64), or for cross_entropy probabilities of "
                           f"input's shape, got {target.dtype} of shape {shape_of(target)}")
    return contiguous(cast(target, cnp.NPY_INT64))


cdef Tensor class_weights(str op, Tensor weight, int typenum, Py_ssize_t classes):
    if weight is None:
        return None
    if cnp.PyArray_NDIM(weight.a) != 1 or cnp.PyArray_SIZE(weight.a) != classes:
        raise RuntimeError(f"[{op}] weight: expected one number per class, shape ({classes},), got {shape_of(weight)}")
    return contiguous(cast(weight, typenum))


cdef int bad_class(str op, Tensor target, int64_t at, Py_ssize_t classes) except -1:
    """Raises for the target at flat position `at`."""
    flat = (<object> target.a).reshape(-1)
    where = ", ".join([str(i) for i in np.unravel_index(at, (<object> target.a).shape)])
    raise IndexError(f"[{op}] target[{where}]: expected a class in [0, {classes}), got {flat[at]}")


cdef tuple rows_shape(tuple shape):
    """(N, C, d..) with the classes last: (N, d.., C)."""
    return shape if len(shape) < 3 else shape[:1] + shape[2:] + shape[1:2]


cdef Tensor classes_last(Tensor x):
    """x as contiguous rows of classes; no history."""
    cdef Tensor moved
    if cnp.PyArray_NDIM(x.a) < 3:
        return contiguous(x)
    moved = alias(x)
    moved.a = np.moveaxis(x.a, 1, -1)
    return contiguous(moved)


cdef Tensor classes_second(Tensor rows):
    """Undoes classes_last, as a view."""
    if cnp.PyArray_NDIM(rows.a) < 3:
        return rows
    return wrap(np.moveaxis(rows.a, -1, 1))


cdef Tensor as_planes(Tensor x):
    """x (N, C, d..) contiguous where its classes are better left apart, else None: the classes are next to each other
    in memory already, or there are fewer positions than a vector holds."""
    cdef int i, ndim = cnp.PyArray_NDIM(x.a)
    cdef int64_t inner = 1
    if ndim < 3:
        return None
    for i in range(2, ndim):
        inner *= cnp.PyArray_DIMS(x.a)[i]
    if inner < PLANE_POSITIONS or cnp.PyArray_STRIDES(x.a)[1] == cnp.PyArray_ITEMSIZE(x.a):
        return None
    return contiguous(x)


# Cross-entropy ----------------------------------------------------------------------------------------------------
# The forward pass makes the gradient too, while the logits are in the cache. Saved: 0 the gradient of the reduced
# loss, of input's shape or with the classes last; for second derivatives 1 the target and 2 the weights.

@cython.final
cdef class CrossEntropyLossBackward0(Node):
    cdef int reduction
    cdef bint planes
    cdef int64_t ignore_index
    cdef double label_smoothing

    cdef object apply(self, Tensor g):
        cdef Tensor saved = self.saved(0), dx = scale_rows(saved, g, self.planes)
        cdef CrossEntropyGradBackward node
        if not grad_enabled():
            return dx if self.planes else classes_second(dx)
        dx = alias(dx) if dx is saved else dx
        if not self.planes:
            dx = classes_second(dx)
        node = CrossEntropyGradBackward.__new__(CrossEntropyGradBackward)
        node.first = self
        node.save(0, saved)
        node.save(1, g)
        node.save(2, self.saved(1))
        if self.s2 is not None:
            node.save(3, self.saved(2))
        return attach(dx, node, (edge(g), self.edges[0]))


cdef Tensor scale_rows(Tensor d, Tensor g, bint planes):
    """d times g: one number, or one for each row of d (for each position, where dimension 1 has the classes). With the
    number 1 it is d itself."""
    cdef int typenum = cnp.PyArray_TYPE(d.a)
    cdef const fdl_table *K = kernels(typenum)
    cdef int64_t total = cnp.PyArray_SIZE(d.a), n = cnp.PyArray_SIZE(g.a), classes
    cdef int64_t shape[3]
    cdef int64_t whole[3]
    cdef int64_t rows[3]
    cdef Tensor out
    cdef double factor
    cdef void *po
    cdef void *pd = cnp.PyArray_DATA(d.a)
    cdef void *pg
    g = contiguous(g)
    pg = cnp.PyArray_DATA(g.a)
    if cnp.PyArray_NDIM(g.a) == 0:
        factor = (<double *> pg)[0] if typenum == cnp.NPY_FLOAT64 else (<float *> pg)[0]
        if factor == 1:
            return d
        out = empty_like(d, typenum)
        po = cnp.PyArray_DATA(out.a)
        watch(ELEM_FMAS * total)
        with nogil:
            K.binary_scalar(FDL_MUL, po, pd, factor, total)
        unwatch()
        return out
    out = empty_like(d, typenum)
    if total == 0:
        return out
    po = cnp.PyArray_DATA(out.a)
    classes = total // n
    shape[0] = cnp.PyArray_DIMS(d.a)[0] if planes else n
    shape[1], shape[2] = classes, n // shape[0]
    whole[0], whole[1], whole[2] = total // shape[0], shape[2], 1
    rows[0], rows[1], rows[2] = shape[2], 0, 1
    watch(ELEM_FMAS * total)
    with nogil:
        K.binary(FDL_MUL, po, whole, pd, whole, pg, rows, shape, 3, 1)
    unwatch()
    return out


@cython.final
cdef class CrossEntropyGradBackward(Node):
    """Second derivative, in NumPy. With A = scale * factor of csrc/cross_entropy.c the gradient of a row is
    d = A p - scale * soft * w - scale * hard * onehot, which gives p back; its derivative is A (diag(p) - p p^T)."""
    cdef CrossEntropyLossBackward0 first

    def name(self):
        return "CrossEntropyLossBackwardBackward0"

    cdef object apply(self, Tensor g):
        if grad_enabled():
            raise NotImplementedError("[cross_entropy] third derivatives are not implemented")
        cdef Tensor saved = self.saved(0)
        cdef object d = np.moveaxis(saved.a, 1, -1) if self.first.planes else saved.a
        cdef object upstream = self.saved(1).a, target = (<object> self.saved(2).a).reshape(-1)
        cdef object classes = d.shape[d.ndim - 1]
        flat, v = d.reshape(-1, classes), (<object> classes_last(g).a).reshape(-1, classes)
        counts = target != self.first.ignore_index
        known, row = np.where(counts, target, 0), np.arange(len(target))
        w = np.ones(classes, d.dtype) if self.s3 is None else self.saved(3).a
        hard, soft = (1 - self.first.label_smoothing) * w[known], self.first.label_smoothing / classes * w
        scale = 1 / (w[known] * counts).sum() if self.first.reduction == FDL_REDUCTION_MEAN else 1.0
        factor = scale * (hard + soft.sum()) * counts
        p = flat + scale * soft
        p[row, known] += scale * hard
        with np.errstate(divide="ignore", invalid="ignore"):
            p = np.where(factor[:, None] != 0, p / factor[:, None], 0)
        dx = (upstream.reshape(-1, 1) * factor[:, None]) * p * (v - (p * v).sum(1, keepdims=True))
        dg = flat * v
        dg = dg.sum(1).reshape(upstream.shape) if self.first.reduction == FDL_REDUCTION_NONE else dg.sum()
        return (wrap(own_array(np.asarray(dg, d.dtype))),
                classes_second(wrap(own_array(dx.reshape(d.shape).astype(d.dtype, copy=False)))))


cdef Tensor class_cross_entropy(Tensor input, Tensor target, Tensor weight, int64_t ignore_index, int reduction,
                                double label_smoothing):
    cdef int typenum = cnp.PyArray_TYPE(input.a)
    cdef tuple shape = shape_of(input)
    target_shape("cross_entropy", shape, shape_of(target))
    if is_half(typenum):
        return to_type(class_cross_entropy(to_type(input, cnp.NPY_FLOAT32), target,
                                           None if weight is None else to_type(weight, cnp.NPY_FLOAT32), ignore_index,
                                           reduction, label_smoothing), typenum)
    check_scores("cross_entropy", input)
    cdef Tensor t = class_indices("cross_entropy", target), x = as_planes(input), loss, dx = None
    cdef bint planes = x is not None, record = grad_enabled() and wants(input)
    cdef int64_t v = shape[0] if len(shape) == 1 else shape[1], n = cnp.PyArray_SIZE(t.a), bad
    cdef int64_t outer = cnp.PyArray_DIMS(input.a)[0] if planes else n, inner = n // outer if planes and outer else 1
    cdef Tensor w = class_weights("cross_entropy", weight, typenum, v)
    cdef const fdl_table *K = kernels(typenum)
    cdef Scratch s = scratch(K.cross_entropy_scratch(outer, v, inner))
    cdef CrossEntropyLossBackward0 node
    cdef void *pd = NULL
    cdef const void *pw = NULL
    if not planes:
        x = classes_last(input)
    if record:
        dx = empty_like(x, typenum)
        pd = cnp.PyArray_DATA(dx.a)
    if w is not None:
        pw = cnp.PyArray_DATA(w.a)
    loss = empty_like(t, typenum) if reduction == FDL_REDUCTION_NONE else empty(0, NULL, typenum)
    cdef void *pl = cnp.PyArray_DATA(loss.a)
    cdef const void *px = cnp.PyArray_DATA(x.a)
    cdef const int64_t *pt = <const int64_t *> cnp.PyArray_DATA(t.a)
    if n * v < GIL_ELEMS:
        bad = K.cross_entropy(pl, pd, px, pt, pw, ignore_index, label_smoothing, reduction, 1, outer, v, inner, s.data)
    else:
        watch(ELEM_FMAS * n * v)
        with nogil:
            bad = K.cross_entropy(pl, pd, px, pt, pw, ignore_index, label_smoothing, reduction, 1, outer, v, inner, s.data)
        unwatch()
    if bad >= 0:
        bad_class("cross_entropy", target, bad, v)
    if record:
        node = CrossEntropyLossBackward0.__new__(CrossEntropyLossBackward0)
        node.reduction, node.ignore_index, node.label_smoothing = reduction, ignore_index, label_smoothing
        node.planes = planes
        node.save(0, dx)
        node.save(1, t)
        if w is not None:
            node.save(2, w)
        attach(loss, node, (edge(input),))
    return loss


cdef int check_scores(str op, Tensor input) except -1:
    if not is_fast(cnp.PyArray_TYPE(input.a)):
        raise RuntimeError(f"[{op}] input: expected float32 or float64 scores, got {input.dtype}")
    return 0


# Saved: 0 the gradient of the reduced loss for the scores, 1 that for the target (None where not wanted); for second
# derivatives 2 the scores, 3 the target.
@cython.final
cdef class SoftCrossEntropyBackward0(Node):
    cdef int reduction
    cdef bint planes
    cdef double label_smoothing
    cdef Tensor weight

    def name(self):
        return "CrossEntropyLossBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor dx = self.saved(0), dtarget = self.saved(1)
        if grad_enabled():
            return self.formula(self.saved(2), self.saved(3), g)
        if dx is not None:
            dx = scale_rows(dx, g, self.planes)
        if dtarget is not None:
            dtarget = scale_rows(dtarget, g, self.planes)
        if not self.planes:
            dx = None if dx is None else classes_second(dx)
            dtarget = None if dtarget is None else classes_second(dtarget)
        return dx, dtarget

    def formula(self, Tensor x, Tensor target, Tensor g):
        """The same, recorded. With a = w ((1 - e) target + e / C): dx = g (sum(a) softmax(x) - a)."""
        cdef int dim = 0 if cnp.PyArray_NDIM(x.a) == 1 else 1
        cdef object classes = (<object> x.a).shape[dim]
        w = 1.0
        if self.weight is not None:
            w = wrap((<object> self.weight.a).reshape((classes,) + (1,) * (cnp.PyArray_NDIM(x.a) - dim - 1)))
        if self.reduction == FDL_REDUCTION_MEAN:
            g = g / (cnp.PyArray_SIZE(x.a) / classes)
        elif self.reduction == FDL_REDUCTION_NONE:
            g = g.unsqueeze(dim)
        aim = (target * (1 - self.label_smoothing) + self.label_smoothing / classes) * w
        dx = (x.softmax(dim) * aim.sum(dim, keepdim=True) - aim) * g
        dtarget = None if self.edges[1] is None else x.log_softmax(dim) * (-(1 - self.label_smoothing)) * w * g
        return dx, dtarget


cdef Tensor soft_cross_entropy(Tensor input, Tensor target, Tensor weight, int reduction, double label_smoothing):
    """Targets that are distributions over the classes."""
    cdef int typenum = cnp.PyArray_TYPE(input.a), ndim = cnp.PyArray_NDIM(input.a)
    cdef tuple shape = shape_of(input)
    check_scores("cross_entropy", input)
    cdef Tensor aim = to_type(target, typenum), x = as_planes(input), t, loss, dx = None, dtarget = None
    cdef bint planes = x is not None
    cdef bint record_x = grad_enabled() and wants(input), record_target = grad_enabled() and wants(aim)
    cdef int64_t v = shape[0] if ndim == 1 else shape[1]
    if v == 0:
        empty_sum = (input * aim).sum(0 if ndim == 1 else 1)
        if reduction == FDL_REDUCTION_NONE:
            return empty_sum
        return empty_sum.sum() if reduction == FDL_REDUCTION_SUM else empty_sum.sum() / 0.0
    cdef int64_t n = cnp.PyArray_SIZE(input.a) // v
    cdef int64_t outer = cnp.PyArray_DIMS(input.a)[0] if planes else n, inner = n // outer if planes and outer else 1
    cdef Tensor w = class_weights("cross_entropy", weight, typenum, v)
    cdef const fdl_table *K = kernels(typenum)
    cdef Scratch s = scratch(K.cross_entropy_scratch(outer, v, inner))
    cdef SoftCrossEntropyBackward0 node
    cdef npy_intp rows[MAX_DIMS]
    cdef int i
    cdef void *pd = NULL
    cdef void *pq = NULL
    cdef const void *pw = NULL
    if planes:
        t = contiguous(aim)
    else:
        x, t = classes_last(input), classes_last(aim)
    if record_x:
        dx = empty_like(x, typenum)
        pd = cnp.PyArray_DATA(dx.a)
    if record_target:
        dtarget = empty_like(x, typenum)
        pq = cnp.PyArray_DATA(dtarget.a)
    if w is not None:
        pw = cnp.PyArray_DATA(w.a)
    if reduction == FDL_REDUCTION_NONE and ndim > 1:
        rows[0] = shape[0]
        for i in range(2, ndim):
            rows[i - 1] = shape[i]
        loss = empty(ndim - 1, rows, typenum)
    else:
        loss = empty(0, NULL, typenum)
    cdef void *pl = cnp.PyArray_DATA(loss.a)
    cdef const void *px = cnp.PyArray_DATA(x.a)
    cdef const void *pt = cnp.PyArray_DATA(t.a)
    if n * v < GIL_ELEMS:
        K.cross_entropy_soft(pl, pd, pq, px, pt, pw, label_smoothing, reduction, outer, v, inner, s.data)
    else:
        watch(ELEM_FMAS * n * v)
        with nogil:
            K.cross_entropy_soft(pl, pd, pq, px, pt, pw, label_smoothing, reduction, outer, v, inner, s.data)
        unwatch()
    if record_x or record_target:
        node = SoftCrossEntropyBackward0.__new__(SoftCrossEntropyBackward0)
        node.reduction, node.planes, node.label_smoothing, node.weight = reduction, planes, label_smoothing, w
        if record_x:
            node.save(0, dx)
        if record_target:
            node.save(1, dtarget)
        node.save(2, input)
        node.save(3, aim)
        attach(loss, node, (edge(input), edge(aim)))
    return loss


def cross_entropy(Tensor input, Tensor target, Tensor weight=None, size_average=None, int64_t ignore_index=-100, reduce=None,
                  reduction="mean", double label_smoothing=0.0):
    r"""Negative log-likelihood of `target` under softmax(`input`), in nats.

    .. math:: \ell = (1 - \epsilon) w_t (-\log p_t) + \epsilon / C \sum_c w_c (-\log p_c)

    Args:
        input: scores, not normalised.
        target: class indices; or probabilities of the classes, floating point and of input's shape.
        weight: weight of each class; None: ones.
        ignore_index: rows with this target do not count.
        reduction: "mean" (for indices over the sum of the targets' weights), "sum" or "none".
        label_smoothing: the part of each target that is spread evenly over the classes.
        size_average, reduce: the older spelling of `reduction`.
    Shape:
        input (C), (N, C) or (N, C, d..), target () , (N) or (N, d..) -> () or target's shape for "none".
    Raises:
        IndexError: a target outside [0, C) that is not ignore_index.
        ValueError: sizes of the batch that differ, an unknown reduction.
        RuntimeError: other sizes that do not fit, input or target of the wrong kind, label_smoothing outside [0, 1].
    Source: torch.nn.functional.cross_entropy; one pass, csrc/cross_entropy.c.
    """
    cdef int code = reduction_code("cross_entropy", reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"[cross_entropy] label_smoothing: expected a number in [0, 1], got {label_smoothing}")
    if cnp.PyArray_NDIM(input.a) == 0:
        raise (RuntimeError if cnp.PyArray_NDIM(target.a) == 0 else IndexError)(
            "[cross_entropy] input: expected shape (C), (N, C) or (N, C, d1, ..), got ()")
    if cnp.PyArray_TYPE(target.a) != cnp.NPY_INT64 and (<object> target.a).dtype.kind == "f" \
            and same_shape(input.a, target.a):
        return soft_cross_entropy(input, target, weight, code, label_smoothing)
    return class_cross_entropy(input, target, weight, ignore_index, code, label_smoothing)


# Negative log-likelihood ------------------------------------------------------------------------------------------

@cython.final
cdef class NllLossBackward0(Node):
    """dx[.., t, ..] = factor[t's row] * g, all else zero. Saved: 0 the target, 1 the factors (target's shape)."""
    cdef tuple shape

    cdef object apply(self, Tensor g):
        cdef Tensor dx = wrap(own_array(np.zeros(rows_shape(self.shape), g.a.dtype)))
        cdef NllLossGradBackward node
        target, factor = self.saved(0), self.saved(1)
        if cnp.PyArray_SIZE(dx.a):
            rows = (<object> dx.a).reshape(-1, cnp.PyArray_DIMS(dx.a)[cnp.PyArray_NDIM(dx.a) - 1])
            rows[np.arange(rows.shape[0]), target.a.reshape(-1)] = (factor.a * g.a).reshape(-1)
        dx = classes_second(dx)
        if grad_enabled() and wants(g):
            node = NllLossGradBackward.__new__(NllLossGradBackward)
            node.scalar = cnp.PyArray_NDIM(g.a) == 0 and cnp.PyArray_NDIM((<Tensor> target).a) > 0
            node.save(0, target)
            node.save(1, factor)
            attach(dx, node, (edge(g),))
        return dx


@cython.final
cdef class NllLossGradBackward(Node):
    cdef bint scalar

    cdef object apply(self, Tensor g):
        if grad_enabled() and wants(g):
            raise NotImplementedError("[nll_loss] third derivatives are not implemented")
        dg = picked(g, self.saved(0)) * self.saved(1).a
        return wrap(own_array(np.asarray(dg.sum() if self.scalar else dg, g.a.dtype)))


cdef object picked(Tensor x, Tensor target):
    """x[.., t, ..] for each target, an array of target's shape."""
    cdef object rows = classes_last(x).a
    rows = rows.reshape(-1, rows.shape[rows.ndim - 1])
    return rows[np.arange(rows.shape[0]), (<object> target.a).reshape(-1)].reshape((<object> target.a).shape)


def nll_loss(Tensor input, Tensor target, Tensor weight=None, size_average=None, int64_t ignore_index=-100, reduce=None,
             reduction="mean"):
    """Negative log-likelihood of `target` under log-probabilities `input`: -w[t] input[t]; cross_entropy after log_softmax.

    Args:
        input: log-probabilities.
        target: class indices.
        weight, ignore_index, reduction, size_average, reduce: as in cross_entropy.
    Shape:
        input (C), (N, C) or (N, C, d..), target (), (N) or (N, d..) -> () or target's shape for "none".
    Raises:
        IndexError, ValueError, RuntimeError: as cross_entropy.
    """
    cdef int typenum = cnp.PyArray_TYPE(input.a)
    if is_half(typenum):
        return to_type(nll_loss(to_type(input, cnp.NPY_FLOAT32), target, weight, size_average, ignore_index, reduce,
                                reduction), typenum)
    cdef int code = reduction_code("nll_loss", reduction, size_average, reduce)
    cdef tuple shape = shape_of(input)
    cdef NllLossBackward0 node
    cdef Tensor out
    target_shape("nll_loss", shape, shape_of(target))
    if not is_fast(typenum):
        raise RuntimeError(f"[nll_loss] input: expected float32 or float64 log-probabilities, got {input.dtype}")
    cdef Tensor t = class_indices("nll_loss", target)
    cdef Py_ssize_t classes = shape[0] if len(shape) == 1 else shape[1]
    w = class_weights("nll_loss", weight, typenum, classes)
    counts = t.a != ignore_index
    wrong = counts & ((<object> t.a < 0) | (<object> t.a >= classes))
    if wrong.any():
        bad_class("nll_loss", target, int(np.argmax(wrong.reshape(-1))), classes)
    safe = wrap(own_array(np.where(counts, t.a, 0)))
    factor = -(np.where(counts, 1 if w is None else w.a[(<Tensor> safe).a], 0).astype(input.a.dtype))
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = np.where(counts, factor * picked(input, safe), 0).astype(input.a.dtype)
        if code != FDL_REDUCTION_NONE:
            loss = loss.sum(dtype=input.a.dtype)
        if code == FDL_REDUCTION_MEAN:
            total = -factor.sum(dtype=input.a.dtype)
            loss, factor = loss / total, np.where(counts, factor / total, 0)
    out = wrap(own_array(np.asarray(loss, input.a.dtype)))
    if grad_enabled() and wants(input):
        node = NllLossBackward0.__new__(NllLossBackward0)
        node.shape = shape
        node.save(0, safe)
        node.save(1, wrap(own_array(np.asarray(factor, input.a.dtype))))
        attach(out, node, (edge(input),))
    return out
