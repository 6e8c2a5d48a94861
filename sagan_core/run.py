"""A training run in its folder: the command line, saving, resuming, samples, history.

state.pt          all that `--resume` needs; written whole, so a crash keeps the one before
everything else   the checkpoint of the averaged generator (see `checkpoint.py`)
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .augment import AUGMENTATIONS
from .card import write_card
from .checkpoint import (
    CONFIG,
    HISTORY,
    read_history,
    remove_partial_files,
    save_checkpoint,
    save_snapshot,
    write_whole,
)
from .data import SOURCES, DataError, ImageSet, load_images
from .model import RESOLUTIONS, SAGANConfig
from .sample import sample_grid
from .train import Recipe, Step, TrainingError, TrainState, train

STATE = "state.pt"
SECONDS_BETWEEN_SAVES, SHARE_FOR_SAVING = 60.0, 0.03  # of the time, at most
# Log-spaced, and the same for every length of run, so that a longer run adds to them.
SNAPSHOT_IMAGES = (0, *(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)))

DEFAULTS: dict[str, Any] = {
    "resolution": 64,
    "width": 32,
    "latent_size": 128,
    "attention": None,
    "discriminator_attention": None,
    "pool_keys": True,
    "query_divisor": 8,
    "value_divisor": 2,
    "centre_queries": False,
    "query_scale": 1.0,
    "residual_instead": False,
    "generator_spectral_norm": True,
    "unconditional": False,
    "batch_size": 64,
    "accumulate": 1,
    "images": 1_000_000,
    "generator_rate": 1e-4,
    "discriminator_rate": 4e-4,
    "beta2": 0.9,
    "ema_decay": 0.999,
    "augment": [],
    "flip": False,
    "balance": False,
    "gamma": 0.0,
    "precision": "auto",
    "seed": 0,
    "device": "auto",
    "threads": None,
    "log_every": 100,
    "sample_every": 50_000,
    "half": False,
}


def parser() -> argparse.ArgumentParser:
    """The command line. Options that are not given are absent from the result: see `options`."""
    command = argparse.ArgumentParser(
        prog="python -m sagan_core.train",
        description="Train a SAGAN on a set of images. Stop at any time with Ctrl-C and go on "
        "with --resume.",
        epilog="Example: python -m sagan_core.train --data fashion-mnist --resolution 32 "
        "--attention 16 --out checkpoints/mine. Afterwards: python app.py --checkpoint "
        "checkpoints/mine",
        argument_default=argparse.SUPPRESS,
    )

    def add(group: Any, name: str, text: str, **settings: Any) -> None:
        default = DEFAULTS.get(name.strip("-").replace("-", "_"))
        shown = "" if default is None or isinstance(default, bool) else f" (default {default})"
        group.add_argument(name, help=text + shown, **settings)

    run = command.add_argument_group("the run")
    add(run, "--data", f"what to train on: {SOURCES}", metavar="SOURCE")
    add(run, "--out", "folder of the checkpoint", required=True, type=Path, metavar="FOLDER")
    add(run, "--resume", "go on with the run in --out, with its options", action="store_true")
    add(run, "--images", "how many real images to show in all", type=int, metavar="N")
    add(run, "--seed", "of weights, latents and order", type=int, metavar="N")
    add(run, "--device", "auto, cpu, cuda, cuda:1, ...", metavar="NAME")
    add(run, "--threads", "CPU threads; by default torch decides", type=int, metavar="N")
    add(run, "--precision", "bf16 autocast, or auto: where it is fast", choices=PRECISIONS)
    add(run, "--log-every", "steps between lines of history.jsonl", type=int, metavar="STEPS")
    pool = argparse.BooleanOptionalAction
    add(run, "--half", "keep weights in 16 bits in the checkpoint's files", action=pool)
    add(run, "--sample-every", "images between sample grids", type=int, metavar="IMAGES")

    model = command.add_argument_group("the model")
    add(model, "--resolution", "pixels", type=int, choices=RESOLUTIONS)
    add(model, "--width", "channels of the last generator block", type=int, metavar="N")
    add(model, "--latent-size", "length of z", type=int, metavar="N")
    places = {"type": int, "nargs": "*", "metavar": "SIZE"}
    add(
        model,
        "--attention",
        "generator resolutions with attention, none for no attention (default 32, or 16 at 32x32)",
        **places,
    )
    add(
        model,
        "--discriminator-attention",
        "the same in the discriminator (default: as --attention, where it has that size)",
        **places,
    )
    add(model, "--pool-keys", "2x2 max-pooled keys and values (default, as released)", action=pool)
    add(model, "--query-divisor", "queries have 1/N of the channels", type=int, metavar="N")
    add(model, "--value-divisor", "values have 1/N of the channels", type=int, metavar="N")
    add(model, "--centre-queries", "less their mean: no part of the logits is shared", action=pool)
    add(model, "--query-scale", "factor on queries: 1 in the paper", type=float, metavar="S")
    text = "a residual block with as many parameters in attention's place"
    add(model, "--residual-instead", text, action="store_true")
    text = "spectral norm in both networks (default), or in the discriminator alone"
    add(model, "--generator-spectral-norm", text, action=pool)
    add(model, "--unconditional", "ignore the classes", action="store_true")

    recipe = command.add_argument_group("the recipe (the paper: batch 256)")
    add(recipe, "--batch-size", "images per step", type=int, metavar="N")
    add(recipe, "--accumulate", "parts a batch is split into, to fit memory", type=int, metavar="N")
    add(recipe, "--generator-rate", "Adam's learning rate", type=float, metavar="RATE")
    add(recipe, "--discriminator-rate", "Adam's learning rate", type=float, metavar="RATE")
    add(recipe, "--beta2", "Adam's: 0.9 in the paper, 0.999 in its code", type=float, metavar="B")
    add(recipe, "--ema-decay", "of the averaged generator, per step", type=float, metavar="D")
    add(
        recipe,
        "--augment",
        "changed at random in all that the discriminator sees, for small data sets; "
        f"out of {', '.join(AUGMENTATIONS)}",
        nargs="*",
        metavar="KIND",
    )
    add(recipe, "--gamma", "that attention starts at: 0 in the paper", type=float, metavar="G")
    add(recipe, "--balance", "show every class equally often", action=pool)
    add(recipe, "--flip", "mirror half of the images (not of one-sided classes)", action=pool)
    return command


PRECISIONS = ("auto", "fp32", "bf16")


def resolve_device(name: str) -> torch.device:
    """The device asked for. Raises ValueError when it is not there; never falls back."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device {name!r} cannot be used here: {reason}") from error
    return torch.device(name)


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is native: any recent GPU, or a CPU with AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def model_config(options: dict[str, Any], data: ImageSet) -> SAGANConfig:
    """The model that the options ask for, with the data's channels and classes."""
    resolution = options["resolution"]
    attention = options["attention"]
    if attention is None:
        attention = [16 if resolution == 32 else 32]
    in_discriminator = options["discriminator_attention"]
    if in_discriminator is None:
        in_discriminator = [size for size in attention if size <= resolution // 2]
    given = {"image_channels", "classes", "attention", "discriminator_attention"}
    same = set(SAGANConfig.__dataclass_fields__) - given
    return SAGANConfig(
        image_channels=data.images.shape[1],
        classes=0 if options["unconditional"] else len(data.class_names),
        attention=tuple(attention),
        discriminator_attention=tuple(in_discriminator),
        **{name: options[name] for name in same},
    )


class Run:
    """A `TrainState` and the folder that it is kept in."""

    def __init__(
        self, folder: Path, state: TrainState, data: ImageSet, options: dict[str, Any]
    ) -> None:
        self.folder, self.state, self.data, self.options = folder, state, data, options
        self._saved_at, self._save_took = time.monotonic(), 0.0

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state; what was written after it is forgotten."""
        data = {"images": len(self.data), "fingerprint": self.data.fingerprint()}
        if saved["data"] != data:
            raise ValueError(
                f"the saved run was on {saved['data']['images']} other images than the "
                f"{len(self.data)} of {self.data.source}; for other data give another --out"
            )
        self.state.load_state_dict(saved["state"])
        remove_partial_files(self.folder)
        history = self.folder / HISTORY
        kept = [line for line in read_history(history) if line["step"] <= self.state.step]
        write_whole(history, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def save_state(self) -> None:
        """Write `state.pt`. Raises TrainingError, writing nothing, after a loss not finite."""
        self.state.check_finite()
        began = time.monotonic()
        buffer = io.BytesIO()
        data = {"images": len(self.data), "fingerprint": self.data.fingerprint()}
        whole = {"options": self.options, "data": data, "state": self.state.state_dict()}
        torch.save(whole, buffer)
        write_whole(self.folder / STATE, buffer.getvalue())
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - began

    def save_checkpoint(self) -> None:
        """Write the averaged generator, the discriminator, the sample grid and the model card.

        Raises TrainingError, writing nothing, where a loss or a weight is not finite.
        """
        self.state.check_finite()
        self.folder.mkdir(parents=True, exist_ok=True)
        generator = self.state.averaged_generator()
        names = self.data.class_names if self.state.config.classes else ()
        networks, about = (generator, self.state.discriminator), self._about()
        save_checkpoint(self.folder, *networks, names, about, self.options["half"])
        grid = io.BytesIO()
        sample_grid(generator).save(grid, "PNG")
        write_whole(self.folder / "samples.png", grid.getvalue())
        write_card(self.folder)

    def _about(self) -> dict[str, Any]:
        done = {**self.options, "images": self.state.images}
        return {
            "data": self.data.source,
            "data_images": len(self.data),
            "images": self.state.images,
            "steps": self.state.step,
            "seconds": round(self.state.seconds),
            "hardware": hardware(self.state.device),
            "command": command_line(done, self.folder),
            "recipe": asdict(self.state.recipe),
        }

    def after(self, step: Step) -> None:
        """Keep what is due after a step: history, snapshots, samples, the state."""
        before = step.images - self.state.recipe.batch_size
        if step.losses is not None:
            line = {
                "step": step.step,
                "images": step.images,
                "seconds": round(self.state.seconds, 1),
                "loss_discriminator": step.losses[0],
                "loss_generator": step.losses[1],
                "attention": step.attention,
            }
            with (self.folder / HISTORY).open("a") as file:
                file.write(json.dumps(line) + "\n")
        if any(before < images <= step.images for images in SNAPSHOT_IMAGES[1:]):
            self.snapshot()
        every = self.options["sample_every"]
        if step.images // every > before // every:
            self.save_checkpoint()
        # A large state takes seconds to write, and is written less often.
        pause = max(SECONDS_BETWEEN_SAVES, self._save_took / SHARE_FOR_SAVING)
        if time.monotonic() - self._saved_at > pause:
            self.save_state()

    def describe(self) -> str:
        """What is trained on what, in one line, so that a wrong folder shows at once."""
        config, names = self.state.config, self.data.class_names
        colour = "grey" if config.image_channels == 1 else "colour"
        classes = "no classes"
        if config.classes:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            classes = f"{config.classes} classes ({shown})"
        networks = self.state.generator, self.state.discriminator
        sizes = (f"{sum(p.numel() for p in n.parameters()) / 1e6:.2f} M" for n in networks)
        precision = "bf16" if self.state.recipe.bf16 else "fp32"
        return (
            f"{len(self.data):,} {colour} images, {classes}; parameters of G and D: "
            f"{' and '.join(sizes)}; {self.state.device}, {precision}"
        )

    def snapshot(self) -> None:
        """Keep the averaged generator as it is now, for the timeline."""
        self.state.check_finite()
        save_snapshot(self.folder, self.state.averaged_generator(), self.state.images)

    def go(self, images: int) -> bool:
        """Train until `images` real images were shown, with a progress bar; False when stopped."""
        if self.state.step == 0:
            self.snapshot()
            self.save_state()
        quiet = not sys.stderr.isatty()
        with (
            stop_signals() as stopped,
            tqdm(
                total=images,
                initial=self.state.images,
                unit="img",
                unit_scale=True,
                mininterval=30 if quiet else 0.5,
                smoothing=0.05,
            ) as bar,
        ):
            steps = train(self.state, self.data, self.options["log_every"])
            while self.state.images < images and not stopped:
                step = next(steps)
                self.after(step)
                if step.losses is not None:
                    bar.set_postfix_str(describe(step), refresh=False)
                bar.update(self.state.recipe.batch_size)
            self.save_state()
            self.save_checkpoint()
        return not stopped


def describe(step: Step) -> str:
    """Losses and gammas in a few characters."""
    discriminator, generator = step.losses or (0.0, 0.0)
    gammas = [f"{layer['gamma']:+.2f}" for layer in (step.attention or {}).values()]
    return f"D {discriminator:.2f} G {generator:+.2f} gamma {' '.join(gammas) or 'none'}"


def hardware(device: torch.device) -> str:
    """The device in words, with torch's version."""
    name = platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = f"{models[0] if models else name}, {os.cpu_count()} cores"
    return f"{name}, torch {torch.__version__}"


def command_line(options: dict[str, Any], folder: Path) -> str:
    """The command that makes this run: every option that is not the default."""
    words = ["python", "-m", "sagan_core.train"]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if name in DEFAULTS and value == DEFAULTS[name]:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--out", str(folder)])


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list instead of dying; a second Ctrl-C does end it."""
    received: list[int] = []

    def receive(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, former[signal.Signals(number)])

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _saved_run(folder: Path) -> dict[str, Any] | None:
    if not (folder / STATE).is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(folder / STATE, "cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        reason = str(error).split("\n")[0]
        raise ValueError(f"{folder / STATE} is not a saved run: {reason}") from error
    if not isinstance(saved, dict) or not {"options", "data", "state"} <= saved.keys():
        raise ValueError(f"{folder / STATE} is not a saved run of this version")
    return saved


def open_run(given: dict[str, Any]) -> Run:
    """Start or resume the run that the command line asks for. Raises ValueError or DataError."""
    folder, resume = given.pop("out"), given.pop("resume", False)
    saved = _saved_run(folder)
    if saved and not resume:
        images = saved["state"]["step"] * saved["state"]["recipe"]["batch_size"]
        raise ValueError(
            f"{folder} holds a run after {images} images: --resume goes on with it; "
            "for a new one give another --out"
        )
    if not saved and any((folder / name).exists() for name in (CONFIG, HISTORY)):
        raise ValueError(
            f"{folder} holds a checkpoint but no {STATE} to go on from, and is not overwritten; "
            "give another --out"
        )
    if resume and not saved:
        print(f"no saved state in {folder}: starting from the beginning", file=sys.stderr)
    options = {**DEFAULTS, **(saved["options"] if saved else {}), **given}
    if "data" not in options:
        raise ValueError(f"--data is missing; it takes {SOURCES}")
    device = resolve_device(options["device"])
    torch.backends.cudnn.benchmark = True  # shapes never change; without effect on a CPU
    if options["precision"] == "auto":
        options["precision"] = "bf16" if bf16_pays(device) else "fp32"
    if options["threads"] is not None:
        if options["threads"] < 1:
            raise ValueError(f"threads is {options['threads']}; it must be a whole number from 1")
        torch.set_num_threads(options["threads"])
    for name in ("images", "log_every", "sample_every"):
        if options[name] < 1:
            raise ValueError(f"{name} is {options[name]}; it must be a whole number from 1")
    data = load_images(options["data"], options["resolution"])
    names = set(Recipe.__dataclass_fields__) & set(options)
    chosen = {name: options[name] for name in names} | {"augment": tuple(options["augment"])}
    recipe = Recipe(**chosen, bf16=options["precision"] == "bf16")
    if recipe.batch_size > len(data):
        raise ValueError(f"batch_size is {recipe.batch_size}; {data.source} has {len(data)} images")
    run = Run(folder, TrainState.start(model_config(options, data), recipe, device), data, options)
    if saved:
        run.restore(saved)
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    given = vars(command.parse_args(arguments))
    try:
        run = open_run(given)
        print(run.describe(), file=sys.stderr)
        finished = run.go(run.options["images"])
    except (ValueError, DataError, TrainingError, OSError) as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print(
            f"{command.prog}: out of GPU memory; a smaller --batch-size or --accumulate 2 helps",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"{command.prog}: stopped before anything was trained", file=sys.stderr)
        return 130
    state = f"{run.state.images:,} images in {run.state.seconds / 60:.1f} minutes"
    if finished:
        print(f"{state}. See it: python app.py --checkpoint {run.folder}")
    else:
        print(f"Stopped and saved after {state}. Go on with --out {run.folder} --resume")
    return 0
