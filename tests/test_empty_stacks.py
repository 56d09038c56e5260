"""Products of stacks without matrices, whose strides NumPy may set to 0."""

import numpy as np

import fastdl


def test_product_of_no_matrices():
    a, b = (fastdl.from_numpy(np.array(np.ones(s, np.float32)[:0])).requires_grad_() for s in ((2, 3, 4), (2, 4, 5)))
    out = fastdl.bmm(a, b)
    out.sum().backward()
    assert out.shape == (0, 3, 5) and a.grad.shape == (0, 3, 4) and b.grad.shape == (0, 4, 5)
