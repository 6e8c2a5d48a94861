"""Open the page: `python app.py`, or `python app.py --checkpoint FOLDER_OR_FILE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKPOINTS = Path(__file__).parent / "checkpoints"
CHECKPOINT = CHECKPOINTS / "emoji-32"


def shipped() -> list[Path]:
    """The checkpoints that come with the repository, which the page offers beside its first."""
    return sorted(file.parent for file in CHECKPOINTS.glob("*/config.json"))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `arguments` defaults to that of this process."""
    # On a Hugging Face Space the page is reached from outside the container.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    parser = argparse.ArgumentParser(
        description="Show what a SAGAN's self-attention looks at.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint",
        default=str(CHECKPOINT),
        metavar="PATH",
        help="folder, or file of another code base, or hub:OWNER/NAME[:FILE]",
    )
    parser.add_argument("--host", default=host, help="interface to listen on")
    parser.add_argument("--port", type=int, help="port; without it the first free one from 7860 on")
    parser.add_argument("--share", action="store_true", help="also open a public link")
    parser.add_argument(
        "--uploads",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let people upload checkpoints; without it only where the page is for this machine",
    )
    options = parser.parse_args(arguments)
    if options.uploads is None:
        options.uploads = options.host in ("127.0.0.1", "localhost", "::1") and not options.share
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Returns the exit code: 2 when there is nothing to serve."""
    options = parse(arguments)
    # Imported late, so that --help and a wrong option answer at once.
    from sagan_core import CheckpointError, open_checkpoint

    try:
        checkpoint = open_checkpoint(options.checkpoint)
    except CheckpointError as error:
        return _fail(error)
    from viz.page import build_page, launch_page

    others = [path for path in shipped() if path.resolve() != checkpoint.path.resolve()]
    try:
        page = build_page([checkpoint, *others], options.uploads)
    except ValueError as error:
        return _fail(error)
    try:
        launch_page(page, options.host, options.port, options.share, uploads=options.uploads)
    except (OSError, OverflowError) as error:
        return _fail(f"cannot serve on {options.host}, port {options.port or '7860 on'}: {error}")
    return 0


def _fail(error: Exception | str) -> int:
    print(f"app.py: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
