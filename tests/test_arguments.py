"""The edge of what operators take: overlapping memory, expanded and read-only tensors, None, float16, 0-d."""

import operator

import numpy as np
import pytest

import fastdl
from fastdl.ops import optim as optim_ops

# In-place operators whose operand shares memory ---------------------------------------------------------------------


@pytest.mark.parametrize("op", ["add_", "sub_", "mul_", "div_", "copy_"])
@pytest.mark.parametrize(
    "name,pick",
    [
        ("later", lambda x: (x[1:], x[:-1])),
        ("earlier", lambda x: (x[:-1], x[1:])),
        ("transposed", lambda x: (x, x.T)),
        ("row", lambda x: (x, x[3])),
        ("column", lambda x: (x, x[:, :1])),
        ("columns", lambda x: (x[:, 1:], x[:, :-1])),
        ("element", lambda x: (x, x[2, 2])),
        ("itself", lambda x: (x, x)),
        ("transposed_itself", lambda x: (x.T, x.T)),
        ("expanded", lambda x: (x, x[1:2].expand(40, 40))),
    ],
)
def test_in_place_with_an_overlapping_operand(op, name, pick):
    x = fastdl.arange(1.0, 1601.0).reshape(40, 40)
    want = fastdl.arange(1.0, 1601.0).reshape(40, 40)
    a, b = pick(want)
    getattr(a, op)(b.clone())
    a, b = pick(x)
    getattr(a, op)(b)
    assert x.tolist() == want.tolist()


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.mul_(x),
        lambda x: x.exp_(),
        lambda x: x.copy_(fastdl.ones(2, 3)),
        lambda x: x.uniform_(),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.masked_fill_(x > 0, 1.0),
    ],
)
def test_elements_that_share_memory_are_not_written(write):
    x = fastdl.arange(3.0)
    with pytest.raises(RuntimeError, match="more than one element"):
        write(x.expand(2, 3))
    assert x.tolist() == [0, 1, 2]


def test_expanding_to_the_same_shape_leaves_a_tensor_writable():
    x = fastdl.arange(3.0)
    x.expand(3).add_(1)
    assert x.tolist() == [1, 2, 3]


def test_read_only_memory_is_not_written():
    a = np.ones(3, np.float32)
    a.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        fastdl.from_numpy(a).add_(1)
    assert a.tolist() == [1, 1, 1]


@pytest.mark.parametrize("op,want", [("mul_", [1, 1, 1]), ("div_", [-1, -1, -1]), ("pow_", [0, 0, 0])])
def test_in_place_keeps_the_value_that_the_derivative_needs(op, want):
    x, y = fastdl.ones(3), fastdl.ones(3, requires_grad=True)
    getattr(x, op)(y)
    x.sum().backward()
    assert y.grad.tolist() == want


def test_in_place_operands_twice():
    x = fastdl.full((3,), 2.0, requires_grad=True)
    y = x * 2
    y **= x
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 16 * (np.log(4) + 1), rtol=1e-6)


def test_remainder_is_recorded():
    x, y = fastdl.tensor([5.0, -7.0], requires_grad=True), fastdl.tensor([2.0, 3.0], requires_grad=True)
    (x % y).sum().backward()
    assert x.grad.tolist() == [1, 1] and y.grad.tolist() == [-2, 3]


# Arguments that no operator takes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda x: fastdl.exp(None),
        lambda x: fastdl.matmul(x, None),
        lambda x: x.type_as(None),
        lambda x: fastdl.where(None, x, x),
        lambda x: fastdl.cat([x, None]),
        lambda x: fastdl.stack([None]),
        lambda x: fastdl.eq(1, None),
        lambda x: fastdl.bitwise_and(1, None),
        lambda x: fastdl.sub(1, None),
        lambda x: fastdl.result_type(None, None),
        lambda x: fastdl.autograd.grad(None, None),
        lambda x: fastdl.autograd.grad([None], [x]),
        lambda x: fastdl.autograd.grad([(x.requires_grad_() * 2).sum()], [None]),
        lambda x: x.expand_as(None),
        lambda x: fastdl.nn.functional.linear(x, None),
        lambda x: x.gather(0, None),
        lambda x: x.masked_fill(None, 0),
        lambda x: fastdl.zeros(2.5),
        lambda x: x.__setitem__(0, None),
    ],
)
def test_none_and_wrong_types_are_errors(call):
    with pytest.raises(TypeError):
        call(fastdl.ones(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: fastdl.zeros([1] * 40),
        lambda: fastdl.ones(3).expand([1] * 40 + [3]),
        lambda: fastdl.ones(3).reshape([1] * 40 + [3]),
        lambda: fastdl.from_numpy(np.ones([1] * 40)),
        lambda: fastdl.ones(3)[(None,) * 40],
    ],
)
def test_too_many_dimensions(call):
    with pytest.raises(ValueError, match="at most 32 dimensions"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.split(1),
        lambda x: x.chunk(1),
        lambda x: x.narrow(0, 0, 1),
        lambda x: x.roll(1, 0),
        lambda x: x.split_with_sizes([1]),
        lambda x: x.repeat_interleave(2, 0),
    ],
)
def test_0d_tensors_have_no_entries_along_a_dimension(call):
    with pytest.raises((RuntimeError, IndexError), match="0-d"):
        call(fastdl.tensor(1.0))


@pytest.mark.parametrize("size", [(2, 3), (5,), (1, 1, 1, 1)])
def test_sum_to_size_that_does_not_fit(size):
    with pytest.raises(RuntimeError, match="not expandable"):
        fastdl.ones(3, 3).sum_to_size(*size)


@pytest.mark.parametrize(
    "call",
    [lambda i: i // 0, lambda i: i % 0, lambda i: i % i, lambda i: 5 // i, lambda i: i.div(0, rounding_mode="trunc")],
)
def test_integers_are_not_divided_by_zero(call):
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        call(fastdl.arange(3))


def test_a_mask_is_bool():
    with pytest.raises(RuntimeError, match="bool mask"):
        fastdl.zeros(3).masked_fill_(fastdl.tensor([1, 0, 1]), 5)


def test_arrays_with_strides_between_elements_are_refused():
    records = np.zeros(3, np.dtype([("a", np.float32), ("b", np.int8)]))
    with pytest.raises(ValueError, match="multiples of the element size"):
        fastdl.from_numpy(records["a"])


# float16 has no kernels: computed in float32 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.exp(),
        lambda x: x.tanh(),
        lambda x: fastdl.nn.functional.gelu(x),
        lambda x: x.floor(),
        lambda x: x * x + 1,
        lambda x: 2**x,
        lambda x: -x,
        lambda x: x / 3,
        lambda x: x.clone().exp_(),
        lambda x: x.clone().sigmoid_(),
    ],
)
def test_float16(function):
    x = fastdl.linspace(-2, 2, 100)
    y = function(x.half())
    assert y.dtype is fastdl.float16
    np.testing.assert_allclose(y.float().numpy(), function(x.half().float()).numpy(), rtol=2e-3, atol=1e-3)


def test_float16_is_recorded():
    x = fastdl.tensor([1.0, 2.0], dtype=fastdl.float16, requires_grad=True)
    (x * x * 3 + x.exp().relu()).sum().backward()
    assert x.grad.dtype is fastdl.float16
    np.testing.assert_allclose(x.grad.float().numpy(), [6 + np.e, 12 + np.e**2], rtol=2e-3)


# Python's protocols -------------------------------------------------------------------------------------------------


def test_contains():
    x = fastdl.tensor([1.0, 2.0])
    assert 2 in x and 3.5 not in x and fastdl.tensor([1.0]) in x


def test_format_and_print():
    assert f"{fastdl.tensor(3.0)}" == "3.0" and f"{fastdl.tensor(2):4d}" == "   2"
    x = fastdl.tensor([1.0, float("nan"), -float("inf"), float("inf"), -0.0])
    assert repr(x) == "tensor([1., nan, -inf, inf, -0.])"


def test_one_element_is_assigned_to_an_element():
    x = fastdl.zeros(2, 2)
    x[0, 0] = fastdl.tensor([5])
    assert x.tolist() == [[5, 0], [0, 0]]


def test_square_of_bool():
    assert fastdl.tensor([True, False]).square().dtype is fastdl.int64


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.__array_wrap__((0, slice(None))),
        lambda x: x + np.array([None, "a"]),
        lambda x: x == np.array([1j]),
        lambda x: fastdl.where(x > 0, np.array(["a"]), x),
    ],
)
def test_arrays_that_no_tensor_can_hold(call):
    with pytest.raises(TypeError):
        call(fastdl.ones(2))


@pytest.mark.parametrize("call", [lambda: optim_ops.grad_norm([None]), lambda: optim_ops.scale_grads([None], 0.5),
                                  lambda: optim_ops.zero_grad([None], True)])
def test_a_parameter_list_with_none(call):
    with pytest.raises(TypeError, match="expected tensors, got None"):
        call()


@pytest.mark.parametrize("write, slope", [
    (lambda v: v.square_(), 2.0), (lambda v: v.abs_(), 1.0), (lambda v: v.log_(), 1.0), (lambda v: v.clamp_(0, 9), 1.0),
])
def test_in_place_functions_of_a_view_have_gradients(write, slope):
    x = fastdl.ones(2, 3, requires_grad=True)
    y = x * 1
    write(y.T[1:])
    y.sum().backward()
    assert x.grad.tolist() == [[1, slope, slope]] * 2


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, float("inf")])
def test_norm_of_zeros_has_the_gradient_zero(p):
    x = fastdl.zeros(3, requires_grad=True)
    x.norm(p).backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_triangles_keep_bool():
    x = fastdl.ones(2, 2, dtype=fastdl.bool)
    assert x.tril().dtype is x.triu().dtype is fastdl.bool
    assert x.tril().tolist() == [[True, False], [True, True]]


def test_whole_types_go_into_each_other_in_place():
    x = fastdl.tensor([250, 3], dtype=fastdl.uint8)
    x += fastdl.tensor([10, 1])
    assert x.tolist() == [4, 4] and x.dtype is fastdl.uint8
    with pytest.raises(RuntimeError, match="can't be cast"):
        x += 0.5
    with pytest.raises(RuntimeError, match="can't be cast"):
        fastdl.ones(2, dtype=fastdl.bool).add_(fastdl.tensor([1, 2]))


def test_zeros_and_nan_do_not_widen_what_is_printed():
    assert repr(fastdl.tensor([-0.0, 2.0, 0.5])) == "tensor([-0.0000, 2.0000, 0.5000])"
    assert repr(fastdl.tensor([np.nan, 1e9, 0.5])) == "tensor([       nan, 1.0000e+09, 5.0000e-01])"


@pytest.mark.parametrize("operation, expected", [
    (operator.ifloordiv, [2, 3, 4]), (operator.imod, [1, 1, 1]), (operator.iand, [0, 2, 0]), (operator.ior, [7, 7, 11]),
    (operator.ixor, [7, 5, 11]),
])  # fmt: skip
def test_augmented_assignment_writes_into_the_tensor(operation, expected):
    x = fastdl.tensor([[5, 7, 9], [1, 1, 1]])
    row = x[0]
    assert operation(row, 2) is row
    assert x.tolist() == [expected, [1, 1, 1]]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (lambda t: [t([1.0]), t([[2.0]])], fastdl.float32, [1.0, 2.0]),
        (lambda t: [[t(1.0), 2], [3, t([[4]])]], fastdl.float32, [[1.0, 2.0], [3.0, 4.0]]),
        (lambda t: [t(1, dtype=fastdl.int32), t(2, dtype=fastdl.int32)], fastdl.int32, [1, 2]),
        (lambda t: (t(1.5, dtype=fastdl.float64), 2, np.float32(3)), fastdl.float64, [1.5, 2.0, 3.0]),
        (lambda t: [2, t(1.5, dtype=fastdl.float16)], fastdl.float16, [2.0, 1.5]),
        (lambda t: [t(True), t(False)], fastdl.bool, [True, False]),
    ],
)
def test_lists_of_tensors_of_one_element(values, dtype, expected):
    found = fastdl.tensor(values(fastdl.tensor))
    assert found.dtype is dtype and found.tolist() == expected


@pytest.mark.parametrize("size", [0, 2])
def test_lists_of_longer_tensors_are_no_data(size):
    with pytest.raises(ValueError, match=rf"only one element tensors .* shape \({size},\): see stack and cat"):
        fastdl.tensor([fastdl.ones(size), fastdl.ones(size)])
