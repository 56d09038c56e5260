# Nodes and the backward engine; part of _tensor.pyx, because a Tensor holds its Node and a Node its Tensors.
#
# Every node has a number that is larger than those of its inputs' nodes, so taking the largest number first visits
# each node after all of its consumers: no pass over the graph is needed beforehand, and nodes that receive no
# gradient are never touched. The queue is a linked list in falling order; it is short, new nodes join near its head.
import weakref

cdef int64_t node_count = 0


@cython.trashcan(True)
cdef class Node:
    def __cinit__(self):
        global node_count
        node_count += 1
        self.seq = node_count

    cdef object apply(self, Tensor g):
        """The gradients of the inputs, given that of the output: one Tensor or None for one edge, else a tuple.
        Runs with recording on when the caller wants higher derivatives: formulas are Tensor operators then."""
        raise NotImplementedError(f"{self.name()} has no derivative")

    cdef void save(self, int i, Tensor t):
        if i == 0:
            self.s0, self.v0 = t, t.storage.version
        elif i == 1:
            self.s1, self.v1 = t, t.storage.version
        elif i == 2:
            self.s2, self.v2 = t, t.storage.version
        else:
            self.s3, self.v3 = t, t.storage.version

    cdef void save_output(self, int i, Tensor t):
        # an alias without history: the tensor itself would be a reference cycle
        self.outputs |= 1 << i
        self.save(i, alias(t))

    cdef Tensor saved(self, int i):
        cdef Tensor t
        cdef Py_ssize_t version
        if self.freed:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). "
                "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
                "Specify retain_graph=True if you need to backward through the graph a second time "
                f"or if you need to access saved tensors after calling backward. [{self.name()}]")
        if i == 0:
            t, version = self.s0, self.v0
        elif i == 1:
            t, version = self.s1, self.v1
        elif i == 2:
            t, version = self.s2, self.v2
        else:
            t, version = self.s3, self.v3
        if t is None:
            return None
        if t.storage.version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"a tensor of shape {tuple(t.shape)} and type {t.dtype}, "
                f"{'output' if self.outputs >> i & 1 else 'input'} of {self.name()}, "
                f"is at version {t.storage.version}; expected version {version} instead. "
                f"Write `x = x + y` instead of `x += y`, or clone() the tensor first.")
        if self.outputs >> i & 1 and not fdl_grad_off:
            t = alias(t)
            t.node = self
        return t

    cdef void free(self):
        self.freed = True
        self.s0 = self.s1 = self.s2 = self.s3 = None

    def name(self):
        """The operator's name, as PyTorch spells it: AddBackward0."""
        return type(self).__name__

    @property
    def next_functions(self):
        return tuple([(AccumulateGrad(e) if isinstance(e, Tensor) else e, 0) for e in self.edges])

    def __repr__(self):
        return f"<{self.name()} object at {<size_t> <void *> self:#x}>"


class AccumulateGrad:
    """Stands for a leaf in `next_functions`."""

    def __init__(self, variable):
        self.variable = variable
        self.next_functions = ()

    def name(self):
        return "torch::autograd::AccumulateGrad"


cdef class MultiNode(Node):
    cdef object apply_multi(self, list grads):
        raise NotImplementedError(f"{self.name()} has no derivative")


@cython.final
cdef class OutputOf(Node):
    """One output of a MultiNode: hands its gradient on."""
    cdef MultiNode parent
    cdef int index

    def name(self):
        return self.parent.name()


class HookHandle:
    """Removes a hook again."""

    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook

    def remove(self):
        if self.hook in self.hooks:
            self.hooks.remove(self.hook)


# Recording --------------------------------------------------------------------------------------------------------

cdef bint wants(Tensor t):
    if t.base is not None and t.base.node is not t.base_node:
        renew_view(t)
    return t.wants_grad or t.node is not None


cdef object edge(Tensor t):
    if wants(t):
        return t.node if t.node is not None else t
    return None


cdef Tensor attach(Tensor out, Node node, tuple edges):
    node.edges = edges
    out.node = node
    return out


cdef tuple attach_outputs(tuple outs, MultiNode node, tuple edges):
    cdef OutputOf output
    cdef int i
    node.edges = edges
    node.grads = [None] * len(outs)
    for i in range(len(outs)):
        if outs[i] is not None:
            output = OutputOf.__new__(OutputOf)
            output.parent, output.index, output.edges = node, i, (node,)
            (<Tensor> outs[i]).node = output
    return outs


cdef void bump(Tensor t, const char *op) noexcept:
    t.storage.version += 1


cdef int begin_inplace(Tensor t) except -1:
    if not cnp.PyArray_ISWRITEABLE(t.a):
        if 0 in (<object> t.a).strides:
            raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single "
                               f"memory location. Please clone() the tensor of shape {tuple(t.shape)} first.")
        raise RuntimeError(f"the tensor of shape {tuple(t.shape)} lies in read-only memory. Please clone() it first.")
    if not fdl_grad_off and wants(t):
        if t.node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if t.base is not None and t.base.wants_grad and t.base.node is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    return 0


cdef Tensor end_inplace(Tensor t, const char *op, Node node, tuple edges):
    cdef CopySlices copy
    bump(t, op)
    if node is None:
        return t
    node.edges = edges
    if t.base is None:
        t.node = node
    else:
        copy = CopySlices.__new__(CopySlices)
        copy.function, copy.view = node, Geometry(t.base.a, t.a)
        copy.edges = (edge(t.base),) + edges[1:]
        t.base.node = copy
        renew_view(t)
    return t


# Writes through views: the base's history becomes "the old base with this part replaced" ---------------------------

@cython.final
cdef class Geometry:
    """Where a view lies in its base: shapes and strides in bytes."""
    cdef Py_ssize_t offset
    cdef tuple shape, strides, base_shape, base_strides

    def __init__(self, ndarray base, ndarray view):
        self.offset = <char *> cnp.PyArray_DATA(view) - <char *> cnp.PyArray_DATA(base)
        self.shape, self.strides = (<object> view).shape, (<object> view).strides
        self.base_shape, self.base_strides = (<object> base).shape, (<object> base).strides

    cdef tuple parts(self, object dtype):
        """(whole, part) of zeroed memory that is laid out as the base and the view in it."""
        span = dtype.itemsize + sum([(n - 1) * s for n, s in zip(self.base_shape, self.base_strides)])
        buffer = np.zeros(max(span, 0) // dtype.itemsize + 1, dtype)
        return (np.ndarray(self.base_shape, dtype, buffer, 0, self.base_strides),
                np.ndarray(self.shape, dtype, buffer, self.offset, self.strides))


cdef int no_second_order(Node node) except -1:
    if not fdl_grad_off:
        raise NotImplementedError(f"create_graph=True through {node.name()} is not implemented")
    return 0


@cython.final
cdef class CopySlices(Node):
    cdef Node function
    cdef Geometry view

    cdef object apply(self, Tensor g):
        no_second_order(self)
        whole, part = self.view.parts(g.a.dtype)
        whole[...] = g.a
        inner = self.function.apply(wrap(own_array(part)))
        cdef Tensor dx = inner[0] if type(inner) is tuple else inner
        part[...] = 0 if dx is None else dx.a
        base_grad = wrap(own_array(whole))
        return (base_grad,) + (<tuple> inner)[1:] if type(inner) is tuple else base_grad

    cdef void free(self):
        self.freed = True
        self.function.free()


@cython.final
cdef class AsStridedBackward0(Node):
    cdef Geometry view

    cdef object apply(self, Tensor g):
        no_second_order(self)
        whole, part = self.view.parts(g.a.dtype)
        values = g.a
        for axis, (n, stride) in enumerate(zip(self.view.shape, self.view.strides)):
            if stride == 0 and n > 1:  # an expanded dimension: one element for all
                values, part = values.sum(axis, keepdims=True), part[(slice(None),) * axis + (slice(1),)]
        part[...] = values
        return wrap(own_array(whole))


cdef int renew_view(Tensor t) except -1:
    """Takes over the history that the view's base has now."""
    cdef AsStridedBackward0 node
    t.base_node = t.base.node
    if t.base.node is not None:
        node = AsStridedBackward0.__new__(AsStridedBackward0)
        node.view = Geometry(t.base.a, t.a)
        node.edges = (edge(t.base),)
        t.node = node
    return 0


# The engine -------------------------------------------------------------------------------------------------------

@cython.final
cdef class Engine:
    cdef Node head              # queue, falling numbers
    cdef bint record            # create_graph
    cdef dict capture           # id of Node or leaf -> gradient, for autograd.grad
    cdef set needed             # ids of nodes and leaves to visit; None: all

    cdef int push(self, Node node) except -1:
        cdef Node at
        if node.queued:
            return 0
        node.queued = True
        if self.head is None or node.seq > self.head.seq:
            node.next = self.head
            self.head = node
            return 0
        at = self.head
        while at.next is not None and at.next.seq > node.seq:
            at = at.next
        node.next = at.next
        at.next = node
        return 0

    cdef int deliver(self, object target, Tensor g) except -1:
        cdef Node node
        if g is None or target is None:
            return 0
        if self.needed is not None and id(target) not in self.needed:
            return 0
        if isinstance(target, Tensor):
            return self.leaf(<Tensor> target, g)
        if type(g) is RowsGrad:
            return self.deliver(target, dense_grad(g))
        node = <Node> target
        if node.pending is None:
            node.pending = g
        else:
            node.pending = self.sum(node.pending, g, 2)
        return self.push(node)

    cdef Tensor sum(self, Tensor a, Tensor b, Py_ssize_t refs):
        """a + b; in a's memory if nobody else sees it. `refs`: references to `a` that are the caller's."""
        if self.record:
            return operators.add(a, b)
        if is_sole_owner(a, refs):
            operators.accumulate(a, b)
            return a
        return operators.add(a, b)

    cdef int leaf(self, Tensor t, Tensor g) except -1:
        if type(g) is RowsGrad:
            if t.grad_ is None and t.hooks is None and self.capture is None and not self.record:
                t.grad_ = g
                return 0
            g = dense_grad(g)
        if t.hooks is not None:
            g = run_hooks(t.hooks, g)
        if self.capture is not None:
            if id(t) in self.capture:
                known = self.capture[id(t)]
                self.capture[id(t)] = g if known is None else operators.add(known, g)
            return 0
        if t.grad_ is not None:
            t.grad_ = dense_grad(t.grad_)
            if self.record:
                t.grad_ = operators.add(t.grad_, g)
            else:
                operators.accumulate(t.grad_, g)
                t.grad_.storage.version += 1
        elif self.record:
            t.grad_ = g
        elif is_sole_owner(g, 3) and cnp.PyArray_IS_C_CONTIGUOUS(g.a) and g.node is None:
            t.grad_ = g
        else:
            t.grad_ = wrap(own_array(g.a))
        return 0

    cdef bint leads_on(self, Node node):
        """Whether a gradient of one of node's inputs is wanted."""
        for e in node.edges:
            if e is not None and id(e) in self.needed:
                return True
        return False

    cdef int run(self, bint retain) except -1:
        cdef Node node
        cdef Tensor g
        cdef tuple edges
        cdef int i
        cdef bint was = set_grad(self.record)
        try:
            while self.head is not None:
                PyErr_CheckSignals()
                node = self.head
                self.head = node.next
                node.next = None
                node.queued = False
                if type(node) is OutputOf:
                    g = node.pending
                    node.pending = None
                    if node.hooks is not None:
                        g = run_hooks(node.hooks, g)
                    if self.capture is not None and id(node) in self.capture:
                        self.capture[id(node)] = g
                    (<OutputOf> node).parent.grads[(<OutputOf> node).index] = g
                    g = None
                    if self.needed is None or id((<OutputOf> node).parent) in self.needed:
                        self.push((<OutputOf> node).parent)
                    continue
                if isinstance(node, MultiNode):
                    grads = (<MultiNode> node).grads
                    (<MultiNode> node).grads = [None] * len(grads)
                    (<MultiNode> node).last = not retain
                    out = (<MultiNode> node).apply_multi(grads)
                    grads = None
                else:
                    g = node.pending
                    node.pending = None
                    if node.hooks is not None:
                        g = run_hooks(node.hooks, g)
                    if self.capture is not None and id(node) in self.capture:
                        self.capture[id(node)] = g
                    if self.needed is not None and not self.leads_on(node):
                        continue
                    out = node.apply(g)
                    g = None
                if not retain:
                    node.free()
                edges = node.edges
                if len(edges) == 1:
                    if type(out) is tuple:
                        out = (<tuple> out)[0]
                    self.deliver(edges[0], <Tensor?> out if out is not None else None)
                else:
                    for i in range(len(edges)):
                        self.deliver(edges[i], (<tuple> out)[i])
                out = None
        except BaseException as error:
            while self.head is not None:  # leave no half-done gradients behind
                node = self.head
                self.head, node.next, node.queued, node.pending = node.next, None, False, None
            raise
        finally:
            set_grad(was)
        return 0


cdef bint is_sole_owner(Tensor t, Py_ssize_t refs):
    """Whether nobody but the caller can see t's memory."""
    return (FDL_REFCNT(<void *> t) <= refs and FDL_REFCNT(<void *> t.a) == 1 and FDL_REFCNT(<void *> t.storage) == 2
            and cnp.get_array_base(t.a) is t.storage)


cdef Tensor run_hooks(list hooks, Tensor g):
    for hook in list(hooks):
        result = hook(g)
        if result is not None:
            g = result
    return g


def backward(tensors, grads, retain_graph=None, create_graph=False, inputs=None):
    """Accumulates into each leaf's `grad` the derivatives of the list `tensors`, given the upstream gradients `grads`."""
    cdef Engine engine = Engine.__new__(Engine)
    engine.record = create_graph
    if inputs is not None:
        inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        engine.needed = needed_for(tensors, inputs)
    seed(engine, tensors, grads)
    engine.run(create_graph if retain_graph is None else retain_graph)


def grad_of(outputs, inputs, grads, retain_graph, create_graph, allow_unused):
    """The derivatives of `outputs` with respect to `inputs`, as a tuple; no `grad` changes (autograd.grad)."""
    cdef Engine engine = Engine.__new__(Engine)
    cdef Tensor t
    for x in (*outputs, *inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"[grad] expected Tensors, got {type(x).__name__}")
    for i, t in enumerate(inputs):
        if not wants(t):
            raise RuntimeError(f"One of the differentiated Tensors does not require grad: inputs[{i}] of shape "
                               f"{tuple(t.shape)}")
    engine.record = create_graph
    engine.capture = {id(edge(t)): None for t in inputs}
    engine.needed = needed_for(outputs, inputs)
    seed(engine, outputs, grads)
    engine.run(create_graph if retain_graph is None else retain_graph)
    found = tuple([engine.capture[id(edge(t))] for t in inputs])
    if not allow_unused and any(g is None for g in found):
        raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. Set "
                           "allow_unused=True if this is the desired behavior.")
    return found


cdef int seed(Engine engine, object tensors, object grads) except -1:
    cdef Tensor t, g
    for i, of in enumerate(tensors):
        t = <Tensor?> of
        g = grads[i] if grads is not None and i < len(grads) else None
        if not wants(t):
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if cnp.PyArray_SIZE(t.a) != 1:
                raise RuntimeError(f"grad can be implicitly created only for scalar outputs, this one has shape "
                                   f"{tuple(t.shape)}")
            g = empty_like(t, cnp.PyArray_TYPE(t.a))
            g.a.fill(1)
        elif g.shape != t.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
                               f"shape of {t.shape}.")
        elif cnp.PyArray_TYPE(g.a) != cnp.PyArray_TYPE(t.a):
            g = cast(g, cnp.PyArray_TYPE(t.a))
        engine.deliver(edge(t), g)
    return 0


cdef set needed_for(object outputs, object inputs):
    """Ids of the nodes and leaves on a path from `outputs` to `inputs`."""
    cdef dict users = {}
    cdef list stack = [edge(<Tensor?> t) for t in outputs]
    cdef set seen = set(), found = set()
    while stack:
        at = stack.pop()
        if at is None or id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, Node):
            for e in (<Node> at).edges:
                if e is not None:
                    users.setdefault(id(e), []).append(id(at))
                    stack.append(e)
    stack = [id(edge(<Tensor?> t)) for t in inputs]
    while stack:
        at = stack.pop()
        if at not in found:
            found.add(at)
            stack.extend(users.get(at, ()))
    return found


def is_grad_enabled():
    """Whether operators record what the backward pass needs, in this thread."""
    return not fdl_grad_off


def set_grad_mode(bint on):
    """Turns recording on or off in this thread; returns what it was."""
    return set_grad(on)
