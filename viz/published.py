"""Files that browsers may load, named by their content, kept while somebody may ask for them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from gradio.utils import get_upload_folder

from sagan_core.checkpoint import write_whole

DAY = 24 * 3600


def publish(content: bytes, suffix: str = ".bin") -> Path:
    """A file with this content in a folder that Gradio serves, written once and whole."""
    path = folder() / f"{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
    if not touch(path):
        write_whole(path, content)
    return path


def publish_as(name: str, content: bytes) -> Path:
    """The same under a name that a person may keep it by."""
    path = folder() / hashlib.sha256(content).hexdigest()[:32] / name
    if not touch(path):
        write_whole(path, content)
    return path


def touch(path: Path) -> bool:
    """Mark a file as in use, so that nothing that clears old files takes it; False if gone."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def withdraw(path: Path) -> None:
    """Delete a file, which somebody else may have done."""
    path.unlink(missing_ok=True)


def clear(age: float = DAY) -> None:
    """Delete what servers before this one left behind: files not used for `age` seconds."""
    for path in folder().rglob("*"):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > age:
                withdraw(path)
        except FileNotFoundError:  # another server's, and it was quicker
            continue


def folder() -> Path:
    """Where published files are."""
    return Path(get_upload_folder()) / "sagan-lens"
