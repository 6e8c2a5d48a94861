"""The explorer as a Gradio component: an image on which attention follows the pointer.

The picture is made by the ES modules beside this file; Python sends them one binary file per
scene (`packing.py`). The component is a `gr.HTML` with a static template: no name is ever written
into it, because Gradio evaluates templates as JavaScript. It is not a subclass, because Gradio
writes a .pyi file beside the source of every subclass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder, is_static_file

from sagan_core.checkpoint import write_whole

FOLDER = Path(__file__).parent

START = """
import(props.value.module.url)
  .then(({ start }) => {
    const functions = typeof server === "undefined" ? null : server;
    return start({ element, props, server: functions, upload });
  })
  .catch((error) => {
    const message = element.querySelector(".message");
    message.hidden = false;
    message.textContent = `The page could not start: ${error.message}.`;
  });
"""


def explorer(
    value: dict[str, Any], server_functions: Sequence[Callable[[Any], Any]], **settings: Any
) -> gr.HTML:
    """A generated image with coloured pins and the attention map of each, in a Gradio page.

    Args:
        value: {"lab", "scene", "state"}: what `Studio.lab` returned, the scene to open with, and
            the state of which it is a part.
        server_functions: what the browser may call by name, each with one argument.
        settings: those of `gr.HTML`, such as `elem_id`.
    """
    module = FileData(path=str(_published_modules() / "explorer.js")).model_dump()
    return gr.HTML(
        {**value, "module": module},
        html_template=(FOLDER / "explorer.html").read_text(encoding="utf-8"),
        css_template=style(),
        js_on_load=START,
        apply_default_css=False,
        server_functions=list(server_functions),
        **settings,
    )


@cache
def style() -> str:
    """The explorer's style sheet, and after it those of the page's parts."""
    own = FOLDER / "explorer.css"
    parts = sorted(file for file in FOLDER.glob("*.css") if file != own)
    return "\n".join(file.read_text(encoding="utf-8") for file in (own, *parts))


@cache
def _modules() -> dict[str, bytes]:
    files = sorted(FOLDER.rglob("*.js"))
    return {file.relative_to(FOLDER).as_posix(): file.read_bytes() for file in files}


def _published_modules() -> Path:
    """The folder from which browsers load the modules, written when it is not there.

    Its name changes with the modules, since browsers keep files for a while: after an update none
    may mix old modules with new ones.
    """
    digest = hashlib.sha256(b"\0".join(_modules().values())).hexdigest()[:16]
    folder = Path(get_upload_folder()) / f"explorer-{digest}"
    for name, content in _modules().items():
        if not (folder / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, content)
    if not is_static_file(str(folder)):
        gr.set_static_paths([folder])
    return folder
