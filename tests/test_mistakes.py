"""Mistakes that users make, each with the text that they see: operator, sizes, place, value and what was expected."""

import contextlib
import copy
import gc
import sys
import warnings

import numpy as np
import pytest

import fastdl
from fastdl import arange, nn, ones, optim, tensor, zeros
from fastdl.nn import functional as F
from fastdl.optim import lr_scheduler as schedule
from fastdl.utils.data import DataLoader, Dataset, TensorDataset
from tests.process import DEEP

attention, attend, pack = nn.MultiheadAttention, F.scaled_dot_product_attention, nn.utils.rnn.pack_padded_sequence


def ints(*shape):
    return zeros(*shape, dtype=fastdl.int64)


def bools(*shape):
    return zeros(*shape, dtype=fastdl.bool)


def grad(*shape):
    return ones(*shape, requires_grad=True)


class Layer(nn.Module):
    def __init__(self, columns=8):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(columns, 16), nn.Linear(16, 8)

    def forward(self, x):
        return self.linear2(self.linear1(x))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer(), Layer(9)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x):
        return self.encoder(x)


class WithoutInit(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2)


class WithoutInit2(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(zeros(2))


class NoForward(nn.Module):
    pass


class RaggedData(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return zeros(3 if i != 3 else 4), i


def write_into_leaf():
    grad(3).add_(1)


def assign_into_leaf():
    x = grad(3)
    x[0] = 1


def write_over_saved():
    y = grad(3).exp()
    y.add_(1)
    y.sum().backward()


def backward_twice():
    x = grad(3)
    y = (x * x).sum()
    y.backward()
    y.backward()


def loss_of_no_grad():
    with fastdl.no_grad():
        loss = nn.Linear(2, 2)(zeros(2)).sum()
    loss.backward()


def used_up():
    parameters = nn.Linear(2, 2).parameters()
    print(list(parameters))
    optim.SGD(parameters, lr=0.1)


def clip_nan():
    x = grad(2)
    x.grad = tensor([float("nan"), 1.0])
    nn.utils.clip_grad_norm_([x], 1.0, error_if_nonfinite=True)


def load(layers):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model.load_state_dict(nn.Sequential(*[nn.Linear(2, 4) for _ in range(layers)]).state_dict())


MISTAKES = [
    # shapes
    (lambda: Net()(zeros(4, 8)), RuntimeError,
     "[linear] input: expected 9 entries in the last dimension for weight (16, 9), got shape (4, 8)\n  in "
     "module Net.encoder.layers.2.linear1 (Linear(in_features=9, out_features=16, bias=True))"),
    (lambda: nn.Linear(5, 3)(zeros(2, 4)), RuntimeError,
     "[linear] input: expected 5 entries in the last dimension for weight (3, 5), got shape (2, 4)\n  in module "
     "Linear(in_features=5, out_features=3, bias=True)"),
    (lambda: F.linear(zeros(2, 4), zeros(3, 5)), RuntimeError,
     "[linear] input: expected 5 entries in the last dimension for weight (3, 5), got shape (2, 4)"),
    (lambda: nn.Linear(4, 3)(ints(2, 4)), RuntimeError,
     "[linear] expected both operands to have the same dtype, but got torch.int64 and torch.float32\n  in "
     "module Linear(in_features=4, out_features=3, bias=True)"),
    (lambda: nn.Linear(4, 3)(zeros(2, 4, dtype=fastdl.float64)), RuntimeError,
     "[linear] expected both operands to have the same dtype, but got torch.float64 and torch.float32\n  in "
     "module Linear(in_features=4, out_features=3, bias=True)"),
    (lambda: zeros(2, 3) @ zeros(4, 5), RuntimeError,
     "[matmul] shapes (2, 3) and (4, 5) cannot be multiplied: the first has 3 columns, the second 4 rows"),
    (lambda: zeros(2, 3, 4) @ zeros(5, 4, 6), RuntimeError,
     "[matmul] the leading dimensions of (2, 3, 4) and (5, 4, 6) cannot be broadcast together: 2 and 5 differ"),
    (lambda: zeros(3) @ zeros(4), RuntimeError,
     "[matmul] shapes (3,) and (4,) cannot be multiplied: the first has 3 columns, the second 4 rows"),
    (lambda: tensor(1.0) @ zeros(4), RuntimeError,
     "[matmul] both operands need at least one dimension, got shapes () and (4,)"),
    (lambda: fastdl.mm(zeros(2, 3), zeros(4, 5)), RuntimeError,
     "[mm] shapes (2, 3) and (4, 5) cannot be multiplied: the first has 3 columns, the second 4 rows"),
    (lambda: fastdl.bmm(zeros(2, 3, 4), zeros(2, 5, 6)), RuntimeError,
     "[bmm] shapes (2, 3, 4) and (2, 5, 6) cannot be multiplied: the first has 4 columns, the second 5 rows"),
    (lambda: fastdl.dot(zeros(2), zeros(3)), RuntimeError,
     "[dot] shapes (2,) and (3,) cannot be multiplied: the first has 2 columns, the second 3 rows"),
    (lambda: zeros(2, 3) @ zeros(3, 2, dtype=fastdl.float64), RuntimeError,
     "[matmul] expected both operands to have the same dtype, but got torch.float32 and torch.float64"),
    (lambda: zeros(2, 3) @ ints(3, 2), RuntimeError,
     "[matmul] expected both operands to have the same dtype, but got torch.float32 and torch.int64"),
    (lambda: zeros(2, 3) @ [1, 2, 3], TypeError, "[matmul] expected tensors, got Tensor and list"),
    (lambda: zeros(2, 3) + zeros(2, 4), RuntimeError,
     "[add] the shapes (2, 3) and (2, 4) cannot be broadcast together: 3 and 4 differ in dimension -1 and neither "
     "is 1"),
    (lambda: zeros(4, 2, 3) * zeros(4, 3), RuntimeError,
     "[mul] the shapes (4, 2, 3) and (4, 3) cannot be broadcast together: 2 and 4 differ in dimension -2 and "
     "neither is 1"),
    (lambda: zeros(3).add_(zeros(2, 3)), RuntimeError,
     "[add_] the result has shape (2, 3), which does not fit into the tensor's (3,)"),
    (lambda: zeros(3) + None, TypeError,
     "[operator] operands: expected a tensor or a number, got NoneType beside a tensor of shape (3,)"),
    (lambda: zeros(3) + "a", TypeError,
     "[operator] operands: expected a tensor or a number, got str beside a tensor of shape (3,)"),
    (lambda: fastdl.cat([zeros(2, 3), zeros(2, 4)]), RuntimeError,
     "[cat] sizes of tensors must match except in dimension 0: tensor 0 has shape (2, 3), tensor 1 has (2, 4)"),
    (lambda: fastdl.cat(zeros(2), zeros(3)), TypeError,
     "[cat] tensors: expected a list or tuple of Tensors, got a Tensor"),
    (lambda: fastdl.cat([zeros(2, 3)], 2), IndexError, "[cat] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: fastdl.stack([zeros(2, 3), zeros(2, 4)]), RuntimeError,
     "[stack] expects each tensor to be equal size, but got (2, 3) at entry 0 and (2, 4) at entry 1"),
    (lambda: fastdl.stack([[1, 2], [3, 4]]), TypeError, "[stack] expected Tensors, got list"),
    (lambda: zeros(2, 3).view(4, 2), RuntimeError,
     "[view] shape (4, 2) is invalid for input of size 6 (a tensor of shape (2, 3))"),
    (lambda: zeros(2, 3).T.view(6), RuntimeError,
     "[view] a tensor of shape (3, 2) and strides (1, 3) has no view of shape (6,). Use .reshape(...) instead."),
    (lambda: zeros(2, 3).view(-1, 4), RuntimeError,
     "[view] shape (-1, 4) is invalid for input of size 6 (a tensor of shape (2, 3))"),
    (lambda: zeros(2, 3).view(-1, -1), RuntimeError, "[view] only one size can be -1 and none smaller, got (-1, -1)"),
    (lambda: zeros(2, 3).reshape(7), RuntimeError,
     "[reshape] shape (7,) is invalid for input of size 6 (a tensor of shape (2, 3))"),
    (lambda: zeros(2, 3).expand(4, 3), RuntimeError,
     "[expand] a tensor of shape (2, 3) cannot be expanded to (4, 3): dimension 0 is 2, not 4"),
    (lambda: zeros(2, 3).expand(3), RuntimeError,
     "[expand] expected at least 2 sizes for a tensor of shape (2, 3), got (3,)"),
    (lambda: zeros(2, 3).permute(0, 1, 2), RuntimeError,
     "[permute] expected 2 dimensions for a tensor of shape (2, 3), got (0, 1, 2)"),
    (lambda: zeros(2, 3).permute(0, 0), RuntimeError, "[permute] a dimension is repeated in (0, 0)"),
    (lambda: zeros(2, 3).transpose(0, 2), IndexError,
     "[transpose] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: zeros(2, 3).squeeze(2), IndexError, "[squeeze] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: zeros(2, 3).unsqueeze(4), IndexError,
     "[unsqueeze] dim 4 is outside [-3, 2] of a tensor with 3 dimensions"),
    (lambda: zeros(2, 3).sum(2), IndexError, "[sum] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: zeros(2, 3).sum("a"), TypeError, "[sum] dim: expected None, an int or a tuple of ints, got str"),
    (lambda: zeros(2, 3).argmax(5), IndexError, "[argmax] dim 5 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: zeros(0).max(), RuntimeError,
     "[max] expected reduction dim to be specified for input.numel() == 0, got a tensor of shape (0,)"),
    # indices
    (lambda: zeros(2, 3)[5], IndexError,
     "[getitem] index 5 does not fit a tensor of shape (2, 3): index 5 is out of bounds for dimension 0 with size 2"),
    (lambda: zeros(2, 3)[0, 3], IndexError,
     "[getitem] index 0, 3 does not fit a tensor of shape (2, 3): index 3 is out of bounds for dimension 1 with "
     "size 3"),
    (lambda: zeros(2, 3)[0, 0, 0], IndexError,
     "[getitem] index 0, 0, 0 does not fit a tensor of shape (2, 3): too many indices for tensor: tensor is "
     "2-dimensional, but 3 were indexed"),
    (lambda: zeros(2, 3)[tensor([0, 2])], IndexError, "[getitem] index[1] = 2 is outside [-2, 2) of dimension 0"),
    (lambda: zeros(2, 3)[tensor([0.0, 1.0])], IndexError,
     "[getitem] tensors used as indices must be of integer or bool type, got float32"),
    (lambda: zeros(2, 3)[tensor([True, False, True])], IndexError,
     "[getitem] a mask of shape (3,) does not fit a tensor of shape (2, 3) from dimension 0 on"),
    (lambda: zeros(2, 3)["a"], TypeError,
     "[getitem] an index is made of ints, slices, None, ..., lists, tensors, got str"),
    (lambda: zeros(3)[::-1], ValueError, "step must be greater than zero"),
    (lambda: zeros(2, 3).__setitem__(0, zeros(4)), RuntimeError,
     "[setitem] a value of shape (4,) cannot be assigned to index 0 of a tensor of shape (2, 3): that has shape "
     "(3,)"),
    (lambda: zeros(2, 3).__setitem__(0, "a"), TypeError, "[setitem] expected a tensor, a number or an array, got 'a'"),
    # losses
    (lambda: F.cross_entropy(zeros(4, 10), tensor([1, 2, 10, 3])), IndexError,
     "[cross_entropy] target[2]: expected a class in [0, 10), got 10"),
    (lambda: F.cross_entropy(zeros(4, 10), tensor([1, -1, 0, 3])), IndexError,
     "[cross_entropy] target[1]: expected a class in [0, 10), got -1"),
    (lambda: F.cross_entropy(zeros(2, 3, 4, 4), fastdl.full((2, 4, 4), 3)), IndexError,
     "[cross_entropy] target[0, 0, 0]: expected a class in [0, 3), got 3"),
    (lambda: F.cross_entropy(zeros(4, 10), tensor([1.0, 2.0, 1.0, 3.0])), RuntimeError,
     "[cross_entropy] target: expected class indices (int64), or for cross_entropy probabilities of input's shape, "
     "got torch.float32 of shape (4,)"),
    (lambda: F.cross_entropy(zeros(4, 10), tensor([1, 2, 1])), ValueError,
     "[cross_entropy] target: expected one class per row of input (4, 10), that is shape (4,), got (3,)"),
    (lambda: F.cross_entropy(zeros(4, 10), ints(4, 1)), RuntimeError,
     "[cross_entropy] target: expected one class per row of input (4, 10), that is shape (4,), got (4, 1)"),
    (lambda: F.cross_entropy(zeros(4, 10), ints(4), weight=zeros(3)), RuntimeError,
     "[cross_entropy] weight: expected one number per class, shape (10,), got (3,)"),
    (lambda: F.cross_entropy(ints(4, 10), ints(4)), RuntimeError,
     "[cross_entropy] input: expected float32 or float64 scores, got torch.int64"),
    (lambda: F.cross_entropy(zeros(4, 10), ints(4), reduction="avg"), ValueError,
     "[cross_entropy] avg is not a valid value for reduction: expected 'none', 'mean' or 'sum'"),
    (lambda: F.cross_entropy(zeros(4, 10), ints(4), label_smoothing=2), RuntimeError,
     "[cross_entropy] label_smoothing: expected a number in [0, 1], got 2.0"),
    (lambda: F.nll_loss(zeros(4, 10), tensor([1, 2, 11, 3])), IndexError,
     "[nll_loss] target[2]: expected a class in [0, 10), got 11"),
    (lambda: F.nll_loss(zeros(4, 10), zeros(4)), RuntimeError,
     "[nll_loss] target: expected class indices (int64), or for cross_entropy probabilities of input's shape, got "
     "torch.float32 of shape (4,)"),
    (lambda: F.binary_cross_entropy(tensor([0.5, 1.5]), tensor([1.0, 0.0])), RuntimeError,
     "[binary_cross_entropy] all elements of input should be between 0 and 1, got input[1] = 1.5"),
    (lambda: F.binary_cross_entropy(fastdl.full((2, 1), 0.5), zeros(2)), ValueError,
     "[binary_cross_entropy] target: expected the shape of input, (2, 1), got (2,)"),
    (lambda: F.binary_cross_entropy(zeros(2), fastdl.tensor([0, 1])), RuntimeError,
     "[binary_cross_entropy] target: expected torch.float32 as input, got torch.int64"),
    (lambda: F.binary_cross_entropy_with_logits(zeros(2), fastdl.tensor([0, 1])), RuntimeError,
     "[binary_cross_entropy_with_logits] target: expected probabilities, got torch.int64"),
    (lambda: F.binary_cross_entropy_with_logits(zeros(2, 1), zeros(2)), ValueError,
     "[binary_cross_entropy_with_logits] target: expected the shape of input, (2, 1), got (2,)"),
    (lambda: F.mse_loss(zeros(3), zeros(4)), RuntimeError,
     "[mse_loss] the shapes (3,) and (4,) cannot be broadcast together: 3 and 4 differ in dimension -1 and neither "
     "is 1"),
    # numbers of rows and classes
    (lambda: nn.Embedding(10, 4)(tensor([[1, 2], [3, 10]])), IndexError,
     "[embedding] input[1, 1]: expected an index in [0, 10), got 10\n  in module Embedding(10, 4)"),
    (lambda: nn.Embedding(10, 4)(tensor([[1, 2], [-1, 1]])), IndexError,
     "[embedding] input[1, 0]: expected an index in [0, 10), got -1\n  in module Embedding(10, 4)"),
    (lambda: nn.Embedding(10, 4)(zeros(2, 3)), RuntimeError,
     "[embedding] input: expected integers, got torch.float32\n  in module Embedding(10, 4)"),
    (lambda: nn.Embedding(10, 4, padding_idx=10), ValueError, "padding_idx must be within num_embeddings (10), got 10"),
    (lambda: zeros(2, 3).gather(1, tensor([[0, 3]])), RuntimeError,
     "[gather] index[0, 1] = 3 is outside [0, 3) of dimension 1"),
    (lambda: zeros(2, 3).gather(1, tensor([[0.0, 1.0]])), RuntimeError,
     "[gather] expected an int64 index, got torch.float32"),
    (lambda: zeros(2, 3).gather(1, tensor([0, 1])), RuntimeError,
     "[gather] index must have the input's 2 dimensions, got shape (2,)"),
    (lambda: zeros(2, 3).index_select(0, tensor([0, 2])), IndexError,
     "[index_select] index[1] = 2 is outside [0, 2) of dimension 0"),
    (lambda: zeros(2, 3).index_select(0, tensor([0.0, 1.0])), IndexError,
     "[index_select] index: expected integers, got torch.float32"),
    (lambda: zeros(2, 3).scatter(1, tensor([[0, 3]]), 1.0), RuntimeError,
     "[scatter_] index[0, 1] = 3 is outside [0, 3) of dimension 1"),
    (lambda: zeros(2, 3).take(tensor([6])), IndexError, "[take] index[0] = 6 is outside [-6, 6) of dimension 0"),
    (lambda: zeros(2, 3).index_add_(0, tensor([0, 2]), zeros(2, 3)), IndexError,
     "[index_add_] index[1] = 2 is outside [0, 2) of dimension 0"),
    (lambda: zeros(3).topk(4), RuntimeError, "[topk] k = 4 is outside [0, 3], the size of dimension -1"),
    (lambda: zeros(3).kthvalue(4), RuntimeError, "[kthvalue] k: expected a number in [1, 3], got 4"),
    (lambda: F.one_hot(tensor([0, -1])), RuntimeError, "[one_hot] input[1]: expected an index in [0, 1), got -1"),
    (lambda: F.one_hot(tensor([0, 5]), 3), RuntimeError, "[one_hot] input[1]: expected an index in [0, 3), got 5"),
    (lambda: F.one_hot(tensor([0.0, 1.0])), RuntimeError, "[one_hot] input: expected integers, got torch.float32"),
    (lambda: fastdl.multinomial(tensor([0.5, -0.5]), 1), RuntimeError,
     "[multinomial] probability tensor contains either `inf`, `nan` or element < 0: input[1] = -0.5"),
    (lambda: fastdl.multinomial(zeros(3), 1), RuntimeError,
     "[multinomial] invalid multinomial distribution (sum of probabilities <= 0) in row 0"),
    (lambda: fastdl.multinomial(ones(3), 4), RuntimeError,
     "[multinomial] cannot draw 4 different ids: rows have 3 classes, 3 of weight > 0 at least"),
    (lambda: fastdl.multinomial(tensor([float("nan"), 1.0]), 1), RuntimeError,
     "[multinomial] probability tensor contains either `inf`, `nan` or element < 0: input[0] = nan"),
    # gradients
    (backward_twice, RuntimeError,
     "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
     "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
     "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
     "saved tensors after calling backward. [MulBackward0]"),
    (lambda: (grad(3) * 2).backward(), RuntimeError,
     "grad can be implicitly created only for scalar outputs, this one has shape (3,)"),
    (lambda: zeros(3).sum().backward(), RuntimeError,
     "element 0 of tensors does not require grad and does not have a grad_fn"),
    (loss_of_no_grad, RuntimeError, "element 0 of tensors does not require grad and does not have a grad_fn"),
    (lambda: (grad(3) * 2).backward(ones(2)), RuntimeError,
     "Mismatch in shape: grad_output[0] has a shape of torch.Size([2]) and output[0] has a shape of "
     "torch.Size([3])."),
    (write_into_leaf, RuntimeError, "a leaf Variable that requires grad is being used in an in-place operation."),
    (assign_into_leaf, RuntimeError, "a leaf Variable that requires grad is being used in an in-place operation."),
    (write_over_saved, RuntimeError,
     "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor of "
     "shape (3,) and type torch.float32, output of ExpBackward0: add_ wrote to it after ExpBackward0 had saved it, "
     "and it is at version 1; expected version 0 instead. Write `x = x + y` instead of `x += y`, or clone() the "
     "tensor first."),
    (lambda: tensor([1, 2], requires_grad=True), RuntimeError,
     "only Tensors of floating point dtype can require gradients, this one is torch.int64"),
    (lambda: tensor([1, 2]).requires_grad_(), RuntimeError,
     "only Tensors of floating point dtype can require gradients, this one is torch.int64"),
    (lambda: fastdl.autograd.grad((grad(3) * 2).sum(), grad(3)), RuntimeError,
     "One of the differentiated Tensors appears to not have been used in the graph: inputs[0]. Set "
     "allow_unused=True if this is the desired behavior."),
    (lambda: setattr(grad(3), "grad", zeros(2)), RuntimeError,
     "assigned grad has shape (2,) and type torch.float32, the tensor has (3,) and torch.float32"),
    # optimizers
    (lambda: optim.SGD([], lr=0.1), ValueError, "[SGD] optimizer got an empty parameter list"),
    (used_up, ValueError, "[SGD] optimizer got an empty parameter list: the iterator that was passed is used up"),
    (lambda: optim.SGD([grad(3)], lr=-0.1), ValueError, "[SGD] lr: expected a number >= 0, got -0.1"),
    (lambda: optim.Adam([grad(3)], lr=-0.1), ValueError, "[Adam] lr: expected a number >= 0, got -0.1"),
    (lambda: optim.Adam([grad(3)], betas=(1.0, 0.9)), ValueError,
     "[Adam] beta at index 0: expected a number in [0, 1), got 1.0"),
    (lambda: optim.SGD(grad(3), lr=0.1), TypeError,
     "[SGD] params: expected an iterable of Tensors or dicts, got Tensor"),
    (lambda: optim.SGD(nn.Linear(2, 2), lr=0.1), TypeError,
     "[SGD] params: expected an iterable of Tensors, got Linear: pass its .parameters()"),
    (lambda: optim.SGD([1, 2], lr=0.1), TypeError, "[SGD] params: expected Tensors, one of them is int"),
    (lambda: optim.SGD([grad(3) * 2], lr=0.1), ValueError,
     "[SGD] can't optimize a non-leaf Tensor (its grad_fn is MulBackward0)"),
    (lambda: (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1))(grad(3)), ValueError,
     "[SGD] some parameters appear in more than one parameter group"),
    (lambda: optim.SGD([grad(3)], lr=0.1, momentum=-1), ValueError, "[SGD] momentum: expected a number >= 0, got -1"),
    (lambda: optim.SGD([grad(3)], lr=0.1, nesterov=True), ValueError,
     "[SGD] Nesterov momentum requires a momentum and zero dampening"),
    (
        lambda: optim.SGD([grad(3)], lr=0.1).load_state_dict(optim.SGD([grad(3), grad(2)], lr=0.1).state_dict()),
        ValueError,
        "[SGD] loaded state dict contains a parameter group that doesn't match the size of optimizer's group 0: "
        "expected 1 parameters, got 2",
    ),
    # state dictionaries
    (lambda: load(2), RuntimeError,
     "Error(s) in loading state_dict for Sequential (4 keys, given 4):\n  Missing key(s) in state_dict: 2\n "
     '   "2.weight"\n    "2.bias"\n  Unexpected key(s) in state_dict: 2\n    "1.weight"\n    '
     '"1.bias"\n  size mismatch for 0.weight: copying a param with shape torch.Size([4, 2]) from checkpoint, '
     "the shape in current model is torch.Size([3, 2])\n  size mismatch for 0.bias: copying a param with shape "
     "torch.Size([4]) from checkpoint, the shape in current model is torch.Size([3])"),
    (lambda: load(40), RuntimeError,
     "Error(s) in loading state_dict for Sequential (4 keys, given 80):\n  Unexpected key(s) in state_dict: "
     '76\n    38 like "*.weight", the first is "1.weight"\n    38 like "*.bias", the first is '
     '"1.bias"\n  size mismatch for 0.weight: copying a param with shape torch.Size([4, 2]) from checkpoint, '
     "the shape in current model is torch.Size([3, 2])\n  size mismatch for 0.bias: copying a param with shape "
     "torch.Size([4]) from checkpoint, the shape in current model is torch.Size([3])\n  size mismatch for "
     "2.weight: copying a param with shape torch.Size([4, 2]) from checkpoint, the shape in current model is "
     "torch.Size([1, 3])\n  size mismatch for 2.bias: copying a param with shape torch.Size([4]) from "
     "checkpoint, the shape in current model is torch.Size([1])"),
    (lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(2, 2)), TypeError,
     "Expected state_dict to be dict-like, got <class 'fastdl.nn.linear.Linear'>."),
    (lambda: nn.Linear(2, 2).load_state_dict(None), TypeError,
     "Expected state_dict to be dict-like, got <class 'NoneType'>."),
    # data
    (lambda: next(iter(DataLoader(RaggedData(), batch_size=6))), RuntimeError,
     "[DataLoader] the samples of a batch differ in shape: sample 0 has [(3,), 'int'], sample 3 has [(4,), 'int']; "
     "pass collate_fn, for example one that calls nn.utils.rnn.pad_sequence"),
    (lambda: next(iter(DataLoader([1, "a", 2], batch_size=3))), RuntimeError,
     "[DataLoader] the samples of a batch differ in shape: sample 0 has int, sample 1 has str; pass collate_fn, for "
     "example one that calls nn.utils.rnn.pad_sequence"),
    (lambda: DataLoader([1], batch_size=0), ValueError, "[DataLoader] batch_size: expected an int > 0, got 0"),
    (lambda: DataLoader([1], num_workers=-1), ValueError, "[DataLoader] num_workers: expected a number >= 0, got -1"),
    (lambda: TensorDataset(zeros(3), zeros(4)), AssertionError,
     "[TensorDataset] tensors: expected one number of rows, got the shapes (3,), (4,)"),
    (lambda: DataLoader(iter([1, 2]), shuffle=True), TypeError,
     "[DataLoader] dataset: expected a sequence, a Dataset or an IterableDataset, got list_iterator"),
    (lambda: fastdl.utils.data.random_split([1, 2, 3], [1, 1]), ValueError,
     "[random_split] lengths: expected numbers that sum to 3, got [1, 1]"),
    # recurrent nets and attention
    (lambda: nn.LSTM(4, 5)(zeros(3, 2, 6)), RuntimeError,
     "[LSTM] input.size(-1) must be equal to input_size. Expected 4, got 6: shape (3, 2, 6)\n  in module "
     "LSTM(4, 5)"),
    (lambda: nn.LSTM(4, 5)(zeros(4)), ValueError, "LSTM: Expected input to be 2D or 3D, got 1D tensor instead"),
    (lambda: nn.GRU(4, 5)(zeros(3, 2, 4), zeros(1, 3, 5)), RuntimeError,
     "[gru] h0: expected shape (1, 2, 5) (layers * directions, batch, hidden size), got (1, 3, 5)\n  in module "
     "GRU(4, 5)"),
    (lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), zeros(1, 2, 5)), TypeError,
     "LSTM: expected hx to be a pair (h0, c0), got Tensor"),
    (lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(2, 2, 5))), RuntimeError,
     "[lstm] c0: expected shape (1, 2, 5) (layers * directions, batch, hidden size), got (2, 2, 5)\n  in module "
     "LSTM(4, 5)"),
    (lambda: nn.RNN(4, 5)(ints(3, 2, 4)), ValueError,
     "RNN: input must have the type torch.float32 of the weights, got torch.int64"),
    (lambda: nn.LSTMCell(4, 5)(zeros(2, 3)), RuntimeError,
     "[LSTMCell] input has inconsistent input_size: got 3 expected 4, shape (2, 3)\n  in module LSTMCell(4, 5)"),
    (lambda: nn.RNN(4, 5, nonlinearity="sigmoid"), ValueError,
     "Unknown nonlinearity 'sigmoid'. Select from 'tanh' or 'relu'."),
    (lambda: nn.MultiheadAttention(10, 3), AssertionError, "embed_dim must be divisible by num_heads, got 10 and 3"),
    (lambda: attention(8, 2)(zeros(3, 2, 9), zeros(3, 2, 9), zeros(3, 2, 9)), AssertionError,
     "[multi_head_attention] was expecting embedding dimension of 8, but got 9\n  in module MultiheadAttention"),
    (lambda: attention(8, 2)(zeros(3, 2, 8), zeros(4, 2, 8), zeros(4, 2, 8), attn_mask=zeros(4, 3)), RuntimeError,
     "The shape of the 2D attn_mask is (4, 3), but should be (3, 4)."),
    (
        lambda: attention(8, 2)(zeros(3, 2, 8), zeros(4, 2, 8), zeros(4, 2, 8), key_padding_mask=bools(4, 2)),
        AssertionError,
        "[multi_head_attention] expecting key_padding_mask shape of (2, 4), but got (4, 2)\n  in module "
        "MultiheadAttention",
    ),
    (lambda: attention(8, 2)(zeros(3, 2, 8), zeros(4, 2, 8), zeros(4, 2, 8), attn_mask=ints(3, 4)), AssertionError,
     "[multi_head_attention] only bool and floating types of attn_mask are supported, got torch.int64\n  in "
     "module MultiheadAttention"),
    (lambda: attend(zeros(2, 4, 3, 8), zeros(2, 4, 5, 7), zeros(2, 4, 5, 8)), RuntimeError,
     "[scaled_dot_product_attention] expected query and key of the same last size, and as many values as keys, got "
     "query (2, 4, 3, 8), key (2, 4, 5, 7) and value (2, 4, 5, 8)"),
    (lambda: attend(zeros(2, 4, 3, 8), zeros(2, 4, 5, 8), zeros(2, 4, 5, 8), zeros(3, 4)), RuntimeError,
     "[scaled_dot_product_attention] attn_mask: expected a shape that can be broadcast to (2, 4, 3, 5), got (3, 4)"),
    (lambda: attend(zeros(2, 4, 3, 8), zeros(2, 4, 5, 8), zeros(2, 4, 5, 8), ints(3, 5)), RuntimeError,
     "[scaled_dot_product_attention] Expected attn_mask dtype to be bool or float or to match query dtype, but got "
     "attn_mask.dtype: torch.int64"),
    (lambda: nn.TransformerEncoderLayer(10, 4), AssertionError,
     "embed_dim must be divisible by num_heads, got 10 and 4"),
    # values and types
    (lambda: nn.Dropout(1.5), ValueError, "dropout probability has to be between 0 and 1, but got 1.5"),
    (lambda: F.dropout(zeros(3), -0.1), ValueError, "dropout probability has to be between 0 and 1, but got -0.1"),
    (lambda: grad(3).numpy(), RuntimeError,
     "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
    (lambda: np.asarray(grad(3)), RuntimeError,
     "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
    (lambda: zeros(3).item(), RuntimeError, "a Tensor with 3 elements cannot be converted to Scalar"),
    (lambda: bool(zeros(3)), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
    (lambda: float(zeros(3)), ValueError,
     "only one element tensors can be converted to Python scalars, got shape (3,)"),
    (lambda: tensor([[1, 2], [3]]), ValueError,
     "[tensor] expected sequence of length 2 at dim 1 (got 1): lists of different lengths make no tensor, see "
     "nn.utils.rnn.pad_sequence"),
    (lambda: tensor("abc"), TypeError, "[tensor] data: expected numbers, got str 'abc'"),
    (lambda: tensor([1, None]), RuntimeError, "[tensor] could not infer a dtype for list: [1, None]"),
    (lambda: len(tensor(1.0)), TypeError, "len() of a 0-d tensor"),
    (lambda: fastdl.where(zeros(3), zeros(3), zeros(3)), TypeError,
     "[where] expected condition to be a boolean tensor, but got a tensor with dtype torch.float32"),
    (lambda: fastdl.where(bools(3), zeros(3), zeros(4)), RuntimeError,
     "[where] the shapes (3,) and (4,) cannot be broadcast together: 3 and 4 differ in dimension -1 and neither is "
     "1"),
    (lambda: zeros(3).masked_fill(zeros(3), 1.0), RuntimeError,
     "[masked_fill] expected a bool mask, got torch.float32"),
    (lambda: zeros(3).masked_fill(ints(3), 1.0), RuntimeError, "[masked_fill] expected a bool mask, got torch.int64"),
    (lambda: zeros(2, 3).masked_fill(bools(4), 1.0), RuntimeError,
     "[masked_fill] the shapes (2, 3) and (4,) cannot be broadcast together: 3 and 4 differ in dimension -1 and "
     "neither is 1"),
    (lambda: ints(3).add_(1.5), RuntimeError,
     "[add_] result type float32 can't be cast to the desired output type torch.int64"),
    (lambda: tensor([1, 2]).__itruediv__(2), RuntimeError,
     "[div_] result type float32 can't be cast to the desired output type torch.int64"),
    (lambda: tensor([1, 2]).mean(), RuntimeError,
     "[mean] could not infer output dtype. Input dtype must be floating point, got torch.int64; give dtype="),
    (lambda: F.softmax(tensor([1, 2]), 0), RuntimeError,
     "[softmax] input: expected a floating-point tensor, got torch.int64 (give dtype= to convert)"),
    (lambda: F.softmax(zeros(2, 3), 2), IndexError, "[softmax] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    # devices
    (lambda: zeros(3, device="cuda"), RuntimeError, "fastdl runs on the CPU only, got device 'cuda'"),
    (lambda: nn.Linear(2, 2).to("cuda"), RuntimeError, "fastdl runs on the CPU only, got device 'cuda'"),
    (lambda: fastdl.device("gpu"), RuntimeError, "fastdl runs on the CPU only, got device 'gpu'"),
    # schedules
    (lambda: schedule.StepLR(nn.Linear(2, 2), 3), TypeError, "[StepLR] optimizer: expected an Optimizer, got Linear"),
    (lambda: schedule.LambdaLR(optim.SGD([grad(2)], lr=0.1), [len, len]), ValueError,
     "[LambdaLR] lr_lambda: expected 1 functions, got 2"),
    (lambda: schedule.OneCycleLR(optim.SGD([grad(2)], lr=0.1), 0.1), ValueError,
     "[OneCycleLR] expected total_steps, or epochs and steps_per_epoch"),
    (lambda: schedule.ReduceLROnPlateau(optim.SGD([grad(2)], lr=0.1), mode="x"), ValueError,
     "[ReduceLROnPlateau] expected mode min or max and threshold_mode rel or abs, got 'x', 'rel'"),
    # modules
    (WithoutInit, AttributeError, "cannot assign module before Module.__init__() call: call super().__init__() first"),
    (WithoutInit2, AttributeError,
     "cannot assign parameters before Module.__init__() call: call super().__init__() first"),
    (lambda: NoForward()(1), NotImplementedError, 'Module [NoForward] is missing the required "forward" function'),
    (lambda: nn.Linear(2, 2).weights, AttributeError, "'Linear' object has no attribute 'weights'"),
    (lambda: Net().decoder, AttributeError, "'Net' object has no attribute 'decoder'"),
    (lambda: zeros(3).foo, AttributeError, "'fastdl._tensor.Tensor' object has no attribute 'foo'"),
    (lambda: setattr(nn.Linear(2, 2), "weight", zeros(2, 2)), TypeError,
     "cannot assign 'torch.Tensor' as parameter 'weight' (torch.nn.Parameter or None expected)"),
    (lambda: setattr(nn.Sequential(nn.Linear(2, 2)), "0", 3), TypeError,
     "cannot assign 'builtins.int' as child module '0' (torch.nn.Module or None expected)"),
    (lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU), TypeError,
     "builtins.type is not a Module subclass: write ReLU(..), not the class itself"),
    (lambda: nn.Sequential([nn.Linear(2, 2)]), TypeError, "builtins.list is not a Module subclass"),
    (lambda: nn.ModuleList([nn.Linear(2, 2)])(zeros(2)), NotImplementedError,
     'Module [ModuleList] is missing the required "forward" function'),
    (lambda: nn.Linear(2, 2)([1.0, 2.0]), TypeError,
     "Argument 'input' has incorrect type (expected fastdl._tensor.Tensor, got list)\n  in module "
     "Linear(in_features=2, out_features=2, bias=True)"),
    (lambda: nn.Linear(2, 2)(np.zeros((1, 2), "f")), TypeError,
     "Argument 'input' has incorrect type (expected fastdl._tensor.Tensor, got numpy.ndarray)\n  in module "
     "Linear(in_features=2, out_features=2, bias=True)"),
    # convolutions, pooling, norms
    (lambda: nn.Conv2d(3, 8, 3)(zeros(2, 4, 8, 8)), RuntimeError,
     "[conv2d] input: expected 3 channels for weight (8, 3, 3, 3) and groups=1, got 4 channels: shape (2, 4, 8, "
     "8)\n  in module Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
    (lambda: nn.Conv2d(3, 8, 3)(zeros(8, 8)), RuntimeError,
     "[conv2d] input: expected 4 dimensions (batch, channels, ..) or 3 without batch, got shape (8, 8)\n  in "
     "module Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
    (lambda: nn.Conv2d(3, 8, 5)(zeros(1, 3, 4, 4)), RuntimeError,
     "[conv2d] Kernel size can't be greater than actual input size: input (1, 3, 4, 4) with padding (0, 0), weight "
     "(8, 3, 5, 5) with dilation (1, 1)\n  in module Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1))"),
    (lambda: nn.Conv2d(3, 8, 3, groups=2), ValueError,
     "in_channels 3 and out_channels 8 must be divisible by groups 2"),
    (lambda: nn.Conv2d(3, 8, 3, padding="sam"), ValueError,
     "Invalid padding string 'sam', should be one of 'valid', 'same'"),
    (lambda: nn.Conv2d(3, 8, 3, padding="same", stride=2), ValueError,
     "padding='same' is not supported for strided convolutions"),
    (lambda: nn.MaxPool2d(4)(zeros(1, 1, 3, 3)), RuntimeError,
     "[max_pool2d] the windows are larger than the input: kernel_size 4, dilation 1, padding 0, input (1, 1, 3, "
     "3)\n  in module MaxPool2d(kernel_size=4, stride=4, padding=0, dilation=1, ceil_mode=False)"),
    (lambda: nn.MaxPool2d(2, padding=2)(zeros(1, 1, 3, 3)), RuntimeError,
     "[max_pool2d] pad should be at most half of effective kernel size, but got padding=2, kernel_size=2 and "
     "dilation=1\n  in module MaxPool2d(kernel_size=2, stride=2, padding=2, dilation=1, ceil_mode=False)"),
    (lambda: nn.BatchNorm1d(4)(zeros(1, 4)), ValueError,
     "[batch_norm] Expected more than 1 value per channel when training, got input size (1, 4)\n  in module "
     "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"),
    (lambda: nn.BatchNorm1d(4)(zeros(3, 5)), RuntimeError,
     "[batch_norm] running_mean should contain 5 elements, got shape (4,)\n  in module BatchNorm1d(4, "
     "eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"),
    (lambda: nn.BatchNorm2d(4)(zeros(3, 4)), ValueError,
     "[BatchNorm2d] expected 4D input (got 2D input)\n  in module BatchNorm2d(4, eps=1e-05, momentum=0.1, "
     "affine=True, bias=True, track_running_stats=True)"),
    (lambda: nn.LayerNorm(4)(zeros(2, 5)), RuntimeError,
     "[layer_norm] given normalized_shape=[4], expected input with shape [*, 4], but got input of size [2, 5]\n "
     " in module LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (lambda: nn.GroupNorm(3, 8), ValueError, "num_channels (8) must be divisible by num_groups (3)"),
    (lambda: nn.GroupNorm(2, 8)(zeros(2, 6)), RuntimeError,
     "[group_norm] weight should contain 6 elements, got shape (8,)\n  in module GroupNorm(2, 8, eps=1e-05, "
     "affine=True, bias=True)"),
    # sequences
    (lambda: pack(zeros(5, 3, 2), [5, 3, 0]), RuntimeError,
     "lengths[2]: expected a number in [1, 5], the number of steps, got 0"),
    (lambda: pack(zeros(5, 3, 2), [3, 5, 2]), RuntimeError,
     "[pack_padded_sequence] lengths: expected them not to grow when enforce_sorted is True; pass "
     "enforce_sorted=False for any order, got [3, 5, 2]"),
    (lambda: pack(zeros(5, 3, 2), [6, 3, 2]), RuntimeError,
     "lengths[0]: expected a number in [1, 5], the number of steps, got 6"),
    (lambda: pack(zeros(5, 3, 2), [5, 3]), RuntimeError, "lengths: expected one for each of 3 sequences, got 2"),
    (lambda: nn.utils.rnn.pad_sequence([zeros(3, 2), zeros(2, 3)]), RuntimeError,
     "[pad_sequence] sequences[1]: expected shape (L, 2), got (2, 3)"),
    # others
    (clip_nan, RuntimeError,
     "[clip_grad_norm_] the total norm of order 2 of the gradients is nan; to scale by it anyway, set "
     "error_if_nonfinite=False"),
    (lambda: nn.Flatten(2)(zeros(2, 3)), IndexError,
     "[flatten] dim 2 is outside [-2, 1] of a tensor with 2 dimensions\n  in module Flatten(start_dim=2, "
     "end_dim=-1)"),
    (lambda: zeros(2, 6).unflatten(1, (4, 2)), RuntimeError,
     "[unflatten] Provided sizes [4, 2] don't multiply up to the size of dim 1 (6) in the input tensor of shape (2, "
     "6)"),
    (lambda: fastdl.einsum("ij,jk->ik", zeros(2, 3), zeros(4, 5)), RuntimeError,
     "[einsum] 'j' in 'ij,jk->ik' has the sizes 3 and 4"),
    (lambda: fastdl.einsum("ij,jk->ik", zeros(2, 3)), ValueError, "[einsum] 'ij,jk->ik' has 2 operands, got 1"),
    (lambda: fastdl.einsum("ij->i", zeros(2, 3, 4)), RuntimeError,
     "[einsum] the subscripts 'ij' do not match an operand with 3 dimensions, shape (2, 3, 4)"),
    (lambda: arange(0, 10, -1), RuntimeError, "[arange] end 10 lies before start 0 for step -1"),
    (lambda: fastdl.randint(5, 5, (3,)), RuntimeError, "[randint] expected low < high, got low = 5 and high = 5"),
    (lambda: zeros(-1, 2), RuntimeError, "[empty] negative size in shape (-1, 2)"),
    (lambda: zeros(5).split([2, 2]), RuntimeError, "[split] the sizes [2, 2] add up to 4, dimension 0 has 5"),
    (lambda: zeros(5).chunk(0), RuntimeError, "[chunk] expected chunks >= 1, got 0"),
    (lambda: zeros(5).narrow(0, 3, 3), RuntimeError, "[narrow] start 3 and length 3 exceed dimension 0 of size 5"),
    (lambda: zeros(5).select(0, 5), IndexError, "[select] index 5 is outside [-5, 4] of dimension 0 with size 5"),
    (lambda: zeros(2, 3).repeat(2), RuntimeError,
     "[repeat] expected at least 2 counts for a tensor of shape (2, 3), got (2,)"),
    (lambda: F.pad(zeros(2, 3), (1, 1, 1)), RuntimeError,
     "[pad] pad: expected two numbers for each of at most 2 dimensions, got (1, 1, 1)"),
    (lambda: F.interpolate(zeros(2, 3, 4)), ValueError, "either size or scale_factor should be defined"),
    (lambda: zeros(3).copy_(zeros(4)), RuntimeError, "[copy_] a source of shape (4,) cannot be broadcast to (3,)"),
    (lambda: tensor(1j), TypeError,
     "[tensor] cannot make a tensor of complex128 values; there are torch.bfloat16, torch.bool, torch.float16, "
     "torch.float32, torch.float64, torch.int16, torch.int32, torch.int64, torch.int8, torch.uint8"),
    (lambda: F.kl_div(zeros(2), zeros(3)), RuntimeError,
     "[kl_div] the shapes (2,) and (3,) cannot be broadcast together: 2 and 3 differ in dimension -1 and neither is "
     "1"),
    (lambda: F.cosine_similarity(zeros(2, 3), zeros(2, 4)), RuntimeError,
     "[expand] a tensor of shape (2, 3) cannot be expanded to (2, 4): dimension 1 is 3, not 4"),
    (lambda: F.triplet_margin_loss(zeros(2, 3), zeros(2, 3), zeros(2, 4)), RuntimeError,
     "[sub] the shapes (2, 3) and (2, 4) cannot be broadcast together: 3 and 4 differ in dimension -1 and neither "
     "is 1"),
    (
        lambda: F.ctc_loss(zeros(5, 2, 4).log_softmax(-1), tensor([[1, 2], [4, 1]]), tensor([5, 5]), tensor([2, 2])),
        RuntimeError,
        "[ctc_loss] targets[1, 0]: expected a label in [0, 4), got 4",
    ),
    (lambda: copy.deepcopy(grad(3) * 2), RuntimeError,
     "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment"),
    (lambda: nn.PReLU(3)(zeros(2, 4)), RuntimeError,
     "[prelu] weight: expected 4 entries or 1, got shape (3,)\n  in module PReLU(num_parameters=3)"),
    (lambda: nn.Bilinear(2, 3, 4)(zeros(2, 2), zeros(2, 4)), RuntimeError,
     "[bilinear] input1 and input2 must end in the sizes of weight[k], got input1 (2, 2), input2 (2, 4), weight (4, "
     "2, 3)\n  in module Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)"),
    (lambda: zeros(3, 2).unbind(2), IndexError, "[unbind] dim 2 is outside [-2, 1] of a tensor with 2 dimensions"),
    (lambda: nn.init.xavier_uniform_(zeros(3)), ValueError,
     "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, got shape (3,)"),
    (lambda: nn.Linear(2, 2).get_parameter("w"), AttributeError,
     "`w` is not an nn.Parameter of Linear (looking for 'w')"),
    (lambda: Net().get_submodule("encoder.layers.7"), AttributeError,
     "ModuleList has no attribute `7` (looking for 'encoder.layers.7')"),
    (lambda: nn.Linear(2, 2).register_buffer("weight", zeros(2)), KeyError, "attribute 'weight' already exists"),
    (lambda: nn.Module().add_module("a.b", nn.ReLU()), KeyError, "module name can't contain \".\", got: a.b"),
]  # fmt: skip


@pytest.mark.parametrize("mistake, error, text", MISTAKES, ids=[str(i) for i in range(len(MISTAKES))])
def test_mistake(mistake, error, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error) as caught:
            mistake()
    assert type(caught.value) is error
    assert caught.value.args[0] == text
    assert text.count("\n") < 20


def kept():
    """Memory of tensors, Python's blocks, and references to what is in use everywhere."""
    gc.collect()
    stats = fastdl.memory.stats()
    shared = [None, True, fastdl.float32, fastdl.Tensor, *(np.dtype(name) for name in ("f4", "f8", "i8", "?"))]
    return stats["live_bytes"], stats["live_blocks"], sys.getallocatedblocks(), [sys.getrefcount(x) for x in shared]


@pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="counts CPython's blocks")
def test_mistakes_leave_nothing_behind():
    rounds, found = 100 * min(DEEP, 3), []
    gc.collect()
    gc.freeze()  # what is there already takes no part in the many collections
    for i, (mistake, error, _) in enumerate(MISTAKES):

        def repeat(n, mistake=mistake, error=error):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(n):
                    with contextlib.suppress(error):
                        mistake()

        for _ in range(4):  # caches fill at first; what is lost is lost each time
            before = kept()
            repeat(rounds)
            after = kept()
            lost = [b - a for a, b in zip([before[2], *before[3]], [after[2], *after[3]])]
            if before[:2] == after[:2] and max(map(abs, lost)) < rounds:
                break
        else:
            found.append((i, before, after))
    gc.unfreeze()
    assert not found


def test_a_missing_attribute_is_suggested():
    """Python's traceback says "Did you mean: 'weight'?"."""
    layer = nn.Linear(2, 2)
    with pytest.raises(AttributeError) as caught:
        print(layer.weights)
    assert (caught.value.name, caught.value.obj) == ("weights", layer)


def test_a_scheduler_that_steps_first_warns():
    optimizer = optim.SGD([grad(2)], lr=0.1)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.StepLR(optimizer, 3).step()
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.StepLR(optimizer, 3).step()
