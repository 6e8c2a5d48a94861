"""The Gradio page: controls around the explorer, and thin callbacks.

There is no session state: the browser and its address hold what is shown, the server keeps
samples for a while (`store.py`) and makes any of them again from its recipe.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr

from sagan_core.attention import attention_layers
from sagan_core.checkpoint import Checkpoint
from sagan_core.sample import MAX_SEED, Sample, generate

from .address import ADDRESS_KEYS, View, view_from_address, view_from_browser
from .explorer.explorer import Scene, explorer, scene_value
from .explorer.notes import layer_label
from .store import SampleStore
from .suggestions import suggested_pins
from .view import Recipe

STYLE = Path(__file__).with_name("page.css")
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
HOUR = 3600
OPENING_SEEDS, LARGE_MODEL = 12, 5_000_000  # parameters

TITLE = """
<h1>SAGAN Lens</h1>
<p>See which regions of a generated image each of its points drew on.</p>
"""

Kind = Literal["png", "pdf", "npz"]

_EXPLORER = 'document.querySelector("#explorer .lens").explorer'
SET = "(value) => {{ {explorer}?.set({{ {name}: value }}); }}"
STATE = f"() => [{_EXPLORER}.state()]"
RANDOM_SEED = f"() => Math.floor(Math.random() * {MAX_SEED + 1})"
DOWNLOAD = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


def opening_sample(checkpoint: Checkpoint) -> Sample:
    """Of the first seeds, the one whose last layer's map depends most on the point.

    A large model, slow to sample, opens on seed 0. Raises ValueError for a model without
    attention in its generator.
    """

    def dependence(sample: Sample) -> float:
        return float(list(sample.fields.values())[-1].dependence())

    generator = checkpoint.generator
    if not attention_layers(generator):
        raise ValueError(
            f"{checkpoint.name}: its generator has no attention layer to look at; "
            "train one with --attention"
        )
    small = sum(p.numel() for p in generator.parameters()) < LARGE_MODEL
    seeds = range(OPENING_SEEDS if small else 1)
    return max((generate(generator, seed) for seed in seeds), key=dependence)


class Lens:
    """One checkpoint, opened for looking: the callbacks of the page.

    Raises ValueError for a model without attention in its generator.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.store = SampleStore(lambda recipe: generate(checkpoint.generator, *recipe))
        first = opening_sample(checkpoint)
        self.grids = {name: field.query_grid for name, field in first.fields.items()}
        layer = list(self.grids)[-1]  # as in the paper's figure 5
        self.default = View(
            Recipe(first.seed, first.label, first.truncation),
            layer,
            tuple(suggested_pins(first.fields[layer], first.image)),
        )
        self.layers = [
            (f"{layer_label(field)}, gamma {field.gamma:.2g}", name)
            for name, field in first.fields.items()
        ]

    def class_name(self, label: int | None) -> str:
        return "" if label is None else self.checkpoint.class_names[label]

    def scene(self, recipe: Recipe, view: View | None = None, opening: bool = False) -> Scene:
        """What the explorer shows for a recipe. Raises ValueError for one out of range."""
        sample_id, sample = self.store.obtain(recipe)
        subtitle = f"{self.checkpoint.name}, seed {sample.seed}"
        if sample.truncation != 1:
            subtitle += f", truncation {sample.truncation:g}"
        title = self.class_name(sample.label) or "Generated image"
        settings = None if view is None else asdict(view)
        return Scene(sample, sample_id, title, subtitle, settings, opening)

    def first_scene(self) -> Scene:
        return self.scene(self.default.recipe, self.default, opening=True)

    def show(self, label: int | None, seed: int | None, truncation: float) -> Any:
        """A new image, when a person changes class, seed or truncation."""
        if seed is None:  # the field is being typed in
            return gr.skip()
        return self._answer(lambda: scene_value(self.scene(Recipe(seed, label, truncation))))

    def open_address(self, request: gr.Request) -> list[Any]:
        """Explorer and controls as the page's address asks for."""
        query = dict(request.query_params)
        if not ADDRESS_KEYS & query.keys():
            return [gr.skip()] * 7
        view = view_from_address(query, self.default, self.grids, self.checkpoint.config.classes)
        if not view.pins and "pins" not in query:
            _, sample = self.store.obtain(view.recipe)
            pins = suggested_pins(sample.fields[view.layer], sample.image)
            view = replace(view, pins=tuple(pins))
        scene, recipe = self.scene(view.recipe, view), view.recipe
        controls = [recipe.label, recipe.seed, recipe.truncation]
        return [scene_value(scene), *controls, view.layer, view.baseline, view.opacity]

    def save(self, state: Any, kind: Kind, folder: Path) -> Path:
        """Write what the browser shows to a new file in `folder`; returns its path."""
        return self._answer(lambda: self._save(state, kind, folder))

    def _save(self, state: Any, kind: Kind, folder: Path) -> Path:
        view = view_from_browser(state, self.grids)
        sample = self.store.find(state.get("id")) or self.store.obtain(view.recipe)[1]
        path = folder / secrets.token_urlsafe(16) / f"{self._file_name(sample)}.{kind}"
        path.parent.mkdir(parents=True)
        name, class_name = self.checkpoint.name, self.class_name(sample.label)
        if kind == "npz":
            from .data import save_data

            save_data(path, sample, view.layer, view.pins, checkpoint=name, class_name=class_name)
            return path
        from .figure import figure  # brings matplotlib, which a page without it need not wait for

        if not view.pins:
            raise ValueError("Pin at least one point first: a figure has one panel per pin.")
        caption = ", ".join(part for part in (name, class_name) if part)
        figure(
            sample,
            view.layer,
            list(view.pins),
            baseline=view.baseline,
            opacity=view.opacity,
            caption=caption,
        ).save(path)
        return path

    def _file_name(self, sample: Sample) -> str:
        parts = (self.checkpoint.name, self.class_name(sample.label), f"seed-{sample.seed}")
        plain = (re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-").lower()[:60] for part in parts)
        return "_".join(part for part in plain if part)

    @staticmethod
    def _answer(work: Callable[[], Any]) -> Any:
        """The result, with a ValueError turned into a message for the person at the page."""
        try:
            return work()
        except (ValueError, LookupError) as error:
            raise gr.Error(str(error), print_exception=False) from error


def build_page(checkpoint: Checkpoint) -> gr.Blocks:
    """The page for a checkpoint, ready for `launch_page`.

    Raises ValueError for a model without attention in its generator.
    """
    lens = Lens(checkpoint)
    # Files of samples and figures go after an hour; samples are made again when asked for.
    with gr.Blocks(title="SAGAN Lens", delete_cache=(HOUR // 6, HOUR)) as page:
        gr.HTML(TITLE, elem_id="title", apply_default_css=False)
        with gr.Row(elem_id="bench"):
            picture = explorer(lens.first_scene(), elem_id="explorer")
            with gr.Column(elem_id="controls"):
                with gr.Column(elem_classes="group"):
                    image_controls = _image_controls(lens, picture)
                with gr.Column(elem_classes="group"):
                    map_controls = _map_controls(lens)
                with gr.Column(elem_classes="group", elem_id="saving"):
                    _save_buttons(lens)
        page.load(
            lens.open_address,
            None,
            [picture, *image_controls, *map_controls],
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
    return page


def _image_controls(lens: Lens, picture: gr.HTML) -> list[gr.components.Component]:
    """Class, seed and truncation: each makes a new image."""
    recipe, names = lens.default.recipe, lens.checkpoint.class_names
    label = gr.Dropdown(
        [(name, index) for index, name in enumerate(names)],
        value=recipe.label,
        label="Class",
        visible=bool(names),
    )
    with gr.Row(elem_id="seed-row"):
        seed = gr.Number(
            recipe.seed, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=80
        )
        dice = gr.Button("Random", min_width=60, elem_id="dice")
    truncation = gr.Slider(
        0,
        1,
        recipe.truncation,
        step=0.01,
        label="Truncation",
        info="Lower is more typical.",
    )
    dice.click(None, None, seed, js=RANDOM_SEED, api_visibility="private")
    gr.on(
        [label.input, seed.change, truncation.input],
        lens.show,
        [label, seed, truncation],
        picture,
        show_progress="hidden",
        concurrency_limit=None,
        trigger_mode="always_last",
        api_visibility="private",
    )
    return [label, seed, truncation]


def _map_controls(lens: Lens) -> list[gr.components.Component]:
    """Layer, baseline and opacity: all handled in the browser."""
    layer = gr.Dropdown(lens.layers, value=lens.default.layer, label="Layer", elem_id="layer")
    baseline = gr.Radio(
        [("uniform attention", "uniform"), ("the average point", "average")],
        value=lens.default.baseline,
        label="Compare with",
        elem_id="compare",
    )
    opacity = gr.Slider(0, 1, lens.default.opacity, step=0.01, label="Opacity")
    controls: dict[str, Any] = {"layer": layer, "baseline": baseline, "opacity": opacity}
    for name, control in controls.items():
        control.input(
            None,
            control,
            None,
            js=SET.format(explorer=_EXPLORER, name=name),
            api_visibility="private",
        )
    return list(controls.values())


def _save_buttons(lens: Lens) -> None:
    """One button per file type: the browser sends its state, the file comes back and is saved."""
    state, file = gr.JSON(visible=False), gr.File(visible=False)
    folder = Path(file.GRADIO_CACHE)
    labels: dict[Kind, str] = {
        "png": "Save figure (PNG)",
        "pdf": "Save figure (PDF)",
        "npz": "Save data (NPZ)",
    }
    for kind, label in labels.items():
        gr.Button(label, size="sm").click(
            _saver(lens, kind, folder),
            state,
            file,
            js=STATE,
            show_progress="hidden",
            concurrency_limit=4,
            api_visibility="private",
        ).success(None, file, None, js=DOWNLOAD, api_visibility="private")


def _saver(lens: Lens, kind: Kind, folder: Path) -> Callable[[Any], str]:
    def save(state: Any) -> str:
        return str(lens.save(state, kind, folder))

    return save


def launch_page(
    page: gr.Blocks,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    wait: bool = True,
) -> str:
    """Serve a page; returns its address on this machine.

    Args:
        host: interface to listen on; 0.0.0.0 for all.
        port: None takes the first free one from 7860 on.
        share: also open a public link through Gradio's servers.
        wait: serve until interrupted; otherwise return at once and serve in the background.

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
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
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
        quiet=not wait,
    )
    return str(address)
