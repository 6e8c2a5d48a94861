"""The explorer as a Gradio component: an image on which attention follows the pointer.

The picture is made by the ES modules beside this file; Python sends them one binary file per
sample (`packing.py`). The component is a `gr.HTML` with a static template: no name is ever written
into it, because Gradio evaluates templates as JavaScript. It is not a subclass, because Gradio
writes a .pyi file beside the source of every subclass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder, is_static_file

from sagan_core.checkpoint import write_whole
from sagan_core.sample import Sample

from .packing import pack

FOLDER = Path(__file__).parent

START = """
import(props.value.module.url)
  .then(({ start }) => start({ element, props, watch }))
  .catch((error) => {
    element.querySelector(".readout").textContent = `The page could not start: ${error.message}.`;
  });
"""


@dataclass(frozen=True, eq=False)
class Scene:
    """What the explorer shows.

    Attributes:
        sample: an image and its attention fields, of which there is at least one.
        id: unguessable name of the sample in the server's store.
        title: what the image shows, such as its class; any text.
        subtitle: what made it; any text.
        view: layer, baseline, opacity and pins to take over; None keeps what the person has set.
        opening: this scene is part of the page; an address that asks for another comes first.
    """

    sample: Sample
    id: str
    title: str
    subtitle: str
    view: dict[str, Any] | None = None
    opening: bool = False


def explorer(scene: Scene, **settings: Any) -> gr.HTML:
    """A generated image with coloured pins and the attention map of each, in a Gradio page.

    Callbacks that change it return a `scene_value`. In the browser, its element's `.lens` has an
    `explorer` with `state()`, all that decides the picture, and `set({layer, baseline, opacity})`.
    `settings` are those of `gr.HTML`, such as `elem_id`.
    """
    return gr.HTML(
        scene_value(scene),
        html_template=(FOLDER / "explorer.html").read_text(encoding="utf-8"),
        css_template=(FOLDER / "explorer.css").read_text(encoding="utf-8"),
        js_on_load=START,
        apply_default_css=False,
        **settings,
    )


def scene_value(scene: Scene) -> dict[str, Any]:
    """The small value that the browser gets; image and attention are in its `file`."""
    content, description = pack(scene.sample)
    sample = scene.sample
    return {
        **description,
        "module": FileData(path=str(_published_modules() / "explorer.js")).model_dump(),
        "file": FileData(path=str(_published(content))).model_dump(),
        "id": scene.id,
        "view": scene.view,
        "opening": scene.opening,
        "about": {
            "title": scene.title,
            "subtitle": scene.subtitle,
            "label": sample.label,
            "seed": sample.seed,
            "truncation": sample.truncation,
        },
    }


def _published(content: bytes) -> Path:
    """A file with this content that browsers may load, written once: never while it is read."""
    name = hashlib.sha256(content).hexdigest()[:32]
    path = Path(get_upload_folder()) / name / "attention.bin"
    if not path.is_file():
        write_whole(path, content)
    return path


@cache
def _modules() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.js"))}


def _published_modules() -> Path:
    """The folder from which browsers load the modules, written when it is not there.

    Its name changes with the modules, since browsers keep files for a while: after an update none
    may mix old modules with new ones.
    """
    digest = hashlib.sha256(b"\0".join(_modules().values())).hexdigest()[:16]
    folder = Path(get_upload_folder()) / f"explorer-{digest}"
    for name, content in _modules().items():
        if not (folder / name).is_file():
            write_whole(folder / name, content)
    if not is_static_file(str(folder)):
        gr.set_static_paths([folder])
    return folder
