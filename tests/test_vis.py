"""Pictures are looked at by people; here: that they are made, of the right data, without a display, and cheaply."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
import types

import numpy as np
import pytest

import fastdl
from fastdl import vis
from tests.process import SANITIZED, run, start

pytest.importorskip("matplotlib")

PNG = b"\x89PNG"


@pytest.fixture
def notebook(monkeypatch):
    """A stand-in for IPython's display; its list has what was shown, first or as an update."""
    shown = []

    class Handle:
        def update(self, image):
            shown.append(("update", image))

    def display(image, display_id=False):
        shown.append(("new", image))
        return Handle()

    module = types.ModuleType("IPython")
    module.get_ipython = lambda: types.SimpleNamespace(kernel=1)
    module.display = types.ModuleType("IPython.display")
    module.display.display, module.display.Image = display, lambda data: data
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return shown


def curves(figure):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]


@pytest.mark.parametrize("x, ys, wanted", [
    ([1, 2, 3], [4, 5, 6], [([1, 2, 3], [4, 5, 6])]),
    ([1, 2], [[4, 5], [6, 7]], [([1, 2], [4, 5]), ([1, 2], [6, 7])]),
    ([[1, 2], [3, 4, 5]], [[4, 5], [6, 7, 8]], [([1, 2], [4, 5]), ([3, 4, 5], [6, 7, 8])]),
    (fastdl.arange(2), fastdl.ones(3, 2, requires_grad=True), [([0, 1], [1, 1])] * 3),
    (np.arange(2), (np.zeros(2), fastdl.ones(2)), [([0, 1], [0, 0]), ([0, 1], [1, 1])]),
])
def test_plot_takes_one_curve_or_several(x, ys, wanted):
    assert curves(vis.plot(x, ys)) == wanted


def test_plot_writes_a_file_and_sets_its_axes(tmp_path):
    path = tmp_path / "new" / "curve.png"
    figure = vis.plot([1, 10], [2, 3], xlabel="x", ylabel="y", legend=["c"], xlim=(1, 9), ylim=(0, 4), xscale="log",
                      title="t", path=path)
    assert path.read_bytes()[:4] == PNG
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), axes.get_xscale()) == ("x", "y", "t", "log")
    assert axes.get_xlim() == (1, 9) and axes.get_ylim() == (0, 4) and axes.get_legend().texts[0].get_text() == "c"
    vis.plot([1, 2], [3, 4], path=tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_curves_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\[plot\] ys: expected curves of the length of x"):
        vis.plot([1, 2, 3], [4, 5])


def test_heatmaps_share_one_scale(tmp_path):
    matrices = np.arange(48.0).reshape(2, 3, 2, 4)
    figure = vis.show_heatmaps(fastdl.tensor(matrices), xlabel="key", ylabel="query", titles=["a", "b", "c"],
                               path=tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == PNG
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 6 and {i.get_clim() for i in images} == {(0.0, 47.0)}
    assert np.array_equal(images[4].get_array(), matrices[1, 1])
    assert [axes.get_title() for axes in figure.axes[:6]] == ["a", "b", "c", "", "", ""]
    with pytest.raises(ValueError, match=r"expected shape \(rows, cols, h, w\), got \(2, 3\)"):
        vis.show_heatmaps(np.zeros((2, 3)))


def test_trajectories(tmp_path):
    way = fastdl.tensor([[-5.0, -2.0], [-2.0, 1.0], [0.0, 0.0]])
    figure = vis.trajectory(lambda a, b: a * a + 2 * b * b, way, tmp_path / "way.png")
    assert curves(figure)[0] == ([-5, -2, 0], [-2, 1, 0]) and (tmp_path / "way.png").stat().st_size > 5000
    figure = vis.trajectory(lambda a, b: a * b, dict.fromkeys("abcde", way), xlim=(-6, 1), ylim=(-3, 2))
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == list("abcde")
    with pytest.raises(ValueError, match=r"points of b: expected shape \(n, 2\), got \(3,\)"):
        vis.trajectory(lambda a, b: a, {"b": np.zeros(3)})


def test_animator_keeps_all_points_and_draws_the_last_ones(tmp_path):
    path = tmp_path / "live" / "curves.png"
    with vis.Animator(xlabel="epoch", legend=["loss", "accuracy"], path=path) as animator:
        for i in range(50):
            animator.add(i, (fastdl.tensor(1.0 / (i + 1)), None if i % 2 else i))
    assert path.read_bytes()[:4] == PNG
    loss, accuracy = curves(animator.figure)
    assert loss[0] == list(range(50)) and loss[1][1] == 0.5 and accuracy == (list(range(0, 50, 2)),) * 2


def test_animator_in_a_notebook_updates_one_picture(notebook):
    with vis.Animator(every=0) as animator:
        animator.draw()
        animator._next = 0
        animator.add(1, 2.0)
    assert [kind for kind, _ in notebook] == ["new", "update", "update"] and notebook[0][1][:4] == PNG
    vis.plot([1, 2], [3, 4])
    assert len(notebook) == 4


@pytest.mark.skipif(SANITIZED, reason="times")
@pytest.mark.parametrize("to_file", [True, False])
def test_drawing_takes_one_percent_of_the_time_at_most(tmp_path, monkeypatch, to_file):
    class Terminal:
        encoding = "utf-8"
        isatty, write, flush = lambda self: True, lambda self, text: len(text), lambda self: None

    monkeypatch.setattr(sys, "stderr", Terminal())
    animator = vis.Animator(legend=["loss"], path=tmp_path / "a.png" if to_file else None, every=0.01)
    drawing, late, draw = [], [], animator.draw

    def timed():
        begin = time.perf_counter()
        draw()
        drawing.append(time.perf_counter() - begin)
        late.append(animator._next < begin + 99 * drawing[-1])  # the next comes before this one was 1 % of the time

    monkeypatch.setattr(animator, "draw", timed)
    adding, until = [], time.perf_counter() + 1
    while time.perf_counter() < until:
        begin = time.perf_counter()
        animator.add(len(adding), 1.0)
        adding.append(time.perf_counter() - begin)
        time.sleep(0.001)
    assert 1 <= len(drawing) <= 100 and sum(late) <= 0.2 * len(late) + 1  # it may be interrupted between two clocks
    # a step that does not draw: 1 % of the book's fastest training step, 0.5 ms; the best, for the machine may be busy
    assert min(adding) < 5e-6


def test_in_a_terminal_each_curve_is_a_line():
    code = ("import time\nfrom tqdm import tqdm\nfrom fastdl import vis\n"
            "with vis.Animator(legend=['loss', 'acc'], every=0) as a:\n"
            "    for i in tqdm(range(20)):\n        a.add(i, (20 - i, i))\n        time.sleep(0.01)\n")
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=inside, close_fds=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"})
    os.close(inside)
    shown = b""
    with contextlib.suppress(OSError):  # Linux: the other side is closed
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    assert "loss █" in text and "▁ 1" in text and "acc  ▁" in text and "█ 19" in text and "20/20" in text


def test_without_a_terminal_nothing_is_printed():
    done = start("from fastdl import vis\nwith vis.Animator(every=0) as a:\n  for i in range(9): a.add(i, i)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_spark():
    assert vis.spark([0, 7, 3.5], 10) == "▁█▅" and vis.spark([2, 2], 10) == "▅▅"
    assert len(vis.spark(np.arange(1000), 40)) == 40 and vis.spark(np.arange(1000), 8) == vis.BARS
    assert vis.spark([1, np.nan, 2], 9, vis.PLAIN_BARS) == "_?#"
    assert vis.spark([np.nan], 9) == "?" == vis.spark([-1], 9, log=True)


def test_without_matplotlib_the_error_says_what_to_install():
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None
from fastdl import vis
for call in (lambda: vis.plot([1], [2]), lambda: vis.Animator(path="x.png")):
    try:
        call()
    except ImportError as error:
        print(error)
with vis.Animator() as a:
    a.add(1, 2)
"""
    assert run(code).splitlines() == ["[vis] drawing needs matplotlib: pip install 'fastdl[plots]'"] * 2


def test_matplotlib_is_imported_on_use_only():
    assert run("import sys, fastdl.vis\nprint('matplotlib' in sys.modules)") == "False"
