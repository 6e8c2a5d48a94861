"""Figures and data from the command line: `python -m viz figure`, `python -m viz data`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagan_core.checkpoint import Checkpoint
    from sagan_core.sample import Sample

    from .view import Pin

CHECKPOINT = Path(__file__).parent.parent / "checkpoints" / "fashion-mnist-32"

EXAMPLES = """
examples:
  python -m viz figure -o figure.pdf
  python -m viz figure --label Sneaker --seed 3 --pins 3,4 8,8 12,5 -o sneaker.png
  python -m viz figure --checkpoint checkpoints/mine --layer blocks.2.attention \\
      --baseline average -o mine.svg
  python -m viz data --label Sneaker --seed 3 --pins 3,4 8,8 12,5 -o sneaker.npz
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `arguments` defaults to that of this process."""
    parser = argparse.ArgumentParser(
        prog="python -m viz",
        description="Save what a SAGAN's self-attention looks at, without the page.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    figure = commands.add_parser(
        "figure",
        help="the paper's figure: the image, and the image under each pin's map",
        description="Draw a generated image with its query points, and beside it one panel per "
        "point: the image under that point's attention map.",
    )
    data = commands.add_parser(
        "data",
        help="the numbers: the image, the pins, and every layer's queries, keys and weights",
        description="Write an NPZ with the image, the pins, and every layer's weights, query and "
        "key. In Python, help(viz.data.save_data) names every array.",
    )
    for command in (figure, data):
        _add_choices(command)
    figure.add_argument(
        "--baseline",
        choices=("uniform", "average"),
        default="uniform",
        help="what 1x stands for: uniform attention (default), or the average point's attention, "
        "which shows what is each point's own",
    )
    figure.add_argument(
        "--opacity",
        type=float,
        default=0.7,
        metavar="SHARE",
        help="of the map over the image, from 0 to 1 (default: 0.7)",
    )
    figure.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help=".png, .pdf or .svg"
    )
    data.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".npz")
    return parser.parse_args(arguments)


def _add_choices(command: argparse.ArgumentParser) -> None:
    """What to generate and where to look, alike for all commands."""
    command.add_argument(
        "--checkpoint",
        type=Path,
        default=CHECKPOINT,
        metavar="DIR",
        help="folder of the trained model (default: the one that ships with SAGAN Lens)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the image (default: 0)")
    command.add_argument(
        "--label",
        metavar="CLASS",
        help='class to generate, by name ("Sneaker") or index (default: chosen by the seed)',
    )
    command.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="from 0 (the class's most typical image) to 1 (as trained; default)",
    )
    command.add_argument(
        "--layer",
        metavar="NAME",
        help="attention layer, such as blocks.1.attention (default: the generator's last)",
    )
    command.add_argument(
        "--pins",
        nargs="+",
        type=_pin,
        metavar="ROW,COL",
        help="points to ask, as cells of the layer's query grid counted from 0,0 at the top left "
        "(default: three whose maps are worth comparing)",
    )


def _pin(text: str) -> Pin:
    match = re.fullmatch(r"(-?\d+),(-?\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROW,COL, such as 3,4")
    return int(match[1]), int(match[2])


def label_index(checkpoint: Checkpoint, label: str | None) -> int | None:
    """The class that a person names, by name in any case, or by index.

    Raises ValueError, naming the classes, for one that the model does not have.
    """
    if label is None:
        return None
    names = checkpoint.class_names
    if not names:
        raise ValueError(f"{checkpoint.name} has no classes: leave --label out")
    if label in names:
        return names.index(label)
    alike = [index for index, name in enumerate(names) if name.casefold() == label.casefold()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch(r"\d{1,9}", label) and int(label) < len(names):
        return int(label)
    known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise ValueError(f"no class {label!r}; there are {known}; or an index up to {len(names) - 1}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file. Returns the exit code: 2 when that cannot be done."""
    options = parse(arguments)
    try:
        save(options)
    except (ValueError, LookupError, OSError) as error:
        print(f"python -m viz {options.command}: {_in_one_line(error)}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


def _in_one_line(error: Exception) -> str:
    said = str(error)
    if isinstance(error, KeyError):
        said = error.args[0]  # str() would put quotes around it
    elif isinstance(error, OSError) and error.filename:
        said = f"{error.filename}: {error.strerror}"
    return " ".join(said.split())


def save(options: argparse.Namespace) -> None:
    """Do what the command line says. Raises ValueError, LookupError or OSError."""
    # Imported late, so that --help and a wrong option answer at once.
    from sagan_core.checkpoint import load_checkpoint
    from sagan_core.sample import generate

    from .data import save_data
    from .figure import figure

    checkpoint = load_checkpoint(options.checkpoint)
    label = label_index(checkpoint, options.label)
    sample = generate(checkpoint.generator, options.seed, label, options.truncation)
    if not sample.fields:
        raise ValueError(f"{checkpoint.name}: its generator has no attention layer to look at")
    layer = options.layer or list(sample.fields)[-1]  # the last, as in the paper's figure 5
    pins = options.pins or default_pins(sample, layer)
    name = checkpoint.name
    class_name = "" if sample.label is None else checkpoint.class_names[sample.label]
    if options.command == "data":
        save_data(options.out, sample, layer, pins, checkpoint=name, class_name=class_name)
        return
    caption = ", ".join(part for part in (name, class_name) if part)
    still = figure(
        sample,
        layer,
        pins,
        baseline=options.baseline,
        opacity=options.opacity,
        caption=caption,
    )
    still.save(options.out)


def default_pins(sample: Sample, layer: str) -> list[Pin]:
    """The pins that the page suggests for this image."""
    from .data import attention_field
    from .suggestions import suggested_pins

    return suggested_pins(attention_field(sample.fields, layer), sample.image)


if __name__ == "__main__":
    sys.exit(main())
