"""Short runs of every optimizer and schedule, written once for fastdl and PyTorch alike.

`python tests/optimizer_runs.py`, with PyTorch installed, writes what PyTorch gets into tests/data/optimizer_runs.json;
test_optim.py compares.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "optimizer_runs.json"
SIZES = [(3, 7), (20,)]
STEPS = 6

OPTIMIZERS = {
    "sgd": ("SGD", dict(lr=0.1)),
    "sgd decay maximize": ("SGD", dict(lr=0.1, weight_decay=0.3, maximize=True)),
    "sgd momentum": ("SGD", dict(lr=0.1, momentum=0.9)),
    "sgd dampening": ("SGD", dict(lr=0.1, momentum=0.8, dampening=0.5, weight_decay=0.1)),
    "sgd nesterov": ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)),
    "adam": ("Adam", dict(lr=0.1)),
    "adam decay": ("Adam", dict(lr=0.1, weight_decay=0.1, betas=(0.5, 0.9), eps=1e-3, maximize=True)),
    "adam amsgrad": ("Adam", dict(lr=0.1, amsgrad=True, betas=(0.3, 0.7))),
    "adamw": ("AdamW", dict(lr=0.1, weight_decay=0.2)),
    "adamw amsgrad": ("AdamW", dict(lr=0.1, amsgrad=True)),
    "rmsprop": ("RMSprop", dict(lr=0.1, weight_decay=0.1)),
    "rmsprop centered": ("RMSprop", dict(lr=0.1, alpha=0.8, centered=True, momentum=0.9)),
    "adagrad": ("Adagrad", dict(lr=0.1, lr_decay=0.1, initial_accumulator_value=0.5, weight_decay=0.1)),
    "adadelta": ("Adadelta", dict(lr=0.7, rho=0.8, weight_decay=0.1, maximize=True)),
    "adamax": ("Adamax", dict(lr=0.1, weight_decay=0.1)),
    "nadam": ("NAdam", dict(lr=0.1, weight_decay=0.1, momentum_decay=0.1)),
    "nadam decoupled": ("NAdam", dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)),
    "radam": ("RAdam", dict(lr=0.1, weight_decay=0.1, betas=(0.8, 0.9))),
    "radam decoupled": ("RAdam", dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)),
    "asgd": ("ASGD", dict(lr=0.1, lambd=0.1, t0=2, weight_decay=0.1)),
    "rprop": ("Rprop", dict(lr=0.1, step_sizes=(0.02, 0.15))),
}

# options of the one that calls a closure
LBFGS = {
    "lbfgs": dict(lr=0.5, max_iter=4),
    "lbfgs history": dict(lr=0.7, max_iter=3, history_size=2),
    "lbfgs strong wolfe": dict(max_iter=5, line_search_fn="strong_wolfe"),
    "lbfgs long": dict(lr=8.0, max_iter=6, line_search_fn="strong_wolfe"),
}

SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multi step": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "constant": lambda s, o: s.ConstantLR(o, 0.3, 4),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 6),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, 7, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "chained": lambda s, o: [s.ExponentialLR(o, 0.9), s.StepLR(o, 2, 0.5)],
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], [4, 8]
    ),
    "chained scheduler": lambda s, o: s.ChainedScheduler([s.ExponentialLR(o, 0.9), s.StepLR(o, 2, 0.5)]),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
    "restarts alike": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.3], step_size_up=2, step_size_down=3),
    "cyclic halved": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 2, mode="triangular2", base_momentum=0.6),
    "cyclic range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 2, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "cyclic own": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 2, scale_fn=lambda i: 1 / (1 + i), scale_mode="iterations"),
    "one cycle": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=12),
    "one cycle in three": lambda s, o: s.OneCycleLR(
        o, [1.0, 2.0], total_steps=16, three_phase=True, anneal_strategy="linear", pct_start=0.25
    ),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
    "plateau max": lambda s, o: s.ReduceLROnPlateau(
        o, mode="max", threshold_mode="abs", threshold=0.1, cooldown=2, patience=0, factor=0.5, min_lr=[0.01, 0.02]
    ),
}
METRICS = [1.0, 0.9, 0.95, 0.93, 0.92, 0.9, 0.5, 0.49999, 0.49999, 0.49999, 1.2, 1.3]


def parameters(torch):
    """Parameters, the same every time."""
    rng = np.random.RandomState(0)
    return [torch.tensor(rng.standard_normal(s).astype(np.float32)).requires_grad_() for s in SIZES]


def set_gradients(torch, params, step):
    """Gradients of all sizes, some of them zero."""
    rng = np.random.RandomState(step + 1)
    for p in params:
        g = rng.standard_normal(tuple(p.shape)) * 10.0 ** rng.randint(-4, 2, tuple(p.shape))
        p.grad = torch.tensor((g * (rng.random_sample(tuple(p.shape)) > 0.1)).astype(np.float32))


def run_optimizer(torch, name):
    """The parameters after each step, flat."""
    kind, options = OPTIMIZERS[name]
    params = parameters(torch)
    optimizer = getattr(torch.optim, kind)([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], **options)
    out = []
    for step in range(STEPS):
        set_gradients(torch, params, step)
        optimizer.step()
        out.append([float(str(x)) for p in params for x in p.detach().numpy().reshape(-1)])
    return out


def run_lbfgs(torch, name):
    """The parameters and the loss of each step towards the minimum of Rosenbrock's valley."""
    x = torch.tensor(np.array([-1.5, 1.3, 0.4, 2.0])).requires_grad_()
    y = torch.tensor(np.array([0.7, -0.2])).requires_grad_()
    optimizer = torch.optim.LBFGS([x, y], **LBFGS[name])

    def closure():
        optimizer.zero_grad()
        z = torch.cat([x, y])
        loss = (10 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()
        loss.backward()
        return loss

    out = []
    for _ in range(STEPS):
        loss = optimizer.step(closure)
        out.append([float(loss.detach()), *x.detach().tolist(), *y.detach().tolist()])
    return out


def run_schedule(torch, name):
    """The rate and momentum of both groups before each step."""
    params = parameters(torch)
    optimizer = torch.optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], lr=0.1, momentum=0.9)
    schedules = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
    out = []
    for metric in METRICS:
        out.append([float(g[k]) for g in optimizer.param_groups for k in ("lr", "momentum")])
        optimizer.step()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step(metric) if name.startswith("plateau") else schedule.step()
    return out


if __name__ == "__main__":
    import torch

    warnings.simplefilter("ignore")
    runs = {
        "torch": torch.__version__,
        "optimizers": {name: run_optimizer(torch, name) for name in OPTIMIZERS},
        "lbfgs": {name: run_lbfgs(torch, name) for name in LBFGS},
        "schedules": {name: run_schedule(torch, name) for name in SCHEDULES},
    }
    FILE.write_text(json.dumps(runs).replace("]], ", "]],\n"))
    sys.stdout.write(f"{FILE} written\n")
