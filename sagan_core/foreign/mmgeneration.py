"""mmgeneration (OpenMMLab): SAGAN, also in its PyTorch-StudioGAN-style configuration.

One file holds generator, generator_ema and discriminator, and its config as Python text. Only that
text tells the batch norms' epsilon, whether gains have 1 added, and whether the discriminator's
ReLU works in place, which lets its shortcut see relu(x). Images are blue, green, red, but for
files converted from PyTorch-StudioGAN, whose name says rgb. Attention has an index of its own among
`conv_blocks`. A discriminator's attention behind its second block
and later has BigGAN-PyTorch's spectral norm, whatever the others have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..layout import GeneratorLayout
from .baking import (
    AttentionNames,
    Baker,
    NetworkReading,
    NormTensors,
    contiguous_indices,
    finish_projection,
    running,
    table_norm,
)
from .family import Family, NetworkNames, Settings
from .source import SourceTensors

ATTENTION = AttentionNames("theta.conv", "phi.conv", "g.conv", "o.conv")
UNIT_GAIN = {"BigGAN", "studio"}  # of init types; with others the embedding is the gain
ASSUMED = "the file has no config: {}"


def _part(settings: Settings, name: str) -> Mapping[str, Any]:
    """A part of the settings, such as one network's; empty where there is none."""
    part = settings.get(name)
    return part if isinstance(part, Mapping) else {}


def _colours(settings: Settings) -> str:
    return "RGB" if "studio-rgb" in str(settings.get("file", "")) else "BGR"


def _norm(source: SourceTensors, native: str, unit: bool) -> NormTensors:
    statistics = running(source, f"{native}.norm")
    if f"{native}.norm.weight" in source:
        gain, bias = (source.take(f"{native}.norm.{name}") for name in ("weight", "bias"))
        return table_norm(statistics, gain, bias)
    # A table with a spectral norm is divided by it as a whole, before 1 is added.
    gain = source.weight(f"{native}.weight_embedding")
    bias = source.weight(f"{native}.bias_embedding")
    return table_norm(statistics, 1 + gain if unit else gain, bias)


def read_generator(source: SourceTensors, settings: Settings) -> NetworkReading:
    """`generator_ema.*` where the file has it, else `generator.*`."""
    baker, part = Baker(source), _part(settings, "generator")
    init = _part(part, "init_cfg").get("type", "BigGAN")
    plain_tables = "conv_blocks.0.norm_1.weight_embedding.weight" in source
    notes = []
    eps = part.get("norm_eps", 1e-4)
    if not part:
        # The one public configuration without spectral norms on embeddings has this epsilon.
        eps = 1e-5 if plain_tables else 1e-4
        notes.append(ASSUMED.format(f"took {eps:g} for its norms' epsilon, and gains from 1"))
    for block in contiguous_indices(source, "conv_blocks.{}."):
        native = f"conv_blocks.{block}"
        if source.has_weight(f"{native}.theta.conv"):
            baker.attention(native, ATTENTION)
            continue
        norms = [_norm(source, f"{native}.norm_{step}", init in UNIT_GAIN) for step in (1, 2)]
        convs = [f"{native}.{name}.conv" for name in ("conv_1", "conv_2", "shortcut")]
        baker.residual(convs, norms)
    channels = baker.start_channels()
    latents, size = baker.start("noise2feat", channels)
    gain, bias = source.take("to_rgb.bn.weight"), source.take("to_rgb.bn.bias")
    baker.norm("norm", table_norm(running(source, "to_rgb.bn"), gain, bias))
    baker.convolution("to_image", "to_rgb.conv")
    colours = _colours(settings)
    if colours == "BGR":
        for name in ("weight", "bias"):
            baker.reverse_colours(f"to_image.{name}", 0)
    layout = GeneratorLayout(
        tuple(baker.layers), channels, size, norm_eps=float(eps), last_eps=float(eps)
    )
    tables = baker.tensors["layers.0.norm1.gain"]
    classes = len(tables) if len(tables) > 1 else 0
    return baker.finished(
        layout,
        classes=classes,
        latent_size=latents,
        channels=colours,
        notes=notes,
        data=str(settings.get("dataset_type", "")),
    )


def read_discriminator(source: SourceTensors, settings: Settings) -> NetworkReading:
    """`discriminator.*`."""
    baker, part = Baker(source), _part(settings, "discriminator")
    leak = bool(_part(part, "act_cfg").get("inplace", False))
    notes = [] if part else [ASSUMED.format("took its discriminator's ReLU as not in place")]
    names = ("conv_1", "conv_2", "shortcut")
    baker.down([f"from_rgb.{name}.conv" for name in names], first=True, down=True)
    downsample = part.get("downsample_cfg")
    for block in contiguous_indices(source, "conv_blocks.{}."):
        native = f"conv_blocks.{block}"
        if source.has_weight(f"{native}.theta.conv"):
            baker.attention(native, ATTENTION)
            continue
        convs = [f"{native}.{name}.conv" for name in names]
        shortcut = source.has_weight(convs[2])
        number, down = len(baker.layers) - len(baker.places) - 1, shortcut
        if isinstance(downsample, list) and number < len(downsample):
            down = bool(downsample[number])
        baker.down(convs[: 2 + shortcut], first=False, down=down, leak=leak)
    colours = _colours(settings)
    if colours == "BGR":
        for name in ("conv1", "shortcut"):
            baker.reverse_colours(f"layers.0.{name}.weight", 1)
    reading = finish_projection(baker, "decision", "proj_y")
    reading.notes, reading.channels = notes, colours
    return reading


BLOCKS = (
    r"conv_blocks\.\d+\.(?:conv_[12]|shortcut|theta|phi|g|o)\.conv",
    r"conv_blocks\.\d+\.(?:norm_[12]|norm_[12]\.\w+|gamma)",
)
FAMILY = Family(
    "mmgeneration",
    NetworkNames(
        (r"noise2feat\.weight\w*", r"to_rgb\.conv\.weight\w*"),
        (*BLOCKS, "noise2feat", r"to_rgb\.(?:bn|conv)"),
        read_generator,
    ),
    NetworkNames(
        (r"from_rgb\.conv_1\.conv\.weight\w*", r"decision\.weight\w*"),
        (*BLOCKS, r"from_rgb\.(?:conv_[12]|shortcut)\.conv", "decision", "proj_y"),
        read_discriminator,
    ),
)
