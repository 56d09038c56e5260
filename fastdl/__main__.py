"""The command line: `python -m fastdl info`."""

from __future__ import annotations

import argparse
import sys


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastdl", description="fastdl, a CPU deep-learning engine")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("info", help="version, compiler, ISA and threads, and why these were chosen")
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 0
    from fastdl._info import info

    print(info())
    return 0


if __name__ == "__main__":
    sys.exit(main())
