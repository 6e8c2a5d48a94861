"""rosinality/sagan-pytorch: `model_resnet.py`, and `model.py` without shortcuts.

The softmax is over the query's axis, so that the position which receives is that of the
convolution called key: what is called query here is their key, and the other way round. Not
pooled, with biases, no output map. Spectral norm takes a step in every forward and keeps it; the
stored `weight` is a stale copy. Tables of norms hold gain and bias side by side, without 1 added.
"""

from __future__ import annotations

from ..layout import GeneratorLayout
from .baking import (
    AttentionNames,
    Baker,
    NetworkReading,
    NormTensors,
    affine_norm,
    contiguous_indices,
    finish_projection,
    halved_table,
    running,
    table_norm,
)
from .family import Family, NetworkNames, Settings
from .source import SourceTensors

ATTENTION = AttentionNames("key", "query", "value", "")
NOT_HALVING = 1  # of the discriminator's residual blocks in `model_resnet.py`


def _norm(source: SourceTensors, native: str) -> NormTensors:
    gain, bias = halved_table(source.take(f"{native}.embed.weight"))
    return table_norm(running(source, f"{native}.bn"), gain, bias)


def _finish_generator(baker: Baker, residual: bool) -> NetworkReading:
    channels = baker.start_channels()
    latents, size = baker.start("lin_code", channels)
    if residual:
        baker.norm("norm", affine_norm(baker.source, "bn"))
    baker.convolution("to_image", "colorize")
    layout = GeneratorLayout(
        tuple(baker.layers),
        channels,
        size,
        start="linear" if residual else "relu",
        last_norm=residual,
    )
    first = "layers.0.norm1.gain" if residual else "layers.0.norm.gain"
    classes = len(baker.tensors[first])
    return baker.finished(layout, classes=classes, latent_size=latents)


def read_residual_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`generator_N.pt` of `--model resnet`."""
    baker = Baker(source)
    for index in contiguous_indices(source, "conv.{}."):
        native = f"conv.{index}"
        if source.has_weight(f"{native}.query"):
            baker.attention(native, ATTENTION, pool=False)
            continue
        convs = [f"{native}.{name}" for name in ("conv1", "conv2", "conv_skip")]
        baker.residual(convs, [_norm(source, f"{native}.norm{step}") for step in (1, 2)])
    return _finish_generator(baker, residual=True)


def read_plain_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`generator_N.pt` of `--model dcgan`."""
    baker = Baker(source)
    for index in contiguous_indices(source, "conv.{}."):
        native = f"conv.{index}"
        baker.plain(f"{native}.conv", _norm(source, f"{native}.norm"), transposed=False)
        if source.has_weight(f"{native}.attention.query"):
            baker.attention(f"{native}.attention", ATTENTION, pool=False)
    return _finish_generator(baker, residual=False)


def read_residual_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`discriminator_N.pt` of `--model resnet`."""
    baker = Baker(source)
    baker.down(["pre_conv.0", "pre_conv.2", "pre_skip"], first=True, down=True)
    for index in contiguous_indices(source, "conv.{}."):
        native = f"conv.{index}"
        if source.has_weight(f"{native}.query"):
            baker.attention(native, ATTENTION, pool=False)
            continue
        convs = [f"{native}.{name}" for name in ("conv1", "conv2", "conv_skip")]
        shortcut = source.has_weight(convs[2])
        down = shortcut and index != NOT_HALVING
        baker.down(convs[: 2 + shortcut], first=False, down=down)
    return finish_projection(baker, "linear", "embed")


def read_plain_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`discriminator_N.pt` of `--model dcgan`: all but its last convolution halve."""
    baker, blocks = Baker(source), contiguous_indices(source, "conv.{}.")
    for index in blocks:
        native = f"conv.{index}"
        baker.strided(f"{native}.conv", stride=1 + (index != blocks[-1]), slope=0.2)
        if source.has_weight(f"{native}.attention.query"):
            baker.attention(f"{native}.attention", ATTENTION, pool=False)
    return finish_projection(baker, "linear", "embed", relu=False)


MAPS = "(?:query|key|value|gamma)"
RESIDUAL = Family(
    "rosinality/sagan-pytorch (resnet)",
    NetworkNames(
        (r"lin_code\.weight_orig", r"conv\.0\.conv1\.weight_orig", r"colorize\.weight_orig"),
        (
            rf"conv\.\d+\.(?:conv[12]|conv_skip|norm[12]\.\w+|{MAPS})",
            "lin_code",
            "bn",
            "colorize",
        ),
        read_residual_generator,
    ),
    NetworkNames(
        (r"pre_conv\.0\.weight_orig", r"conv\.0\.conv1\.weight_orig", r"linear\.weight_orig"),
        (
            rf"conv\.\d+\.(?:conv[12]|conv_skip|{MAPS})",
            r"pre_conv\.[02]",
            "pre_skip",
            "linear",
            "embed",
        ),
        read_residual_discriminator,
    ),
)
PLAIN = Family(
    "rosinality/sagan-pytorch (dcgan)",
    NetworkNames(
        (r"lin_code\.weight_orig", r"conv\.0\.conv\.weight_orig", r"colorize\.weight_orig"),
        (rf"conv\.\d+\.(?:conv|norm\.\w+|attention\.{MAPS})", "lin_code", "colorize"),
        read_plain_generator,
    ),
    NetworkNames(
        (r"conv\.0\.conv\.weight_orig", r"linear\.weight_orig"),
        (rf"conv\.\d+\.(?:conv|attention\.{MAPS})", "linear", "embed"),
        read_plain_discriminator,
        absent=(r"lin_code\..*",),
    ),
)
