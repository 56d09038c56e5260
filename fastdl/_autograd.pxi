# Nodes and the backward engine; part of _tensor.pyx, because a Tensor holds its Node and a Node its Tensors.
#
# Every node has a number that is larger than those of its inputs' nodes, so taking the largest number first visits
# each node after all of its consumers: no pass over the graph is needed beforehand, and nodes that receive no
# gradient are never touched. The queue is a linked list in falling order; it is short, new nodes join near its head.
from collections import OrderedDict

cdef int64_t node_count = 0
cdef int64_t hooked_leaves = 0  # leaves that ever had a hook: none, and no backward pass counts deliveries
cdef object watcher = None      # of autograd/watch.py, while detect_anomaly or check_finite is on
cdef object hooks_module = None # autograd/hooks.py, imported with the first hook


cdef bint is_watched() noexcept:
    return watcher is not None


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
            from .autograd.watch import written_over
            raise written_over(t, version, "output" if self.outputs >> i & 1 else "input", self.name())
        if self.outputs >> i & 1 and not fdl_grad_off:
            t = alias(t)
            t.node = self if self.next is None else self.next
        return t

    cdef void free(self):
        self.freed = True
        self.s0 = self.s1 = self.s2 = self.s3 = None

    def name(self):
        """The operator's name, as PyTorch spells it: AddBackward0."""
        return type(self).__name__

    @property
    def next_functions(self):
        """For each input the operator that made it, and which of its outputs it is; (None, 0) where no gradient goes."""
        from .autograd.hooks import AccumulateGrad
        return tuple([(AccumulateGrad(e), 0) if isinstance(e, Tensor) else
                      ((<OutputOf> e).parent, (<OutputOf> e).index) if type(e) is OutputOf else (e, 0)
                      for e in self.edges])

    @property
    def _trace(self):
        return self.trace

    @property
    def _inputs(self):
        """The inputs that are at hand: leaves, and what is saved."""
        saved = (self.s0, self.s1, self.s2, self.s3)
        return [e for e in self.edges if isinstance(e, Tensor)] + [
            t for i, t in enumerate(saved) if t is not None and not self.outputs >> i & 1]

    def __repr__(self):
        return f"<{self.name()} object at {<size_t> <void *> self:#x}>"


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


cdef class FunctionNode(MultiNode):
    """An operator that is written in Python (autograd/function.py): `_backward` of a subclass gets a list with the
    gradient of each output, or None, and returns a tuple with one for each input."""
    cdef public object _kept    # list of (tensor, its version, index of the output that it is or -1); False: freed

    cdef object apply(self, Tensor g):
        return self._backward([g])

    cdef object apply_multi(self, list grads):
        return self._backward(grads)

    cdef void free(self):
        self.freed = True
        self._kept = False

    def _record(self, tuple outs, tuple edges, bint is_view):
        """Makes this node the history of `outs` (None: no gradient). is_view: the one output is a view, written to."""
        if is_view:
            end_inplace(outs[0], self.name(), self, edges)
        else:
            attach_outputs(outs, self, edges)

    def _output(self, Tensor t, int index):
        """`t` with the history of output number `index`."""
        cdef OutputOf output = OutputOf.__new__(OutputOf)
        output.parent, output.index, output.edges = self, index, (self,)
        t.node = output
        return t


def edges_of(tensors):
    """What a node holds for each of its inputs; None for those that need no gradient."""
    return tuple([edge(<Tensor> t) if isinstance(t, Tensor) else None for t in tensors])


def mark_written(Tensor t, str op, bint check):
    """Counts a write by `op`, or, first, checks that `t` may be written to."""
    if check:
        begin_inplace(t)
    else:
        bump(t, op)


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
    if watcher is not None:
        watch_made(node, out)
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
            if watcher is not None:
                watch_made(node, outs[i])
    return outs


cdef void bump(Tensor t, str op) noexcept:
    t.storage.version += 1
    t.storage.writer = op


cdef int begin_inplace(Tensor t) except -1:
    if not cnp.PyArray_ISWRITEABLE(t.a):
        if 0 in (<object> t.a).strides:
            raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single "
                               f"memory location. Please clone() the tensor of shape {tuple(t.shape)} first.")
        raise RuntimeError(f"the tensor of shape {tuple(t.shape)} lies in read-only memory. Please clone() it first.")
    if t.origin and not fdl_grad_off and (t.origin == NO_GRAD or t.node is not None or t.base.node is not None
                                          or t.base.wants_grad):
        refuse_view(t, "is being")
    if not fdl_grad_off and wants(t):
        if t.node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if t.base is not None and t.base.wants_grad and t.base.node is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    return 0


cdef int refuse_view(Tensor t, str subject) except -1:
    """Raises for a view that recorded writes may not reach."""
    if t.origin == NO_GRAD:
        raise RuntimeError(
            f"A view was created in no_grad mode and {subject} modified inplace with grad mode enabled. Given that "
            "this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view "
            "and the inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both "
            "outside (if you want the inplace to be tracked).")
    name = t.node.name().replace("Backward0", "") if t.node is not None else "split or unbind"
    raise RuntimeError(
        f"Output {(<OutputOf> t.node).index if type(t.node) is OutputOf else 0} of {name} is a view and {subject} "
        "modified inplace. This view is the output of a function that returns multiple views. Such functions do not allow "
        "the output views to be modified inplace. You should replace the inplace operation by an out-of-place one.")


cdef Tensor end_inplace(Tensor t, str op, Node node, tuple edges):
    cdef CopySlices copy
    cdef Node before = t.node
    bump(t, op)
    if node is None or not (is_fast(cnp.PyArray_TYPE(t.a)) or is_half(cnp.PyArray_TYPE(t.a))):  # no gradient for integers
        if watcher is not None:
            watcher.written(t, op)
        return t
    if t.origin:  # what is written has history, the view had none
        refuse_view(t, "is being")
    node.edges = edges
    if watcher is not None:
        watch_made(node, t)
    if t.base is None:
        t.node = node
    else:
        copy = CopySlices.__new__(CopySlices)
        copy.function, copy.view = node, Geometry(t.base.a, t.a)
        copy.edges = (edge(t.base),) + edges[1:]
        t.base.node = copy
        renew_view(t)
    if before is not None and before.hooks is not None:
        hooks_module.move_retained(t, before.hooks)
    return t


# Writes through views: the base's history becomes "the old base with this part replaced" ---------------------------

@cython.final
cdef class Geometry:
    """Where a view lies in its base: shapes and strides in bytes."""
    cdef Py_ssize_t offset, item
    cdef tuple shape, strides, base_shape, base_strides

    def __init__(self, ndarray base, ndarray view):
        self.offset = <char *> cnp.PyArray_DATA(view) - <char *> cnp.PyArray_DATA(base)
        self.item = cnp.PyArray_ITEMSIZE(base)
        self.shape, self.strides = (<object> view).shape, (<object> view).strides
        self.base_shape, self.base_strides = (<object> base).shape, (<object> base).strides

    cdef tuple parts(self, object dtype):
        """(whole, part) of zeroed memory that is laid out as the base and the view in it."""
        span = self.item + sum([(n - 1) * s for n, s in zip(self.base_shape, self.base_strides)])
        buffer = np.zeros(max(span, 0) // self.item + 1, dtype)
        return (np.ndarray(self.base_shape, dtype, buffer, 0, self.base_strides),
                np.ndarray(self.shape, dtype, buffer, self.offset, self.strides))

    cdef ndarray within(self, ndarray whole):
        """The view's place in an array that is laid out as the base; None if it is not."""
        if (<object> whole).strides != self.base_strides:
            return None
        return np.ndarray(self.shape, whole.dtype, whole, self.offset, self.strides)

    cdef ndarray numbers(self):
        """For each element of the view its number in the base, counted in row-major order."""
        cdef Py_ssize_t scale = self.item
        wide = Geometry.__new__(Geometry)
        (<Geometry> wide).offset, (<Geometry> wide).item = self.offset // scale * 8, 8
        (<Geometry> wide).shape, (<Geometry> wide).base_shape = self.shape, self.base_shape
        (<Geometry> wide).strides = tuple([s // scale * 8 for s in self.strides])
        (<Geometry> wide).base_strides = tuple([s // scale * 8 for s in self.base_strides])
        whole, part = (<Geometry> wide).parts(np.dtype(np.int64))
        whole[...] = np.arange(whole.size).reshape(self.base_shape)
        return part

    cdef bint overlaps(self):
        """Whether elements of the view or of its base may share memory."""
        cdef Py_ssize_t reach
        for strides, shape in ((self.strides, self.shape), (self.base_strides, self.base_shape)):
            reach = self.item
            for stride, n in sorted(zip(strides, shape)):
                if n > 1 and stride < reach:
                    return True
                reach += (n - 1) * stride
        return False


@cython.final
cdef class CopySlices(Node):
    cdef Node function
    cdef Geometry view

    cdef object apply(self, Tensor g):
        cdef Tensor whole, dx, index
        cdef AsStridedBackward0 result
        # nobody else sees g: its memory will do, so that a loop of writes costs what the parts cost
        cdef ndarray part = self.view.within(g.a) if fdl_grad_off and is_sole_owner(g, 1) else None
        if part is not None:
            whole = g
        elif fdl_grad_off:
            a, part = self.view.parts(g.a.dtype)
            a[...] = g.a
            whole = wrap(a)
        else:
            index, whole = wrap(own_array(self.view.numbers().reshape(-1))), g.reshape(-1).clone()
            result = AsStridedBackward0.__new__(AsStridedBackward0)
            result.view, result.title, result.edges = self.view, "AsStridedBackward0", (self,)
            self.function.next = result
        try:
            inner = self.function.apply(wrap(own_array(part)) if fdl_grad_off else whole[index].reshape(self.view.shape))
        finally:
            self.function.next = None
        dx = inner[0] if type(inner) is tuple else inner
        if fdl_grad_off:
            part[...] = 0 if dx is None else dx.a
        else:
            whole[index] = 0 if dx is None else dx.reshape(-1)
            whole = whole.reshape(self.view.base_shape)
        return (whole,) + (<tuple> inner)[1:] if type(inner) is tuple else whole

    cdef void free(self):
        self.freed = True
        self.function.free()


@cython.final
cdef class AsStridedBackward0(Node):
    """out = x's memory seen otherwise:  dx = g there, added up where elements of out share memory; zero elsewhere"""
    cdef Geometry view
    cdef str title

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        if fdl_grad_off and not self.view.overlaps():
            return piece_grad(g, self.view, self.view.base_shape)
        index = wrap(own_array(self.view.numbers().reshape(-1)))
        flat = g.new_zeros(int(np.prod(self.view.base_shape)))
        return flat.index_add(0, index, g.reshape(-1)).reshape(self.view.base_shape)


cdef AsStridedBackward0 strided_node(Tensor x, Tensor y, str title):
    cdef AsStridedBackward0 node = AsStridedBackward0.__new__(AsStridedBackward0)
    node.view, node.title = Geometry(x.a, y.a), title
    return node


cdef int renew_view(Tensor t) except -1:
    """Takes over the history that the view's base has now."""
    if t.base.node is not None:
        if t.origin == PIECE:
            refuse_view(t, "its base or another view of its base has been")
        t.node = strided_node(t.base, t, "AsStridedBackward0")
        t.node.edges = (edge(t.base),)
    t.base_node = t.base.node
    return 0


# The engine -------------------------------------------------------------------------------------------------------

@cython.final
cdef class Engine:
    cdef Node head              # queue, falling numbers
    cdef bint record            # create_graph
    cdef dict capture           # id of Node or leaf -> gradient, for autograd.grad
    cdef set needed             # ids of nodes and leaves to visit; None: all
    cdef int64_t number         # of the pass, once somebody asked
    cdef list finals            # functions to be called when the pass is over; None: none
    cdef dict waiting           # id of a leaf with hooks -> [leaf, deliveries to come, their sum so far]

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
        if target is None:
            return 0
        if g is None:
            if self.waiting is not None and isinstance(target, Tensor):
                self.arrived(<Tensor> target, None)
            return 0
        if self.needed is not None and id(target) not in self.needed:
            return 0
        if isinstance(target, Tensor):
            if self.waiting is not None and (<Tensor> target).hooks is not None:
                return self.arrived(<Tensor> target, dense_grad(g))
            return self.leaf(<Tensor> target, g)
        if type(g) is RowsGrad:
            return self.deliver(target, dense_grad(g))
        node = <Node> target
        if node.pending is None:
            node.pending = dense_grad(g)
        else:
            node.pending = self.sum(node.pending, g, 2)
        return self.push(node)

    cdef Tensor sum(self, Tensor a, Tensor b, Py_ssize_t refs):
        """a + b; in a's memory if nobody else sees it. `refs`: references to `a` that are the caller's."""
        if self.record or not is_sole_owner(a, refs):
            return operators.add(a, dense_grad(b))
        self.add_to(a, b)
        return a

    cdef int add_to(self, Tensor a, Tensor b) except -1:
        """a += b"""
        cdef ndarray part = a.a
        if type(b) is PieceGrad:
            part = place_of(<PieceGrad> b, part)
            if part is None:
                b = dense_piece(<PieceGrad> b)
            else:
                a = wrap(part)
        return operators.accumulate(a, b)

    cdef int leaf(self, Tensor t, Tensor g) except -1:
        if type(g) is RowsGrad:
            if t.grad_ is None and self.capture is None and not self.record:
                t.grad_ = g
                return 0
            return self.leaf(t, dense_grad(g))  # g itself is not set anew: that would add a reference to it
        if self.capture is not None and id(t) in self.capture:
            known = self.capture[id(t)]
            self.capture[id(t)] = dense_grad(g) if known is None else self.sum(known, g, 2)
            return 0
        if t.grad_ is not None:
            t.grad_ = dense_grad(t.grad_)
            if self.record:
                t.grad_ = operators.add(t.grad_, g)
            else:
                self.add_to(t.grad_, g)
                t.grad_.storage.version += 1
        elif type(g) is PieceGrad:
            t.grad_ = dense_piece(<PieceGrad> g)
        elif self.record:
            t.grad_ = g
        elif is_sole_owner(g, 2) and cnp.PyArray_IS_C_CONTIGUOUS(g.a) and g.node is None:
            t.grad_ = g
        else:
            t.grad_ = wrap(own_array(g.a))
        return 0

    # Leaves with hooks: these are called once, with the whole gradient, as soon as it has arrived.

    cdef int expect(self, object tensors) except -1:
        """Counts how many gradients may be delivered to each leaf that has hooks."""
        cdef list stack = list(edges_of(tensors))
        cdef set seen = set()
        self.waiting = {}
        while stack:
            at = stack.pop()
            if isinstance(at, Tensor):
                if (<Tensor> at).hooks is not None:
                    self.waiting.setdefault(id(at), [at, 0, None])[1] += 1
            elif at is not None and id(at) not in seen:
                seen.add(id(at))
                stack.extend((<Node> at).edges)
        return 0

    cdef int arrived(self, Tensor t, Tensor g) except -1:
        cdef list entry = self.waiting.get(id(t))
        if entry is None:
            return 0 if g is None else self.leaf(t, g)  # its hook is younger than this pass
        entry[1] -= 1
        if g is not None:
            entry[2] = g if entry[2] is None else operators.add(entry[2], g)
        return self.complete(entry) if entry[1] == 0 else 0

    cdef int complete(self, list entry) except -1:
        cdef Tensor t = entry[0], g = entry[2]
        if g is None:
            return 0
        entry[2] = None
        g = run_hooks(t.hooks, g)
        if self.capture is not None and id(t) in self.capture:
            return self.leaf(t, g)
        g = hooks_module.run_before(t.hooks, (g,))[0]
        self.leaf(t, g)
        hooks_module.run_post(t.hooks, t, g)
        return 0

    cdef bint leads_on(self, Node node):
        """Whether a gradient of one of node's inputs is wanted."""
        for e in node.edges:
            if e is not None and id(e) in self.needed:
                return True
        return False

    cdef int run(self, bint retain) except -1:
        global fdl_engine
        cdef Node node = None
        cdef Tensor g
        cdef tuple edges, held = None
        cdef int i
        cdef bint was = set_grad(self.record)
        cdef void *outer = fdl_engine
        fdl_engine = <void *> self
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
                    (<MultiNode> node).last = not retain and node.hooks is None
                    if node.hooks is not None:
                        held = hooks_module.run_before(node.hooks, tuple(grads))
                        grads = list(held)
                    out = (<MultiNode> node).apply_multi(grads)
                    grads = None
                    if watcher is not None:
                        watch_gradients(node, out, NULL)
                else:
                    g = node.pending
                    node.pending = None
                    if node.hooks is not None:
                        g = run_hooks(node.hooks, g)
                    if self.capture is not None and id(node) in self.capture:
                        self.capture[id(node)] = g
                    if self.needed is not None and not self.leads_on(node):
                        continue
                    if node.hooks is not None:  # what these get to see is not written to: `held` is another owner
                        held = hooks_module.run_before(node.hooks, (g,))
                        g = held[0]
                    out = node.apply(g)
                    if watcher is not None:
                        watch_gradients(node, out, <void *> g)
                    g = None
                if held is not None:
                    out = hooks_module.run_after(node.hooks, dense_grads(node.edges, out), held)
                    held = None
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
            if self.waiting is not None:
                for entry in self.waiting.values():
                    self.complete(entry)
            if self.finals is not None:
                for function in self.finals:
                    function(self.number)
        except BaseException as error:
            if watcher is not None and node is not None:
                watcher.explain(error, node)
            while self.head is not None:  # leave no half-done gradients behind
                node = self.head
                self.head, node.next, node.queued, node.pending = node.next, None, False, None
                if type(node) is OutputOf:
                    node = (<OutputOf> node).parent
                if isinstance(node, MultiNode):
                    (<MultiNode> node).grads = [None] * len((<MultiNode> node).grads)
            raise
        finally:
            set_grad(was)
            fdl_engine = outer
        return 0


def queue_callback(function):
    """Calls function(number) at the end of the backward pass that runs now, unless it fails. Returns the pass's number.

    Raises: RuntimeError if none runs in this thread.
    """
    global node_count
    if fdl_engine == NULL:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    cdef Engine engine = <Engine> fdl_engine
    if engine.finals is None:
        node_count += 1
        engine.number, engine.finals = node_count, []
    engine.finals.append(function)
    return engine.number


cdef bint is_sole_owner(Tensor t, Py_ssize_t refs):
    """Whether nobody but the caller can see t's memory."""
    return (FDL_REFCNT(<void *> t) <= refs and FDL_REFCNT(<void *> t.a) == 1 and FDL_REFCNT(<void *> t.storage) == 2
            and cnp.get_array_base(t.a) is t.storage)


cdef tuple dense_grads(tuple edges, object out):
    """What a node's derivative gave, one for each edge, as hooks get to see it."""
    return tuple([None if e is None or g is None else dense_grad(g)
                  for e, g in zip(edges, out if type(out) is tuple else (out,))])


cdef Tensor run_hooks(object hooks, Tensor g):
    return hooks_module.run(hooks, g)


def hooks_of(owner):
    """The hooks of a tensor, which are those of the operator that made it or its own if it is a leaf, or of a Node."""
    global hooked_leaves, hooks_module
    cdef Tensor t = None
    cdef Node node
    if hooks_module is None:
        from .autograd import hooks
        hooks_module = hooks
    if isinstance(owner, Node):
        node = owner
    else:
        t = owner
        if not wants(t):
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        node = t.node
    if node is not None:
        if node.hooks is None:
            node.hooks = OrderedDict()
        return node.hooks
    if t.hooks is None:
        t.hooks = OrderedDict()
        hooked_leaves += 1
    return t.hooks


def backward(tensors, grads, retain_graph=None, create_graph=False, inputs=None):
    """Accumulates into each leaf's `grad` the derivatives of the list `tensors`, given the upstream gradients `grads`."""
    cdef Engine engine = Engine.__new__(Engine)
    cdef Tensor t
    cdef list inner = []
    engine.record = create_graph
    if inputs is not None:
        inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `torch.autograd.backward` cannot be empty.")
        engine.needed = needed_for(tensors, inputs)
        inner = [t for t in inputs if not t.is_leaf and not t.retains_grad]
        if inner:
            engine.capture = {id(t.node): None for t in inner}
    if hooked_leaves:
        engine.expect(tensors)
    seed(engine, tensors, grads)
    engine.run(create_graph if retain_graph is None else retain_graph)
    for t in inner:
        g = engine.capture[id(t.node)]
        if g is not None:
            t.grad_ = g if t.grad_ is None else operators.add(t.grad_, g)


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
    if hooked_leaves:
        engine.expect(outputs)
    seed(engine, outputs, grads)
    engine.run(create_graph if retain_graph is None else retain_graph)
    found = tuple([engine.capture[id(edge(t))] for t in inputs])
    if not allow_unused and any(g is None for g in found):
        raise RuntimeError(f"One of the differentiated Tensors appears to not have been used in the graph: inputs"
                           f"[{found.index(None)}]. Set allow_unused=True if this is the desired behavior.")
    return found


cdef int seed(Engine engine, object tensors, object grads) except -1:
    cdef Tensor t, g
    for i, of in enumerate(tensors):
        t = <Tensor?> of
        if grads[i] is not None and not isinstance(grads[i], Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(grads[i]).__name__}")
        g = grads[i]
        if not wants(t):
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
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


# Watching: detect_anomaly and check_finite, see autograd/watch.py --------------------------------------------------

def set_watcher(w):
    """From now on `w` is told of every operator that is recorded, and of what the engine computes. None: nobody."""
    global watcher
    watcher = w


cdef int watch_made(Node node, Tensor out) except -1:
    cdef object w = watcher  # another thread may set it to None meanwhile
    if w is not None:
        node.trace = w.place()
        if w.forward and out.base is None and not is_finite(out):
            w.made(node, out)
    return 0


cdef int watch_gradients(Node node, object out, void *g) except -1:
    cdef object w = watcher
    if w is None or not w.backward:
        return 0
    for i, d in enumerate(out if type(out) is tuple else (out,)):
        if d is not None and <void *> d != g and not is_finite(<Tensor> d):
            w.gradient(node, d, i)
    return 0


def is_finite(Tensor t):
    """Whether no element is NaN or infinite."""
    cdef int typenum = cnp.PyArray_TYPE(t.a)
    cdef int64_t n = cnp.PyArray_SIZE(t.a)
    cdef const fdl_table *K = kernels(typenum)
    cdef Scratch s
    cdef double total = 0
    if is_fast(typenum) and cnp.PyArray_IS_C_CONTIGUOUS(t.a):
        s = scratch(K.reduce_scratch(FDL_SUM, 1, n, 1))
        with nogil:
            K.reduce(FDL_SUM, &total, cnp.PyArray_DATA(t.a), 1, n, 1, s.data)
        if isfinite(total if typenum == cnp.NPY_FLOAT64 else (<float *> &total)[0]):
            return True  # a NaN or an infinity would have reached the sum; a finite sum may overflow, though
    return bool(np.isfinite(t.a).all())


def is_grad_enabled():
    """Whether operators record what the backward pass needs, in this thread."""
    return not fdl_grad_off


def set_grad_mode(bint on):
    """Turns recording on or off in this thread; returns what it was."""
    return set_grad(on)
