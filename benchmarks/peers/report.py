"""What the figures say: the table, the demands, the page and the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import limits
from .costs import Cost
from .limits import Limits
from .rows import ROWS, Row

LABELS = {"fastdl": "fastdl", "torch": "PyTorch", "compile": "torch.compile", "jax": "JAX", "onnx": "ONNX Runtime",
          "numpy": "NumPy"}
FRACTION, FRACTION_FROM = 0.75, 5e-3  # of the limit, where it exceeds so many seconds
SHARE = 1.15  # of the cost of its real tokens
SLOWER = 1.03  # two threads against one: more than the noise of medians
TARGET_THREADS = 2
PAGES = 1e6  # bytes: below this resident pages come and go by chance


def merge(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One run of several: their rows and engines together, of the same row and engine the last."""
    data = runs[0]
    for run in runs[1:]:
        for key, engines in run["rows"].items():
            data["rows"].setdefault(key, {}).update(engines)
        for field in ("engines", "threads"):
            data[field] = data[field] + [x for x in run[field] if x not in data[field]]
        data["versions"].update(run["versions"])
        data["limits"] = limits.merge(data["limits"], run["limits"])
        data["command"] += " ; " + run["command"]
    return data


# Figures ---------------------------------------------------------------------------------------------------------


class Figures:
    """One row at one number of threads."""

    def __init__(self, data: dict[str, Any], row: Row, threads: int) -> None:
        self.row, self.threads, self.data = row, threads, data
        self.entries = {engine: by_threads[str(threads)] for engine, by_threads in data["rows"][row.key].items()
                        if str(threads) in by_threads}
        measured = data["limits"].get(str(threads))
        self.limits = Limits(**measured) if measured else None
        self.limit = self.limits.seconds(row.cost) if self.limits else None

    def get(self, engine: str, figure: str = "median") -> float | None:
        return self.entries.get(engine, {}).get(figure)

    @property
    def bound(self) -> str:
        """What the limit is one of."""
        assert self.limits
        cost: Cost = self.row.cost
        return "arithmetic" if self.limits.arithmetic(cost) >= self.limits.traffic(cost) else "memory"

    @property
    def fraction(self) -> float | None:
        own = self.get("fastdl")
        return self.limit / own if own and self.limit else None

    @property
    def ratio(self) -> float | None:
        return ratio(self.get("torch"), self.get("fastdl"))

    @property
    def verdict(self) -> str:
        own = self.entries.get("fastdl", {"status": ""})
        if own["status"] != "ok":
            return own["status"]
        if self.row.target is None or self.threads != TARGET_THREADS or self.ratio is None:
            return ""
        return "ok" if self.ratio >= self.row.target else "SHORT"


def ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def figures(data: dict[str, Any], threads: int) -> Iterator[Figures]:
    for row in ROWS:
        if row.key in data["rows"]:
            yield Figures(data, row, threads)


# Table -----------------------------------------------------------------------------------------------------------


def number(value: float | None, unit: float = 1, digits: int = 3) -> str:
    """So many significant digits, without exponent."""
    if value is None:
        return ""
    scaled = value / unit
    whole = len(str(int(abs(scaled))))
    if abs(scaled) >= 1:
        return f"{scaled:.{max(0, digits - whole)}f}"
    return f"{scaled:.{digits}g}" if scaled >= 1e-4 else f"{scaled:.1e}"


def cells(data: dict[str, Any], threads: int) -> list[list[str]]:
    peers = [engine for engine in LABELS if engine in data["engines"]]
    lines = [["row", *(f"{LABELS[e]}, ms" for e in peers), "limit, ms", "of limit", "ratio", "target", ""]]
    for f in figures(data, threads):
        times = [number(f.get(e), 1e-3) if f.get(e) else f.entries.get(e, {}).get("status", "") for e in peers]
        times = ["" if e not in ("fastdl", "torch") and text == "missing" else text for e, text in zip(peers, times)]
        share = "" if f.fraction is None else f"{f.fraction:.0%}"
        lines.append([f.row.name, *times, number(f.limit, 1e-3), share, number(f.ratio),
                      number(f.row.target) if threads == TARGET_THREADS else "", f.verdict])
    return lines


def table(data: dict[str, Any], threads: int) -> list[str]:
    lines = cells(data, threads)
    widths = [max(map(len, column)) for column in zip(*lines)]
    title = f"{threads} thread{'s' * (threads > 1)}: medians; ratio = PyTorch eager / fastdl"
    return [title] + ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in
                                enumerate(zip(line, widths))).rstrip() for line in lines]


# Demands ---------------------------------------------------------------------------------------------------------


def demands(data: dict[str, Any]) -> list[str]:
    """What holds for all rows, and where it does not."""
    most = max(data["threads"])
    rows = list(figures(data, most))
    lines = ["", f"Targets reached: {sum(f.verdict == 'ok' for f in rows)} of "
             f"{sum(f.row.target is not None for f in rows)} rows."]
    if not_there := [f"{f.row.key} ({f.entries['fastdl'].get('why', '')})" for f in rows
                     if f.entries.get("fastdl", {}).get("status", "ok") != "ok"]:
        lines.append("Without figures: " + ", ".join(not_there) + ".")
    if 1 in data["threads"] and most > 1:
        lines.append(listing(f"Slower with {most} threads than with one", slower(data, most)))
    lines.append(listing(f"Less than {FRACTION:.0%} of a limit above {FRACTION_FROM * 1e3:g} ms, or of the row's own",
                         too_far(rows)))
    lines.append(listing("More memory than PyTorch", more_memory(rows)))
    lines.append(listing(f"Variable lengths above {SHARE} of their share of tokens", shares(rows)))
    return lines


def listing(what: str, rows: list[str]) -> str:
    return f"{what}: {', '.join(rows) if rows else 'none'}."


def slower(data: dict[str, Any], most: int) -> list[str]:
    found = []
    for one, more in zip(figures(data, 1), figures(data, most)):
        times = ratio(more.get("fastdl"), one.get("fastdl"))
        if times and times > SLOWER:
            found.append(f"{one.row.key} ({times:.2f})")
    return found


def too_far(rows: list[Figures]) -> list[str]:
    found = []
    for f in rows:
        wanted = f.row.fraction or (FRACTION if f.limit and f.limit > FRACTION_FROM else 0)
        if f.fraction is not None and f.fraction < wanted:
            found.append(f"{f.row.key} ({f.fraction:.0%} of {f.bound})")
    return found


def more_memory(rows: list[Figures]) -> list[str]:
    found = []
    for f in rows:
        ours, theirs = f.get("fastdl", "bytes"), f.get("torch", "bytes")
        if ours is not None and theirs is not None and ours > theirs + PAGES:
            found.append(f"{f.row.key} ({ours / 1e6:.1f} MB, PyTorch {theirs / 1e6:.1f} MB)")
    return found


def shares(rows: list[Figures]) -> list[str]:
    found, by_key = [], {f.row.key: f for f in rows}
    for f in rows:
        if f.row.share_of and f.row.share_of[0] in by_key:
            whole, part = f.row.share_of
            times = ratio(f.get("fastdl"), by_key[whole].get("fastdl"))
            if times and times / part > SHARE:
                found.append(f"{f.row.key} ({times / part:.2f})")
    return found


# Page and picture ------------------------------------------------------------------------------------------------


def markdown(data: dict[str, Any], picture: str) -> str:
    machine, versions = data["machine"], data["versions"]
    lines = ["# Performance", "", "Written by `make bench-peers`; do not edit.", "",
             f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}; {machine['system']}; "
             f"{machine['date']}; Python {machine['python']}, "
             + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", "",
             "Each engine works in processes of its own, the rows in turns; times are medians in milliseconds of one",
             "training step (forward, loss, backward, clipping where the model has it, optimizer) or one call. Results",
             "and gradients are compared before anything is timed. The limit is the time that the arithmetic or the",
             "memory traffic of a row needs at least on this machine (`benchmarks/peers/costs.py`); ratio is PyTorch's",
             "time divided by fastdl's.", "", f"    {data['command']}", "", f"![times]({picture})", ""]
    for threads in sorted(data["threads"], reverse=True):
        if measured := data["limits"].get(str(threads)):
            lines += [f"## {threads} thread{'s' * (threads > 1)}", "",
                      f"At most {measured['flops'] / 1e9:.0f} GFLOP/s; {measured['read'][0][1] / 1e9:.0f} GB/s from the"
                      f" cache, {measured['read'][-1][1] / 1e9:.0f} GB/s from memory.", ""]
        rows = cells(data, threads)
        lines += [markdown_line(rows[0]), markdown_line(["---"] + ["---:"] * (len(rows[0]) - 1))]
        lines += [markdown_line(row) for row in rows[1:]]
        lines.append("")
    lines += best_table(data)
    return "\n".join([*lines, *demands(data)[1:]]) + "\n"


def best_table(data: dict[str, Any]) -> list[str]:
    most = max(data["threads"])
    lines = [f"## Best times and memory, {most} threads", "",
             "Memory is the peak of a row beyond what the library itself takes.", "",
             "| row | fastdl, ms | PyTorch, ms | fastdl, MB | PyTorch, MB |", "|---|---:|---:|---:|---:|"]
    for f in figures(data, most):
        best = [number(f.get(engine, "best"), 1e-3) for engine in ("fastdl", "torch")]
        peaks = [f.get(engine, "bytes") for engine in ("fastdl", "torch")]
        lines.append(markdown_line([f.row.name, *best, *("" if b is None else f"{b / 1e6:.1f}" for b in peaks)]))
    return [*lines, ""]


# rows of the table in both READMEs, in its order
EXCERPT = ["linear regression, batch 10", "MLP 784-256-10, batch 256", "char GRU 256", "char LSTM 256",
           "GRU encoder-decoder 32 x 2", "the same with Bahdanau attention", "Transformer 2 + 2, width 32, 4 heads",
           "BERT 2 layers, width 128, 64 x 64", "cross-entropy 2048 x 30522", "1000 additions of 8 floats"]


def with_figures(readme: str, page: str) -> str:
    """A README with the figures of a page that `markdown` wrote, to two digits."""
    by_name: dict[str, list[str]] = {}
    for line in page.splitlines():
        name, *row = [cell.strip() for cell in line.strip("| ").split("|")]
        by_name.setdefault(name, row)  # the first table is that of most threads
    head, table, tail = re.split(r"(?<=\n)(\| \| fastdl .*?\n)(?=\n)", readme, maxsplit=1, flags=re.S)
    lines = table.splitlines()
    for i, name in enumerate(EXCERPT, start=2):
        ours, theirs, ratio = (number(float(by_name[name][column]), 1, digits=2) for column in (0, 1, 4))
        lines[i] = markdown_line([lines[i].split("|")[1].strip(), ours, theirs, ratio])
    return head + "\n".join(lines) + "\n" + tail


def markdown_line(row: list[str]) -> str:
    return "| " + " | ".join(row) + " |"


def plot(data: dict[str, Any], path: Path) -> None:
    """Bars of time per row, a line at the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    threads = max(data["threads"])
    rows = list(figures(data, threads))[::-1]
    engines = [e for e in LABELS if e in data["engines"]]
    height = 0.8 / len(engines)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.13 * len(rows) * (len(engines) + 1)))
    for i, engine in enumerate(engines):
        places = [y + 0.4 - height * (i + 0.5) for y in range(len(rows))]
        times = [(f.get(engine) or 0) * 1e3 for f in rows]
        axes.barh(places, times, height, label=LABELS[engine], color=f"C{i}")
    lines = [(f.limit * 1e3, y) for y, f in enumerate(rows) if f.limit]
    if lines:
        axes.vlines([x for x, _ in lines], [y - 0.45 for _, y in lines], [y + 0.45 for _, y in lines], color="black",
                    label="limit of arithmetic or memory")
    axes.set_yticks(range(len(rows)), [f.row.name for f in rows], fontsize=8)
    axes.set_xscale("log")
    quickest = [t * 1e3 for f in rows for e in engines if (t := f.get(e))]
    axes.set_xlim(left=min(quickest, default=1) / 3)  # the limits of the smallest rows are far to the left of this
    axes.set_xlabel(f"milliseconds, {threads} thread{'s' * (threads > 1)}, {data['machine']['cpu']}")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
