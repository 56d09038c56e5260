"""Curves, heat maps and trajectories, drawn with matplotlib (`pip install 'fastdl[plots]'`), which is imported on use.

With `path` a picture goes to a file (its ending chooses png, svg or pdf); in a notebook it is shown as well; everywhere
it is returned as matplotlib's Figure. No window and no state of pyplot is involved, so no display is needed.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._files import replacing

SHARE = 0.01  # of the time, at most, is spent on drawing live curves
LINE_STYLES = ("-", "--", "-.", ":")
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*%#"  # where the terminal's encoding lacks the blocks


def _matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError:
        raise ImportError("[vis] drawing needs matplotlib: pip install 'fastdl[plots]'") from None
    return matplotlib


def _notebook() -> Any:
    """IPython's display module in a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if not hasattr(shell, "kernel"):
        return None
    import IPython.display

    return IPython.display


def _array(value: Any) -> np.ndarray:
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


def panels(rows: int = 1, cols: int = 1, *, figsize: tuple[float, float] | None = None,
           sharey: bool = False) -> tuple[Any, np.ndarray]:
    """A new figure and its axes (rows, cols), for `plot(..., axes=)`; `show` ends it."""
    figure = _matplotlib().figure.Figure(figsize=figsize or (4.2 * cols, 2.9 * rows), layout="constrained")
    return figure, figure.subplots(rows, cols, squeeze=False, sharey=sharey)


def show(figure: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Writes the figure to `path`, if any, shows it in a notebook, and gives it back."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _write(figure, path)
    if (display := _notebook()) is not None:
        display.display(display.Image(_png(figure)))
    return figure


def _write(figure: Any, path: str | os.PathLike[str]) -> None:
    path = Path(path)
    with replacing(path if path.suffix else path.with_suffix(".png")) as new:
        figure.savefig(new, dpi=130)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _decorate(axes: Any, xlabel: Any, ylabel: Any, xlim: Any, ylim: Any, xscale: str, yscale: str, title: Any) -> None:
    axes.set(xlabel=xlabel or "", ylabel=ylabel or "", xscale=xscale, yscale=yscale, title=title or "")
    if xlim is not None:
        axes.set_xlim(*xlim)
    if ylim is not None:
        axes.set_ylim(*ylim)
    axes.grid(alpha=0.3)


def _curves(x: Any, ys: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (x, y) of each curve. ys: one curve or several; x: that of all curves, or one for each."""
    many = [_array(y) for y in ys] if isinstance(ys, (list, tuple)) else list(np.atleast_2d(_array(ys)))
    if many and all(y.ndim == 0 for y in many):
        many = [np.array(many)]
    xs = [_array(v) for v in x] if isinstance(x, (list, tuple)) else list(np.atleast_2d(_array(x)))
    if xs and all(v.ndim == 0 for v in xs):
        xs = [np.array(xs)]
    if len(xs) == 1:
        xs *= len(many)
    if [v.shape for v in xs] != [y.shape for y in many] or any(y.ndim != 1 for y in many):
        raise ValueError(f"[plot] ys: expected curves of the length of x, got x {[v.shape for v in xs]}, "
                         f"ys {[y.shape for y in many]}")
    return list(zip(xs, many))


def plot(x: Any, ys: Any, *, xlabel: str | None = None, ylabel: str | None = None, legend: Sequence[str] | None = None,
         xlim: tuple[float, float] | None = None, ylim: tuple[float, float] | None = None, xscale: str = "linear",
         yscale: str = "linear", fmts: Sequence[str] = LINE_STYLES, title: str | None = None,
         figsize: tuple[float, float] | None = None, axes: Any = None,
         path: str | os.PathLike[str] | None = None) -> Any:
    """Draws curves.

    Args:
        x: their positions (n,), or a list with those of each curve.
        ys: one curve (n,) or several: a list of them, or (curves, n). Tensors, arrays or lists; NaN leaves a gap.
        fmts: matplotlib's format of each curve in turn, as "-", "m--" or "o".
        axes: draws into these axes (see `panels`) instead of a figure of its own.
        path: file that is written.
    Returns:
        The figure.
    """
    curves = _curves(x, ys)
    if own := axes is None:
        figure, grid = panels(figsize=figsize or (5, 3.4))
        axes = grid[0, 0]
    for i, (a, b) in enumerate(curves):
        axes.plot(a, b, fmts[i % len(fmts)], label=legend[i] if legend and i < len(legend) else None)
    _decorate(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, title)
    if legend:
        axes.legend()
    return show(figure, path) if own else axes.figure


def show_heatmaps(matrices: Any, *, xlabel: str | None = None, ylabel: str | None = None,
                  titles: Sequence[str] | None = None, figsize: tuple[float, float] | None = None, cmap: str = "Reds",
                  path: str | os.PathLike[str] | None = None) -> Any:
    """Draws matrices (rows, cols, h, w), such as the attention of each layer and head, in one scale of colours.

    `titles` stand above the columns, or above every matrix if there are rows * cols of them. The figure is returned.
    """
    values = _array(matrices)
    if values.ndim != 4:
        raise ValueError(f"[show_heatmaps] matrices: expected shape (rows, cols, h, w), got {values.shape}")
    rows, cols = values.shape[:2]
    figure, grid = panels(rows, cols, figsize=figsize or (2.1 * cols + 1, 2.1 * rows))
    low, high = (float(f(values)) if values.size else 0.0 for f in (np.nanmin, np.nanmax))
    image = None
    for i in range(rows):
        for j in range(cols):
            axes = grid[i, j]
            image = axes.imshow(values[i, j], cmap=cmap, vmin=min(low, 0.0), vmax=high, aspect="auto",
                                interpolation="nearest")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.yaxis.get_major_locator().set_params(integer=True)
            if i == rows - 1:
                axes.set_xlabel(xlabel or "")
            if j == 0:
                axes.set_ylabel(ylabel or "")
            each = titles is not None and len(titles) == rows * cols
            if titles and (each or (i == 0 and j < len(titles))):
                axes.set_title(titles[i * cols + j if each else j])
    if image is not None:
        figure.colorbar(image, ax=grid, shrink=0.6)
    return show(figure, path)


def trajectory(f: Callable[[Any, Any], Any], points: Any, path: str | os.PathLike[str] | None = None, *,
               xlim: tuple[float, float] | None = None, ylim: tuple[float, float] | None = None,
               xlabel: str = "x1", ylabel: str = "x2", title: str | None = None) -> Any:
    """Draws the way of an optimizer over the contours of f.

    Args:
        f: takes NumPy arrays x1 and x2 and gives an array of the same shape.
        points: (n, 2), the places in order; or several ways by name, each of which gets a panel of its own.
        xlim, ylim: the part of the surface that is shown; by default what the ways need, and a margin.
    Returns:
        The figure.
    """
    ways = {k: _array(v) for k, v in points.items()} if isinstance(points, Mapping) else {title or "": _array(points)}
    for name, way in ways.items():
        if way.ndim != 2 or way.shape[1] != 2:
            raise ValueError(f"[trajectory] points{name and f' of {name}'}: expected shape (n, 2), got {way.shape}")
    everything = np.concatenate(list(ways.values()))
    limits = [given or _span(everything[:, i]) for i, given in enumerate((xlim, ylim))]
    x1, x2 = np.meshgrid(np.linspace(*limits[0], 150), np.linspace(*limits[1], 150))
    surface = np.asarray(f(x1, x2), dtype=np.float64)
    # equal numbers of points between two contours: lines stay apart on flat and on steep surfaces
    levels = np.unique(np.quantile(surface[np.isfinite(surface)], np.linspace(0.02, 0.98, 13)))
    cols = 3 if len(ways) % 3 == 0 else min(len(ways), 4)
    rows = math.ceil(len(ways) / cols)
    figure, grid = panels(rows, cols, figsize=(3.1 * cols + 0.6, 2.7 * rows + 0.3))
    for axes in grid.flat[len(ways):]:
        axes.set_visible(False)
    for axes, (name, way) in zip(grid.flat, ways.items()):
        axes.contour(x1, x2, surface, levels=levels, cmap="Blues_r", linewidths=0.9)
        axes.plot(way[:, 0], way[:, 1], "-o", color="tab:orange", markersize=3, linewidth=1.2)
        axes.plot(way[-1:, 0], way[-1:, 1], "*", color="tab:red", markersize=10)
        axes.set(xlim=limits[0], ylim=limits[1], xlabel=xlabel, ylabel=ylabel, title=name)
    if title and isinstance(points, Mapping):
        figure.suptitle(title)
    return show(figure, path)


def _span(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (-1.0, 1.0)
    margin = 0.15 * (high - low) or 1.0
    return low - margin, high + margin


class Animator:
    """Curves that grow while a model trains: a line of text each in a terminal, a picture in a notebook or a file.

    In a terminal the lines stand beside tqdm's bars; without one (output to a file) nothing is printed. Points are kept
    as they come; drawing happens at most once in `every` seconds and takes at most 1 % of the time (the file is written
    once more at the end), so that it may be called in each step.

    Args:
        legend: the names of the curves, in the order of `add`.
        path: picture that is kept up to date; None: none.
        every: seconds between two drawings, at least.
    Example:
        with vis.Animator(xlabel="epoch", legend=["train loss", "test accuracy"], path="curves.png") as animator:
            for epoch in range(10):
                ...
                animator.add(epoch + 1, (loss, accuracy))
    """

    def __init__(self, *, xlabel: str | None = None, ylabel: str | None = None, legend: Sequence[str] | None = None,
                 xlim: tuple[float, float] | None = None, ylim: tuple[float, float] | None = None,
                 xscale: str = "linear", yscale: str = "linear", title: str | None = None,
                 figsize: tuple[float, float] = (5, 3.4), path: str | os.PathLike[str] | None = None,
                 every: float = 0.2) -> None:
        self.xs: list[list[float]] = []
        self.ys: list[list[float]] = []
        self.legend, self.path, self.every = list(legend or []), path, every
        self._log = yscale == "log"
        self._notebook = _notebook()
        self._handle: Any = None
        self._lines: list[Any] = []
        self._bars: list[Any] = []
        self.figure: Any = None
        if path is not None or self._notebook is not None:  # before training: matplotlib may be missing
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.figure, grid = panels(figsize=figsize)
            self._axes = grid[0, 0]
            self._scaled = xlim is None, ylim is None
            _decorate(self._axes, xlabel, ylabel, xlim, ylim, xscale, yscale, title)
        self._is_terminal = self._notebook is None and sys.stderr is not None and sys.stderr.isatty()
        self._draws = self._is_terminal or self.figure is not None
        self._next = time.perf_counter() + every

    def __enter__(self) -> Animator:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def add(self, x: float, y: Any) -> None:
        """One more point of each curve at `x`; `y` is a number or a tuple of them, None where a curve has no point."""
        values = y if isinstance(y, (tuple, list)) else (y,)
        while len(self.ys) < len(values):
            self.xs.append([])
            self.ys.append([])
        x = float(x)
        for i, value in enumerate(values):
            if value is not None:
                self.xs[i].append(x)
                self.ys[i].append(float(value))
        if self._draws and time.perf_counter() >= self._next:
            self.draw()

    def draw(self) -> None:
        """Draws at once; the next drawing waits until this one was 1 % of the time."""
        begin = time.perf_counter()
        if self._is_terminal:
            self._print()
        if self.figure is not None:
            self._update()
        end = time.perf_counter()
        self._next = end + max(self.every, (end - begin) / SHARE)

    def close(self) -> None:
        """Draws what is there and ends; what the terminal shows stays."""
        if self._draws and self.ys:
            self.draw()
        for bar in self._bars:
            bar.clear()  # where it stood below other bars; close() writes it at the cursor
        for bar in self._bars:
            bar.close()
        self._bars, self._draws = [], False

    def _name(self, i: int) -> str:
        return self.legend[i] if i < len(self.legend) else f"curve {i + 1}"

    def _print(self) -> None:
        from tqdm import tqdm  # keeps lines apart from the bars of others

        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        bars = BARS if _encodes(BARS, encoding) else PLAIN_BARS
        columns = shutil.get_terminal_size().columns
        wide = max(len(self._name(i)) for i in range(len(self.ys)))
        for i, ys in enumerate(self.ys):
            if i == len(self._bars):
                self._bars.append(tqdm(bar_format="{desc}", ncols=columns, file=sys.stderr))
            last = f"{ys[-1]:.4g}" if ys else ""
            self._bars[i].set_description_str(f"{self._name(i):<{wide}} {spark(ys, 40, bars, self._log)} {last}")

    def _update(self) -> None:
        while len(self._lines) < len(self.ys):
            i = len(self._lines)
            style = LINE_STYLES[i % len(LINE_STYLES)]
            self._lines += self._axes.plot([], [], style, label=self._name(i) if self.legend else None)
            if self.legend:
                self._axes.legend()
        for i, line in enumerate(self._lines):
            line.set_marker("." if len(self.xs[i]) < 20 else "")
            line.set_data(self.xs[i], self.ys[i])
        self._axes.relim()
        self._axes.autoscale_view(scalex=self._scaled[0], scaley=self._scaled[1])
        if self.path is not None:
            _write(self.figure, self.path)
        if self._notebook is not None:
            image = self._notebook.Image(_png(self.figure))
            if self._handle is None:
                self._handle = self._notebook.display(image, display_id=True)
            else:
                self._handle.update(image)


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def spark(values: Sequence[float], width: int, bars: str = BARS, log: bool = False) -> str:
    """A curve as one line of text, at most `width` characters: the mean of each stretch as a block of that height."""
    y = np.asarray(values, dtype=np.float64)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            y = np.log(y)
    if len(y) > width:
        edges = np.linspace(0, len(y), width + 1).astype(int)
        y = np.add.reduceat(y, edges[:-1]) / np.diff(edges)
    finite = y[np.isfinite(y)]
    if finite.size == 0:
        return "?" * len(y)
    low, high = finite.min(), finite.max()
    scaled = (y - low) / (high - low) if high > low else np.where(np.isfinite(y), 0.5, y)
    return "".join(bars[min(int(v * len(bars)), len(bars) - 1)] if 0 <= v <= 1 else "?" for v in scaled)
