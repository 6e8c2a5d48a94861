"""heykeetae/Self-Attention-GAN: unconditional, 64x64, no residual blocks.

Attention stands where the code calls it, behind the third and the fourth layer: not pooled, with
biases and without an output map. Its spectral norm takes a power step in every forward, in eval
too, and keeps it: what we open is the first forward. A transposed convolution's matrix has a row
per input channel.
"""

from __future__ import annotations

from torch import Tensor

from ..layout import DiscriminatorLayout, GeneratorLayout
from .baking import AttentionNames, Baker, NetworkReading, affine_norm, indices, place_of
from .family import Family, NetworkNames, Settings
from .source import LayoutError, SourceTensors

ATTENTION = AttentionNames("query_conv", "key_conv", "value_conv", "")
USUAL = {"attn1": 3, "attn2": 4}  # the stage behind which it stands


def _stages(source: SourceTensors) -> list[int]:
    stages = indices(source, "l{}.")
    if stages != list(range(1, len(stages) + 1)):
        raise LayoutError(f"its layers l* run {stages[:8]}, not 1, 2, 3, ...")
    return stages


def _places(source: SourceTensors, widths: list[int]) -> dict[int, str]:
    """Attention layers by the stage behind which they stand, given the stages' widths."""
    places = {}
    for name, usual in USUAL.items():
        if f"{name}.gamma" in source:
            channels = source.width(f"{name}.value_conv", 1)
            places[1 + place_of(channels, widths, usual - 1)] = name
    return places


def _start(baker: Baker) -> tuple[int, int, int]:
    """A transposed convolution of a 1x1 map is a linear one; z, channels and size that it has."""
    weight: Tensor = baker.source.weight("l1.0")
    latents, channels, size = weight.shape[:3]
    linear = weight.permute(1, 2, 3, 0).reshape(-1, latents).contiguous()
    baker.put("start", linear, baker.source.bias("l1.0", channels).repeat_interleave(size**2))
    baker.norm("start_norm", affine_norm(baker.source, "l1.1"))
    return latents, channels, size


def read_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`N_G.pth`."""
    baker = Baker(source)
    latents, channels, size = _start(baker)
    stages = _stages(source)
    places = _places(source, [source.width(f"l{stage}.0", 1) for stage in stages])
    for stage in stages[1:]:
        baker.plain(f"l{stage}.0", affine_norm(source, f"l{stage}.1"), transposed=True)
        if stage in places:
            baker.attention(places[stage], ATTENTION, pool=False)
    weight = source.weight("last.0")
    baker.put("to_image", weight, source.bias("last.0", weight.shape[1]))
    layout = GeneratorLayout(
        tuple(baker.layers),
        channels,
        size,
        start="norm",
        last_norm=False,
        last_transposed=True,
    )
    return baker.finished(layout, classes=0, latent_size=latents)


def read_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`N_D.pth`."""
    baker = Baker(source)
    stages = _stages(source)
    places = _places(source, [source.width(f"l{stage}.0") for stage in stages])
    for stage in stages:
        baker.strided(f"l{stage}.0", stride=2, slope=0.1)
        if stage in places:
            baker.attention(places[stage], ATTENTION, pool=False)
    weight = baker.convolution("to_logit", "last.0")
    layout = DiscriminatorLayout(
        tuple(baker.layers), weight.shape[1], "convolution", weight.shape[2]
    )
    return baker.finished(layout, classes=0)


STAGES = (
    r"l\d+\.0\.module",
    r"attn[12]\.(?:query_conv|key_conv|value_conv|gamma)",
    r"last\.0",
)
FAMILY = Family(
    "heykeetae/Self-Attention-GAN",
    NetworkNames(
        (r"l1\.0\.module\.weight_bar", r"l1\.1\.running_mean", r"last\.0\.weight"),
        (*STAGES, r"l\d+\.1"),
        read_generator,
    ),
    NetworkNames(
        (r"l1\.0\.module\.weight_bar", r"last\.0\.weight"),
        STAGES,
        read_discriminator,
        absent=(r"l1\.1\..*",),
    ),
)
