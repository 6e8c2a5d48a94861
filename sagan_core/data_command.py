"""The command line of `python -m sagan_core.data`: one subcommand per way to make a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import emoji, prepared
from .data import DataError


def parser() -> argparse.ArgumentParser:
    """The command line; every subcommand sets `run`, which gets the parsed options."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.data", description="Make a data set to train on."
    )
    commands = command.add_subparsers(required=True, metavar="COMMAND")
    emoji.add_command(commands)
    prepared.add_command(commands)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    options = command.parse_args(arguments)
    try:
        options.run(options)
    except (DataError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    return 0
