"""What the examples share: the options --seed, --out and --quick, checkpoints, and errors that are one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ABSENT = 3  # status: data or a package is not there


def parser(description: str | None, quick: str = "few steps, to see that all works") -> argparse.ArgumentParser:
    """A parser with the options that every example has; the program's docstring is its description."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=0, help="of all random numbers (0)")
    made.add_argument("--out", type=Path, default=Path("out"), help="folder for all that is written (out)")
    made.add_argument("--quick", action="store_true", help=quick)
    return made


def natural(text: str) -> int:
    """A number of at least 1, as argparse wants its types."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def fail(message: object) -> NoReturn:
    """Ends the program with "name: error: message"; the message may be an exception."""
    print(f"{Path(sys.argv[0]).stem}: error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(ABSENT if isinstance(message, (ImportError, FileNotFoundError)) else 1)


def checkpoint(path: Path, *names: str) -> dict[str, Any]:
    """What fastdl.save wrote there. ValueError if it is damaged or lacks one of the entries `names`."""
    import fastdl  # here: train_timemachine.py sets the threads of BLAS before this

    try:
        found = fastdl.load(path)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, dict) or set(names) - found.keys():
        raise ValueError(f"{path}: not a checkpoint of this program: expected {', '.join(names)}")
    return found


@contextmanager
def saved_after(path: Path, content: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Writes content() as the checkpoint when the block has trained the model, or when Ctrl-C ends it early."""
    import fastdl

    stopped = None
    try:
        yield
    except KeyboardInterrupt as error:
        stopped = error
    fastdl.save(content(), path)
    print(f"checkpoint: {path}")
    if stopped:
        print("stopped early; the checkpoint has what was learned so far")
        raise stopped


def load_weights(model: Any, weights: Any, path: Path) -> None:
    """Puts the weights of a checkpoint into the model. ValueError that names the sizes if they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


def run(main: Callable[[Any], object], options: argparse.Namespace) -> NoReturn:
    """Makes the folder --out, calls main(options) and ends the program: errors of input are one line."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        main(options)
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
