"""Ctrl-C in any call: KeyboardInterrupt comes soon, and what is computed afterwards is right."""

from __future__ import annotations

import json
import sys

import pytest

from fastdl.ops.interruptible import LONG, interruptible
from tests.process import DEEP, SANITIZED, run

pytestmark = pytest.mark.skipif(SANITIZED or not sys.platform.startswith("linux"), reason="times")

LATENCY = 0.2  # seconds of each thread: on a busy machine the clock runs on while others have the processor
PATIENCE = 2.0  # seconds by the clock

# Each call takes a third of a second or more with two threads.
SETUP = """
import json, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import fastdl
from fastdl import nn
from fastdl.nn import functional as F
fastdl.manual_seed(0)

def backward(y):
    g = fastdl.ones_like(y)
    return lambda: y.backward(g, retain_graph=True)

def rnn(cell):
    layer, x = getattr(nn, cell)(256, 512), fastdl.randn(2000, 16, 256)
    return layer, x

def matmul():
    a, b = fastdl.randn(4000, 4000), fastdl.randn(4000, 4000)
    return lambda: a @ b

def batched_matmul():
    a, b = fastdl.randn(40, 1500, 1500), fastdl.randn(1500, 1500)
    return lambda: a @ b

def few_rows():
    a, b = fastdl.randn(8, 20000), fastdl.randn(20000, 9000)
    return lambda: [a @ b for _ in range(100)]

def attention():
    q, k, v = (fastdl.randn(2, 8, 6000, 64) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v)

def attention_backward():
    q, k, v = (fastdl.randn(1, 8, 4000, 64, requires_grad=True) for _ in range(3))
    return backward(F.scaled_dot_product_attention(q, k, v))

def conv():
    x, w = fastdl.randn(32, 64, 112, 112), fastdl.randn(128, 64, 3, 3)
    return lambda: F.conv2d(x, w)

def conv_backward():
    x, w = fastdl.randn(16, 64, 112, 112, requires_grad=True), fastdl.randn(128, 64, 3, 3, requires_grad=True)
    return backward(F.conv2d(x, w))

def lstm():
    layer, x = rnn("LSTM")
    return lambda: layer(x)

def gru_without_gradients():
    layer, x = rnn("GRU")
    def call():
        with fastdl.no_grad():
            return layer(x)
    return call

def lstm_backward():
    layer, x = nn.LSTM(256, 512), fastdl.randn(500, 64, 256)
    return backward(layer(x)[0])

def cross_entropy_of_linear():
    x, w = fastdl.randn(8000, 512), (0.05 * fastdl.randn(30000, 512)).requires_grad_()  # no subnormal probabilities
    y = fastdl.randint(0, 30000, (8000,))
    return lambda: F.linear_cross_entropy(x, w, y)

def loss_of_many_classes():
    x, w = fastdl.randn(2000, 16), fastdl.randn(400000, 16, requires_grad=True)
    y = fastdl.randint(0, 400000, (2000,))
    F.linear_cross_entropy(x[:400], w, y[:400])  # pieces go across all of the memory: the first one would touch it
    return lambda: F.linear_cross_entropy(x, w, y)

def long_attention_backward():
    q, k, v = (fastdl.randn(1, 1, 20000, 64, requires_grad=True) for _ in range(3))
    return backward(F.scaled_dot_product_attention(q, k, v))

def softmax_of_columns():
    x = fastdl.randn(12000, 12000)
    x.softmax(0)
    return lambda: [x.softmax(0) for _ in range(5)]

def far_elements():
    x, i = fastdl.randn(1 << 26), fastdl.randint(0, 1 << 26, (1 << 26,))
    return lambda: x[i]

def sorted_values():
    x = fastdl.randn(1 << 22)
    return lambda: x.sort()

def unique_values():
    x = fastdl.randint(0, 1 << 30, (1 << 22,))
    return lambda: x.unique()

def matmul_of_integers():
    x = fastdl.ones(1200, 1200, dtype=fastdl.int64)
    return lambda: x @ x

def additive_scores():
    q, k, w = fastdl.randn(32, 500, 128), fastdl.randn(32, 500, 128), fastdl.randn(128)
    return lambda: F.additive_attention_score(q, k, w)

def layers():
    model = nn.Sequential(*[nn.Linear(1500, 1500) for _ in range(60)])
    x = fastdl.randn(3000, 1500)
    return lambda: model(x)

def optimizer():
    p = [nn.Parameter(fastdl.randn(1 << 20)) for _ in range(20)]
    for q in p: q.grad = fastdl.ones_like(q)
    adam = fastdl.optim.Adam(p)
    return lambda: [adam.step() for _ in range(100)]

def element_wise():
    x = fastdl.randn(1 << 25)
    return lambda: [(x * 2).exp().sum() for _ in range(100)]

def warm(call):
    call()  # its block of memory is there: to touch a new one can take longer than the rest
    return call

def powers():
    x = fastdl.rand(1 << 28)
    return warm(lambda: x ** 2.5)

def log_sum_of_many():
    x = fastdl.randn(64, 1 << 23, dtype=fastdl.float64)
    return lambda: x.logsumexp(1)

def windows():
    x = fastdl.randn(64, 64, 160, 160)
    return warm(lambda: F.max_pool2d(x, 11, 1, 5))

def random_numbers():
    return warm(lambda: fastdl.randn(1 << 29, dtype=fastdl.float64))

def training():
    model = nn.Sequential(nn.Linear(50, 80), nn.Tanh(), nn.Linear(80, 1))
    adam, x = fastdl.optim.Adam(model.parameters()), fastdl.randn(64, 50)
    def call():
        while True:
            adam.zero_grad()
            model(x).sum().backward()
            adam.step()
    return call

CALLS = [matmul, batched_matmul, few_rows, attention, attention_backward, conv, conv_backward, lstm,
         gru_without_gradients, lstm_backward, cross_entropy_of_linear, additive_scores, layers, optimizer,
         element_wise, training, loss_of_many_classes, long_attention_backward, softmax_of_columns, far_elements,
         sorted_values, unique_values, matmul_of_integers, powers, log_sum_of_many, windows,
         random_numbers]

def interrupted(call, after):
    '''Seconds from the signal to the exception by the clock, and of all threads; None if the call was done before.'''
    sent = []
    def press():
        sent.extend([time.monotonic(), time.process_time()])
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(after, press)
    try:
        timer.start()
        call()
        timer.cancel()
        timer.join()
        time.sleep(0.01)  # a signal that was sent just before arrives here
    except KeyboardInterrupt:
        return time.monotonic() - sent[0], time.process_time() - sent[1]
    finally:
        timer.join()

def check():
    '''Products, a recurrent net and their gradients: their bits.'''
    fastdl.manual_seed(1)
    x, layer = fastdl.randn(70, 32, 96, requires_grad=True), nn.LSTM(96, 96)
    y = layer(x)[0]
    z = y.reshape(-1, 96)[:600] @ y.reshape(-1, 96)[600:].T
    q = F.scaled_dot_product_attention(x, x, x)
    (z.square().sum() + y.sum() + q.sum()).backward()
    return [float(t.double().sum()) for t in (y, z, q, x.grad, layer.weight_hh_l0.grad)]
"""


def latencies(names: str, after: str, threads: int) -> dict[str, list[tuple[float, float] | None]]:
    """{call: latencies of each of its interrupts}."""
    code = f"""{SETUP}
expected, found = check(), {{}}
for make in CALLS:
    if make.__name__ not in {names}: continue
    call, found[make.__name__] = make(), []
    for after in {after}:
        found[make.__name__].append(interrupted(call, after))
        assert check() == expected, make.__name__
    del call
    fastdl.memory.empty_cache()
print(json.dumps(found))
"""
    return json.loads(run(code, timeout=400, FASTDL_NUM_THREADS=str(threads)))


SHORT = ["matmul", "lstm", "attention", "training", "sorted_values"]


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_comes_through(threads: int):
    names, after = ("[m.__name__ for m in CALLS]", "(0.03, 0.15, 0.3)") if DEEP > 1 else (repr(SHORT), "(0.1,)")
    for _ in range(5):  # the machine may be busy, and memory that was never touched slow: each has to be in time once
        found = latencies(names, after, threads)
        late = [name for name, times in found.items()
                if any(t and (t[0] > PATIENCE or t[1] > LATENCY * threads) for t in times)]
        print(threads, {name: [t and round(1000 * t[0]) for t in times] for name, times in found.items()})
        assert all(times[0] is not None for times in found.values()), "done before the signal"
        names = repr(late)
        if not late:
            return
    raise AssertionError(f"{late} took longer than {LATENCY} s of each thread or {PATIENCE} s: {found}")


def test_what_runs_apart_gives_its_results_and_errors():
    def fail():
        raise ZeroDivisionError("told so")

    for elements in (1, LONG):
        assert interruptible(elements, sorted, [3, 1], reverse=True) == [3, 1]
        with pytest.raises(ZeroDivisionError, match="told so"):
            interruptible(elements, fail)
