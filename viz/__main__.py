"""From the command line: `python -m viz figure`, `data`, `html` and `handout`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .language import LANGUAGES
from .view import CHOICES, LOOK_OPTIONS, RANGES, SWITCHES, Pin

if TYPE_CHECKING:
    from sagan_core.checkpoint import Checkpoint

    from .workshop import Workshop

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
CHECKPOINT = CHECKPOINTS / "emoji-32"
ADDRESS = "http://127.0.0.1:7860/"  # of a page on this machine

EXAMPLES = """
examples:
  python -m viz figure -o figure.pdf
  python -m viz figure --label flags --seed 3 --pins 8,6 16,16 24,20 --arrows -o flag.png
  python -m viz figure --checkpoint checkpoints/mine --layer blocks.2.attention \\
      --baseline average -o mine.svg
  python -m viz figure --gamma blocks.2.attention=0 --seed 3 -o without-the-layer.png
  python -m viz figure --recipe recipe.json -o again.pdf
  python -m viz data --label flags --seed 3 --pins 8,6 16,16 24,20 -o flag.npz
  python -m viz html --label flags --seed 3 -o flag.html
  python -m viz handout --lang ko -o handout.pdf

A recipe is what the page saves as JSON. What is given beside it comes first.
"""

COMMANDS = {
    "figure": (
        "the paper's figure: the image, and the image under each pin's map",
        "Draw an image with its query points, and beside it one panel per point: the image under "
        "that point's attention map.",
        ".png, .pdf or .svg",
    ),
    "data": (
        "the numbers: the image, the pins, and what every layer computed",
        "Write an NPZ with the image, the pins, and for every layer queries, keys, values and "
        "weights. In Python, help(viz.data.save_data) names every array.",
        ".npz",
    ),
    "html": (
        "the live explorer of one image as one file, which needs no network",
        "Write one HTML file that opens from the disk: point at the image, pin points, choose "
        "layers, as on the page.",
        ".html",
    ),
    "handout": (
        "the lesson on one sheet (A4): a real map, the equation, the seven questions",
        "Write the sheet that goes with the lesson on the page. Without an image it shows the one "
        "that the page opens with.",
        ".pdf",
    ),
}

LOOK_HELP = {
    "direction": "where a point looked, or who looked at it (default: from)",
    "measure": "attention, or attention times the length of what the value adds (default: "
    "attention)",
    "baseline": "what 1x stands for: uniform attention (default), or the average point's "
    "attention, which shows what is each point's own",
    "temperature": "of the softmax, as a what-if on the maps (default: 1)",
    "scale": "one for all panels (default), or each panel's own",
    "log": "logarithmic colours",
    "colours": "the map of colours (default: inferno)",
    "opacity": "of the map over the image (default: 0.7)",
    "style": "colours over the image (default), or the image dimmed where attention is not",
    "smooth": "interpolate between cells",
    "arrows": "draw arrows to the most attended regions",
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `arguments` defaults to that of this process."""
    parser = argparse.ArgumentParser(
        prog="python -m viz",
        description="Save what a SAGAN's self-attention looks at, without the page.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (short, description, suffixes) in COMMANDS.items():
        command = commands.add_parser(name, help=short, description=description)
        _add_choices(command)
        if name in ("figure", "html"):
            _add_look(command)
        if name == "handout":
            _add_sheet(command)
        command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=suffixes)
    return parser.parse_args(arguments)


def _add_choices(command: argparse.ArgumentParser) -> None:
    """What to generate and where to look, alike for all commands."""
    image = command.add_argument_group("the image")
    image.add_argument(
        "--recipe", type=Path, metavar="FILE", help="start from a recipe that the page saved"
    )
    image.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder of the trained model (default: the one that ships with SAGAN Lens); again "
        "for a second one that a recipe needs",
    )
    image.add_argument("--seed", type=int, help="of the image (default: 0)")
    image.add_argument(
        "--label",
        metavar="CLASS",
        help='class to generate, by name ("flags") or index (default: chosen by the seed)',
    )
    image.add_argument(
        "--truncation",
        type=float,
        metavar="FACTOR",
        help="from 0 (the class's most typical image) to 1 (as trained; default)",
    )
    image.add_argument(
        "--gamma",
        type=_factor,
        action="append",
        metavar="LAYER=FACTOR",
        help="multiply a layer's learnt gamma, from -2 to 2; 0 takes the layer out",
    )
    image.add_argument(
        "--without",
        type=_cells,
        action="append",
        metavar="LAYER=KEYS",
        help="key cells that a layer may not look at, counted row by row: 0,1,17",
    )
    points = command.add_argument_group("where to look")
    points.add_argument(
        "--layer",
        metavar="NAME",
        help="attention layer, such as blocks.2.attention or discriminator.blocks.0.attention "
        "(default: the generator's last)",
    )
    points.add_argument(
        "--pins",
        nargs="+",
        type=_pin,
        metavar="ROW,COL",
        help="points to ask, as cells of the layer's query grid counted from 0,0 at the top left "
        "(default: three whose maps are worth comparing)",
    )


def _add_look(command: argparse.ArgumentParser) -> None:
    look = command.add_argument_group("how it is drawn")
    look.add_argument(
        "--all-layers",
        action=argparse.BooleanOptionalAction,
        help="a row of panels for every layer",
    )
    for name in LOOK_OPTIONS:
        if name in CHOICES:
            look.add_argument(f"--{name}", choices=CHOICES[name], help=LOOK_HELP[name])
        elif name in SWITCHES:
            action = argparse.BooleanOptionalAction
            look.add_argument(f"--{name}", action=action, help=LOOK_HELP[name])
        else:
            low, high = RANGES[name]
            words = f"from {low:g} to {high:g}, {LOOK_HELP[name]}"
            look.add_argument(f"--{name}", type=float, metavar="NUMBER", help=words)


def _add_sheet(command: argparse.ArgumentParser) -> None:
    sheet = command.add_argument_group("the sheet")
    sheet.add_argument("--lang", choices=LANGUAGES, default="en", help="language (default: en)")
    sheet.add_argument(
        "--address",
        default=ADDRESS,
        metavar="URL",
        help=f"where the class opens the page, for the link (default: {ADDRESS})",
    )


def _factor(text: str) -> tuple[str, float]:
    layer, _, factor = text.rpartition("=")
    try:
        return layer, float(factor)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER=FACTOR") from None


def _cells(text: str) -> tuple[str, list[int]]:
    layer, _, cells = text.rpartition("=")
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", cells):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER=KEY,KEY, such as LAYER=0,17")
    return layer, [int(cell) for cell in cells.split(",")]


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
    kind = options.out.suffix.lower().removeprefix(".")
    known = COMMANDS[options.command][2]
    if f".{kind}" not in re.findall(r"\.\w+", known):
        raise ValueError(f"cannot write {options.out.name!r}: the file name must end in {known}")
    # Imported late, so that --help and a wrong option answer at once.
    from .kept import keep, state_of_recipe
    from .workshop import Workshop

    recipe = None if options.recipe is None else _read(options.recipe)
    given = options.checkpoint or [CHECKPOINT]
    if recipe is None and len(given) > 1:
        raise ValueError(f"--checkpoint is given {len(given)} times; only recipes need several")
    folders: list[Any] = [_opened(one) for one in given]
    if recipe is not None and not options.checkpoint:
        folders = sorted(file.parent for file in CHECKPOINTS.glob("*/config.json"))
    workshop = Workshop(folders)
    state = {"source": {}} if recipe is None else state_of_recipe(workshop, recipe)
    if options.command == "handout":
        options.out.write_bytes(_sheet(workshop, state, options))
        return
    content, _ = keep(workshop, _changed(workshop.networks.checkpoint, state, options), kind)
    options.out.write_bytes(content)


def _sheet(workshop: Workshop, state: dict[str, Any], options: argparse.Namespace) -> bytes:
    from .handout import handout

    chosen = (options.recipe, options.seed, options.label, options.pins, options.layer)
    if all(one is None for one in chosen):
        state = workshop.beginning()
    state = _changed(workshop.networks.checkpoint, state, options)
    return handout(workshop, state, options.lang, options.address)


def _opened(given: Path) -> Path | Checkpoint:
    """A path as it is, to be opened when needed; one on a hub opened."""
    if not str(given).startswith("hub:"):
        return given
    from sagan_core.foreign import open_checkpoint

    return open_checkpoint(str(given))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def _changed(
    checkpoint: Callable[[str], Checkpoint], state: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """A state with what the command line says put over it."""
    chosen = {name: value for name, value in vars(options).items() if value is not None}
    source = dict(state.get("source") or {})
    source |= {name: chosen[name] for name in ("seed", "truncation") if name in chosen}
    if "label" in chosen:
        opened = checkpoint(source.get("checkpoint", ""))
        source["label"] = label_index(opened, chosen["label"])
    for name in ("gamma", "without"):
        if name in chosen:
            source[name] = {**(source.get(name) or {}), **dict(chosen[name])}
    kept = ("layer", "all_layers", *LOOK_OPTIONS)
    state = {**state, "source": source, **{key: chosen[key] for key in kept if key in chosen}}
    if "pins" in chosen:
        state["pins"] = [list(pin) for pin in chosen["pins"]]
    elif "layer" in chosen:
        state.pop("pins", None)  # they were cells of another layer
    return state


if __name__ == "__main__":
    sys.exit(main())
