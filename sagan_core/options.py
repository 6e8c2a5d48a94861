"""The command line of `python -m sagan_core.train`: its options, and the model they ask for."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from .augment import AUGMENTATIONS
from .data import SOURCES, ImageSet, ImageStream
from .model import RESOLUTIONS, SAGANConfig
from .state import BATCH_NORMS

PRECISIONS = ("auto", "fp32", "bf16")
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
    "alike": False,
    "batch_norm": "synchronised",
    "precision": "auto",
    "compile": False,
    "seed": 0,
    "streaming": False,
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
        "checkpoints/mine. On several GPUs or machines: accelerate launch -m sagan_core.train ...",
        argument_default=argparse.SUPPRESS,
    )

    _add_run(command.add_argument_group("the run"))
    _add_model(command.add_argument_group("the model"))
    _add_recipe(command.add_argument_group("the recipe (the paper: batch 256)"))
    return command


def add(group: Any, name: str, text: str, **settings: Any) -> None:
    """Add an option whose help ends with its default."""
    default = DEFAULTS.get(name.strip("-").replace("-", "_"))
    shown = "" if default is None or isinstance(default, bool) else f" (default {default})"
    group.add_argument(name, help=text + shown, **settings)


def _add_run(run: Any) -> None:
    switch = argparse.BooleanOptionalAction
    add(run, "--data", f"what to train on: {SOURCES}", metavar="SOURCE")
    add(run, "--streaming", "read hub:OWNER/NAME while training, not before", action=switch)
    add(run, "--out", "folder of the checkpoint", required=True, type=Path, metavar="FOLDER")
    add(run, "--resume", "go on with the run in --out, with its options", action="store_true")
    add(run, "--images", "how many real images to show in all", type=int, metavar="N")
    add(run, "--seed", "of weights, latents and order", type=int, metavar="N")
    add(run, "--device", "auto, cpu, cuda, cuda:1, ...", metavar="NAME")
    add(run, "--threads", "CPU threads; by default torch decides", type=int, metavar="N")
    add(
        run,
        "--precision",
        "bf16 autocast, or auto: where it is fast, or accelerate launch asks for it",
        choices=PRECISIONS,
    )
    add(run, "--compile", "through torch.compile: a slow start, then faster", action=switch)
    add(run, "--log-every", "steps between lines of history.jsonl", type=int, metavar="STEPS")
    add(run, "--half", "keep weights in 16 bits in the checkpoint's files", action=switch)
    add(run, "--sample-every", "images between sample grids", type=int, metavar="IMAGES")


def _add_model(model: Any) -> None:
    switch = argparse.BooleanOptionalAction
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
    add(
        model,
        "--pool-keys",
        "2x2 max-pooled keys and values (default, as released)",
        action=switch,
    )
    add(model, "--query-divisor", "queries have 1/N of the channels", type=int, metavar="N")
    add(model, "--value-divisor", "values have 1/N of the channels", type=int, metavar="N")
    add(
        model,
        "--centre-queries",
        "less their mean: no part of the logits is shared",
        action=switch,
    )
    add(model, "--query-scale", "factor on queries: 1 in the paper", type=float, metavar="S")
    text = "a residual block with as many parameters in attention's place"
    add(model, "--residual-instead", text, action="store_true")
    text = "spectral norm in both networks (default), or in the discriminator alone"
    add(model, "--generator-spectral-norm", text, action=switch)
    add(model, "--unconditional", "ignore the classes", action="store_true")


def _add_recipe(recipe: Any) -> None:
    switch = argparse.BooleanOptionalAction
    add(
        recipe,
        "--batch-size",
        "images per step, of all processes together",
        type=int,
        metavar="N",
    )
    add(
        recipe,
        "--accumulate",
        "parts that each process's share of a batch is split into, to fit memory",
        type=int,
        metavar="N",
    )
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
    add(recipe, "--alike", "keys start with the queries' weights", action=switch)
    add(recipe, "--balance", "show every class equally often", action=switch)
    add(recipe, "--flip", "mirror half of the images (not of one-sided classes)", action=switch)
    add(
        recipe,
        "--batch-norm",
        "whose images its statistics are of, where several processes train: synchronised, all "
        "processes', so that any number of them trains the same model (some exchanges a step); or "
        "local, each process's own, as in the released code: faster between machines, worse with "
        "few images each, and another model for another number of processes",
        choices=BATCH_NORMS,
    )


def model_config(options: dict[str, Any], data: ImageSet | ImageStream) -> SAGANConfig:
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
        image_channels=data.channels,
        classes=0 if options["unconditional"] else len(data.class_names),
        attention=tuple(attention),
        discriminator_attention=tuple(in_discriminator),
        **{name: options[name] for name in same},
    )


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
