"""The Gradio page: the explorer, what it opens with, and the functions that it may call.

There is no session state and no event: the browser and its address hold what is shown, and ask
`Studio` for scenes and files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr
import plotly

from sagan_core.checkpoint import Checkpoint

from .explorer.explorer import explorer
from .language import LANGUAGES, catalogue
from .studio import Studio

STYLE = Path(__file__).with_name("page.css")
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
HOUR = 3600
LARGEST_IMAGE, LARGEST_CHECKPOINT = "100mb", "2gb"

NAME = "SAGAN Lens"
PURPOSE = "See which regions of a generated image each of its points drew on."


def build_page(
    checkpoints: Checkpoint | Sequence[Checkpoint | Path], uploads: bool = False
) -> gr.Blocks:
    """The page for one or several checkpoints, ready for `launch_page`.

    Args:
        checkpoints: opened ones, or folders to be opened when somebody asks for them; the page
            opens on the first.
        uploads: people may upload checkpoints, which are then open to those who know their name.

    Raises ValueError for a first checkpoint without attention.
    """
    chosen = [checkpoints] if isinstance(checkpoints, Checkpoint) else checkpoints
    studio = Studio(chosen, uploads)
    lab = studio.lab(None)
    value = {
        "lab": lab,
        "scene": studio.scene(lab["defaults"]["source"]),
        "state": lab["defaults"],
        "plotly": {"path": str(_plotly_script())},
    }
    # Files of scenes and figures go after some hours; scenes are made again when asked for.
    with gr.Blocks(title=NAME, delete_cache=(HOUR, 4 * HOUR)) as page:
        purpose = f"<h1>{NAME}</h1>\n<p>{gr.I18n()(PURPOSE)}</p>"
        gr.HTML(purpose, elem_id="title", apply_default_css=False)
        explorer(value, server_functions(studio), elem_id="explorer")
    return page


def server_functions(studio: Studio) -> list[Any]:
    """What the browser may call, by name, each with one JSON argument."""

    def scene(source: Any) -> dict[str, Any]:
        return studio.scene(source)

    def lab(name: Any) -> dict[str, Any]:
        return studio.lab(name)

    def drop(request: Any) -> dict[str, Any]:
        return studio.drop(request)

    def timeline(request: Any) -> dict[str, Any]:
        return studio.timeline(request)

    def save(request: Any) -> dict[str, Any]:
        return studio.save(request)

    def about(name: Any) -> dict[str, Any]:
        return studio.about(name)

    def evidence(request: Any) -> dict[str, Any]:
        return studio.evidence(request)

    def steps(request: Any) -> dict[str, Any]:
        return studio.steps(request)

    def upload_checkpoint(request: Any) -> dict[str, Any]:
        return studio.upload(request)

    def reach(request: Any) -> dict[str, Any]:
        return studio.reach(request)

    return [scene, lab, drop, timeline, save, about, evidence, steps, reach, upload_checkpoint]


def _plotly_script() -> Path:
    """plotly.js as the package brings it, so that curves need no network."""
    folder = Path(plotly.__file__).parent / "package_data"
    gr.set_static_paths([folder])
    return folder / "plotly.min.js"


def launch_page(
    page: gr.Blocks,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    wait: bool = True,
    uploads: bool = False,
) -> str:
    """Serve a page; returns its address on this machine.

    Args:
        host: interface to listen on; 0.0.0.0 for all.
        port: None takes the first free one from 7860 on.
        share: also open a public link through Gradio's servers.
        wait: serve until interrupted; otherwise return at once and serve in the background.
        uploads: take files as large as checkpoints.

    Raises OSError when the port is taken.
    """
    theme = gr.themes.Default(
        primary_hue="blue",
        neutral_hue="zinc",
        font=list(SYSTEM_FONTS),
        font_mono=list(SYSTEM_MONO),
    ).set(
        # The theme's own is too pale to read: 4.5 to 1 is the least for text.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
    )
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=not wait,
        theme=theme,
        css_paths=STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=LARGEST_CHECKPOINT if uploads else LARGEST_IMAGE,
        quiet=not wait,
        i18n=gr.I18n(
            **{code: {PURPOSE: catalogue(code).get(PURPOSE, PURPOSE)} for code in LANGUAGES}
        ),
    )
    return str(address)
