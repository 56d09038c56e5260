"""The command line: `python -m fastdl info`, `python -m fastdl run script.py`."""

from __future__ import annotations

import argparse
import sys

RUN_USAGE = "python -m fastdl run script.py [args ..], or: python -m fastdl run -m module [args ..]"


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m fastdl", description="fastdl, a CPU deep-learning engine")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("info", help="version, compiler, ISA and threads, and why these were chosen")
    text = "run a PyTorch script on fastdl: `import torch` gives fastdl there"
    runner = commands.add_parser("run", help=text, description=text, usage=RUN_USAGE)
    if argv[:1] == ["run"]:
        return run(argv[1:], runner)  # all that follows is the script's, so argparse must not see it
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 0
    from fastdl._info import info

    print(info())
    return 0


def run(words: list[str], parser: argparse.ArgumentParser) -> int:
    """Runs what follows `run` on the command line."""
    if not words or words[0] in ("-h", "--help"):
        parser.print_help(None if words else sys.stderr)
        return 0 if words else 2
    from fastdl import _run

    if words[0] == "-m" and len(words) > 1:
        _run.run_module(words[1], words[2:])
    elif words[0].startswith("-"):
        parser.error(f"expected a script, got the option {words[0]}")
    else:
        _run.run(words[0], words[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
