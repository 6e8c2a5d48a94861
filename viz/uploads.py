"""Files that people hand to the page: which of them may be read, and checkpoints among them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan_core.checkpoint import Checkpoint, CheckpointError
from sagan_core.foreign import open_checkpoint

from .source import short

MOST_BYTES = 2_000_000_000


def uploaded_file(path: Any) -> Path:
    """A file in the folder of uploads. Raises ValueError for any other."""
    if not isinstance(path, str) or not 0 < len(path) < 4096 or "\0" in path:
        raise ValueError(f"path is {short(path)}; it must be that of an uploaded file")
    from gradio.utils import get_upload_folder  # seconds, which a script need not wait

    folder, file = Path(get_upload_folder()).resolve(), Path(path).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise ValueError("The file is not among the uploaded ones (any more): drop it again.")
    return file


def uploaded_checkpoint(request: Any) -> tuple[str, Checkpoint]:
    """(name, checkpoint) of {"path": an uploaded file}; the file itself is needed no longer.

    The name holds the hash of the file's content, so that only those who have the file, or a link
    from somebody who has, find the checkpoint. Raises ValueError for a request that names no
    uploaded file and for one that is too large, CheckpointError for one that cannot be opened.
    """
    if not isinstance(request, Mapping):
        raise ValueError(f"expected the path of an uploaded file, not {short(request)}")
    path = uploaded_file(request.get("path"))
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"{path.name} has {size / 1e6:,.0f} MB; up to {MOST_BYTES / 1e6:,.0f} MB can be opened "
            "here. Start app.py with --checkpoint instead."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{path.stem[:60]} {digest[:16]}"
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:  # where the server keeps it is nobody's business
        raise CheckpointError(str(error).replace(f"{path.parent}/", "")) from None
    return name, replace(checkpoint, title=path.stem[:60])
