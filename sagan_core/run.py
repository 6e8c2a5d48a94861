"""A training run in its folder: starting, saving, resuming, samples, history.

state.pt          all that `--resume` needs; written whole, so a crash keeps the one before
everything else   the checkpoint of the averaged generator (see `checkpoint.py`)
"""

from __future__ import annotations

import io
import json
import os
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
from .data import (
    SOURCES,
    ImageSet,
    ImageStream,
    classes_without_images,
    half_of_memory,
    load_images,
    open_stream,
)
from .device import bf16_pays, hardware
from .options import DEFAULTS, command_line, model_config, parser
from .parallel import LostProcessError, Processes, asked_precision, join, launched, local_count
from .real import REAL, save_real
from .sample import sample_grid
from .state import Recipe, TrainingError, TrainState
from .train import Step, train

STATE = "state.pt"
SECONDS_BETWEEN_SAVES, SHARE_FOR_SAVING = 60.0, 0.03  # of the time, at most
# Log-spaced, and the same for every length of run, so that a longer run adds to them.
SNAPSHOT_IMAGES = (0, *(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)))
SECONDS_OF_ONE_SIGNAL = 3.0


class Run:
    """A `TrainState` and the folder that it is kept in."""

    def __init__(
        self, folder: Path, state: TrainState, data: ImageSet | ImageStream, options: dict[str, Any]
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
        if not self.state.processes.main:
            return
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
        if not (self.folder / REAL).is_file():
            save_real(self.folder, self._some_images())
        write_card(self.folder)

    def _some_images(self) -> ImageSet:
        if isinstance(self.data, ImageSet):
            return self.data
        recipe = self.state.recipe
        return self.data.first(recipe.seed, recipe.batch_size)  # what training began with

    def _about(self) -> dict[str, Any]:
        done = {**self.options, "images": self.state.images}
        return {
            "data": self.data.source,
            "data_images": len(self.data),
            "images": self.state.images,
            "steps": self.state.step,
            "seconds": round(self.state.seconds),
            "hardware": self._hardware(),
            "command": command_line(done, self.folder),
            "recipe": asdict(self.state.recipe),
        }

    def _hardware(self) -> str:
        count = self.state.processes.count
        return (f"{count} processes, each on " if count > 1 else "") + hardware(self.state.device)

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
            f"{self._size()} {colour} images, {classes}; parameters of G and D: "
            f"{' and '.join(sizes)}; {self.state.device}, {precision}{self._shares()}"
        )

    def _size(self) -> str:
        if isinstance(self.data, ImageSet):
            return f"{len(self.data):,}"
        return f"a stream of {len(self.data):,}" if len(self.data) else "a stream of"

    def _shares(self) -> str:
        count, batch = self.state.processes.count, self.state.recipe.batch_size
        return f"; {count} processes with {batch // count} images of a batch each" * (count > 1)

    def snapshot(self) -> None:
        """Keep the averaged generator as it is now, for the timeline."""
        self.state.check_finite()
        save_snapshot(self.folder, self.state.averaged_generator(), self.state.images)

    def go(self, images: int) -> bool:
        """Train until `images` real images were shown, with a progress bar; False when stopped.

        The main process alone writes; all stop at the same step when one is told to.
        """
        processes = self.state.processes
        if processes.main and self.state.step == 0:
            self.snapshot()
            self.save_state()
        quiet = not sys.stderr.isatty()
        with (
            stop_signals(patient=processes.count > 1) as received,
            tqdm(
                disable=not processes.main,
                total=images,
                initial=self.state.images,
                unit="img",
                unit_scale=True,
                mininterval=30 if quiet else 0.5,
                smoothing=0.05,
            ) as bar,
        ):
            steps = train(self.state, self.data, self.options["log_every"], self.options["compile"])
            stopped = False
            while self.state.images < images and not stopped:
                step = next(steps)
                if processes.main:
                    self.after(step)
                if step.losses is not None:
                    bar.set_postfix_str(describe(step), refresh=False)
                bar.update(self.state.recipe.batch_size)
                stopped = processes.any(bool(received))
            if processes.main:
                self.save_state()
                self.save_checkpoint()
            processes.wait()
        return not stopped


def describe(step: Step) -> str:
    """Losses and gammas in a few characters."""
    discriminator, generator = step.losses or (0.0, 0.0)
    gammas = [f"{layer['gamma']:+.2f}" for layer in (step.attention or {}).values()]
    return f"D {discriminator:.2f} G {generator:+.2f} gamma {' '.join(gammas) or 'none'}"


@contextmanager
def stop_signals(patient: bool = False) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list instead of dying; a second Ctrl-C does end it.

    Where `patient`, signals of the same few seconds are one: a launcher passes Ctrl-C on to
    processes that the terminal has told already.
    """
    received: list[int] = []
    first = time.monotonic()

    def receive(number: int, _: Any) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
        elif patient and time.monotonic() - first < SECONDS_OF_ONE_SIGNAL:
            return
        elif received:
            former_handler = former[signal.Signals(number)]
            signal.signal(number, former_handler)
            signal.raise_signal(number)
        received.append(number)

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _saved_run(folder: Path, processes: Processes) -> dict[str, Any] | None:
    """What the main process finds in the folder, in all processes; None where nothing is."""
    content = None
    if processes.main and (folder / STATE).is_file():
        content = (folder / STATE).read_bytes()
    content = processes.from_main(content)
    if content is None:
        return None
    try:
        saved: dict[str, Any] = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        reason = str(error).split("\n")[0]
        raise ValueError(f"{folder / STATE} is not a saved run: {reason}") from error
    if not isinstance(saved, dict) or not {"options", "data", "state"} <= saved.keys():
        raise ValueError(f"{folder / STATE} is not a saved run of this version")
    return saved


def _check_folder(folder: Path, saved: dict[str, Any] | None, resume: bool) -> None:
    """Raise ValueError where training would overwrite what another run left."""
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


def _check_options(options: dict[str, Any]) -> None:
    if "data" not in options:
        raise ValueError(f"--data is missing; it takes {SOURCES}")
    for name in ("images", "log_every", "sample_every"):
        if options[name] < 1:
            raise ValueError(f"{name} is {options[name]}; it must be a whole number from 1")
    if options["threads"] is not None and options["threads"] < 1:
        raise ValueError(f"threads is {options['threads']}; it must be a whole number from 1")


def _open_data(options: dict[str, Any]) -> ImageSet | ImageStream:
    """The options' data. Raises DataError, ValueError for a class that has no images."""
    if options["streaming"]:
        return open_stream(options["data"], options["resolution"])
    limit = half_of_memory() // local_count()
    data = load_images(options["data"], options["resolution"], memory_limit=limit)
    empty = classes_without_images(data)
    if empty and not options["unconditional"]:
        raise ValueError(
            f"{data.source} has no images of {len(empty)} classes ({', '.join(empty[:5])}): leave "
            "them out of its classes, or give --unconditional"
        )
    return data


def open_run(given: dict[str, Any], processes: Processes | None = None) -> Run:
    """Start or resume the run that the command line asks for.

    Args:
        processes: those that train together; None for this one alone, on the options' device.

    Raises ValueError (DataError among them), LostProcessError where another process could not.
    """
    folder, resume = given.pop("out"), given.pop("resume", False)
    saved = _saved_run(folder, processes or Processes())
    if processes is None or processes.main:
        _check_folder(folder, saved, resume)
    options = {**DEFAULTS, **(saved["options"] if saved else {}), **given}
    _check_options(options)
    processes = processes or join(options["device"])
    torch.backends.cudnn.benchmark = True  # shapes never change; without effect on a CPU
    if options["precision"] == "auto":
        pays = "bf16" if bf16_pays(processes.device) else "fp32"
        options["precision"] = asked_precision() or pays
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    data = _open_data(options)
    names = set(Recipe.__dataclass_fields__) & set(options)
    chosen = {name: options[name] for name in names} | {"augment": tuple(options["augment"])}
    recipe = Recipe(**chosen, bf16=options["precision"] == "bf16")
    if recipe.batch_size > len(data) > 0:
        raise ValueError(f"batch_size is {recipe.batch_size}; {data.source} has {len(data)} images")
    state = TrainState.start(model_config(options, data), recipe, processes=processes)
    run = Run(folder, state, data, options)
    if saved:
        run.restore(saved)
    # Nobody writes into the folder before everybody has seen what was there.
    processes.wait()
    return run


def _go(given: dict[str, Any], processes: Processes | None) -> None:
    run = open_run(given, processes)
    main_process = run.state.processes.main
    if main_process:
        print(run.describe(), file=sys.stderr)
    finished = run.go(run.options["images"])
    run.state.processes.leave()
    state = f"{run.state.images:,} images in {run.state.seconds / 60:.1f} minutes"
    if main_process and finished:
        print(f"{state}. See it: python app.py --checkpoint {run.folder}")
    elif main_process:
        print(f"Stopped and saved after {state}. Go on with --out {run.folder} --resume")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    command = parser()
    given = vars(command.parse_args(arguments))
    processes, name = None, command.prog
    try:
        if launched() > 1:
            processes = join(given.get("device", "auto"))
            name += f", process {processes.rank} of {processes.count}"
        _go(given, processes)
        return 0
    except (ValueError, TrainingError, LostProcessError, OSError) as error:
        status, text = 2, str(error)
    except torch.OutOfMemoryError:
        status, text = 2, "out of GPU memory; a smaller --batch-size or --accumulate 2 helps"
    except KeyboardInterrupt:
        status, text = 130, "stopped before anything was trained"
    print(f"{name}: {text}", file=sys.stderr, flush=True)
    if processes is not None:
        # An orderly end would wait for exchanges that the others never make.
        os._exit(status)
    return status
