"""What the command lines that measure and compare share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number in a range, for argparse."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            upper = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}{upper}")
        return int(text)

    return number


def command_line(
    command: argparse.ArgumentParser, options: argparse.Namespace, *places: str
) -> str:
    """The command that was given: what stands at `places`, and every option not the default."""
    words = [*command.prog.split(), *(str(getattr(options, name)) for name in places)]
    for name, value in vars(options).items():
        if name not in places and value != command.get_default(name):
            values = value if isinstance(value, list) else [value]
            words += ["--" + name.replace("_", "-"), *map(str, values)]
    return shlex.join(words)


def run(
    command: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None,
) -> int:
    """Do what the arguments ask for; the exit status. `work` writes only when all is measured."""
    options = command.parse_args(arguments)
    try:
        work(options)
    except (ValueError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{command.prog}: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0
