"""Write another code base's checkpoint as a folder: python -m sagan_core.convert SRC OUT."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .checkpoint import CONFIG, Checkpoint, CheckpointError, save_checkpoint
from .foreign import open_checkpoint
from .recognised import parameter_count


def convert(source: str | Path, folder: str | Path, discriminator: str | None = None) -> Checkpoint:
    """Open `source` and write it as `folder`; returns what was opened.

    The folder holds safetensors and a config with the network's layout, and opens with
    `load_checkpoint`: no pickle is left, spectral norms are part of the weights, colours are red,
    green, blue. Raises CheckpointError for a source that cannot be opened, and for a folder that
    already has a checkpoint.
    """
    folder = Path(folder)
    if (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} already holds a checkpoint; name another folder")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; name a folder to write")
    checkpoint = open_checkpoint(source, discriminator=discriminator)
    save_checkpoint(
        folder,
        checkpoint.generator,
        checkpoint.discriminator,
        checkpoint.class_names,
        checkpoint.training,
        recognised=checkpoint.recognised,
    )
    return checkpoint


def summary(checkpoint: Checkpoint) -> str:
    """What a checkpoint was recognised as, a line each."""
    recognised = checkpoint.recognised
    networks = {"generator": checkpoint.generator, "discriminator": checkpoint.discriminator}
    lines = [
        f"{name}: {parameter_count(network):,} parameters"
        for name, network in networks.items()
        if network is not None
    ]
    if recognised is not None:
        weights = f", {recognised.weights} weights" if recognised.weights else ""
        lines.insert(0, f"{recognised.family}{weights}")
        lines += list(recognised.reasons)
        lines += [f"warning: {warning}" for warning in recognised.warnings]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and say what was found. Returns the exit code: 2 when nothing was written."""
    parser = argparse.ArgumentParser(
        prog="python -m sagan_core.convert",
        description="Write another code base's checkpoint as a folder of safetensors.",
    )
    parser.add_argument("source", help="file, folder, or hub:OWNER/NAME[:FILE]")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--discriminator", help="its file, where that is not beside the source")
    options = parser.parse_args(arguments)
    try:
        checkpoint = convert(options.source, options.folder, options.discriminator)
    except (CheckpointError, OSError) as error:
        print(f"convert: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(summary(checkpoint))
    print(f"written to {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
