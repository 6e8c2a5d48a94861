"""BigGAN-PyTorch (Brock), in its SAGAN and BigGAN configurations.

Attention stands behind the block of its resolution, as `blocks.I.1`. Eval takes one power step and
does not keep it. Conditional gains start from 1; the output layer's gain is used as it is, and its
norm has torch's epsilon whatever the others have. With `shared`, norms read the class's embedding
and, where z is hierarchical, their block's chunk of z; otherwise each has its table.
"""

from __future__ import annotations

from torch import Tensor

from ..layout import GeneratorLayout
from .baking import (
    AttentionNames,
    Baker,
    NetworkReading,
    NormTensors,
    contiguous_indices,
    finish_projection,
    indices,
    table_norm,
)
from .family import WEIGHT, Family, NetworkNames, Settings
from .source import LayoutError, SourceTensors

ATTENTION = AttentionNames()


def _statistics(source: SourceTensors, native: str) -> tuple[Tensor, Tensor]:
    """Where the options `--cross_replica` and `--mybn` put them, and where they are without."""
    for mean, var in (
        ("stored_mean", "stored_var"),
        ("bn.running_mean", "bn.running_var"),
        ("bn.stored_mean", "bn.stored_var"),
    ):
        if f"{native}.{mean}" in source:
            return source.take(f"{native}.{mean}"), source.take(f"{native}.{var}")
    raise LayoutError(f"it lacks the tensor {native}.stored_mean")


def _norm(source: SourceTensors, native: str, shared: bool) -> NormTensors:
    gain, bias = source.weight(f"{native}.gain"), source.weight(f"{native}.bias")
    return table_norm(_statistics(source, native), gain if shared else 1 + gain, bias)


def _attentions(baker: Baker, block: int) -> None:
    for place in indices(baker.source, f"blocks.{block}.{{}}."):
        if place:
            baker.attention(f"blocks.{block}.{place}", ATTENTION)


def read_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`G.pth`, `G_ema.pth`."""
    baker, shared = Baker(source), "shared.weight" in source
    for block in contiguous_indices(source, "blocks.{}.0."):
        native = f"blocks.{block}.0"
        convs = [f"{native}.{name}" for name in ("conv1", "conv2", "conv_sc")]
        baker.residual(convs, [_norm(source, f"{native}.bn{step}", shared) for step in (1, 2)])
        _attentions(baker, block)
    channels = baker.start_channels()
    latents, size = baker.start("linear", channels)
    last = "output_layer.0"
    gain, bias = source.take(f"{last}.gain"), source.take(f"{last}.bias")
    baker.norm("norm", table_norm(_statistics(source, last), gain, bias))
    baker.convolution("to_image", "output_layer.2")
    read = baker.tensors["layers.0.norm1.gain"].shape
    embedding = chunk = 0
    if shared:
        baker.tensors["embedding.weight"] = table = source.take("shared.weight")
        embedding, chunk = table.shape[1], read[1] - table.shape[1]
        if chunk not in (0, latents):
            raise LayoutError(f"norms read {read[1]} numbers: no embedding and chunk of z")
    layout = GeneratorLayout(
        tuple(baker.layers),
        channels,
        size,
        conditioning="shared" if shared else "table",
        embedding=embedding,
        chunk=chunk,
    )
    blocks = layout.blocks + 1 if chunk else 1
    classes = len(table) if shared else read[0]
    return baker.finished(layout, classes=classes, latent_size=latents * blocks)


def read_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`D.pth`."""
    baker, blocks = Baker(source), contiguous_indices(source, "blocks.{}.0.")
    for block in blocks:
        native = f"blocks.{block}.0"
        convs = [f"{native}.{name}" for name in ("conv1", "conv2", "conv_sc")]
        shortcut = source.has_weight(convs[2])
        # No configuration's last block halves; at 64x64 it has a shortcut all the same.
        down = shortcut and block != blocks[-1]
        baker.down(convs[: 2 + shortcut], first=block == 0, down=down)
        _attentions(baker, block)
    return finish_projection(baker, "linear", "embed")


BLOCKS = (
    r"blocks\.\d+\.0\.(?:conv1|conv2|conv_sc|bn[12]|bn[12]\.gain|bn[12]\.bias)",
    r"blocks\.\d+\.[1-9]\.(?:theta|phi|g|o|gamma)",
    "linear",
)
FAMILY = Family(
    "BigGAN-PyTorch",
    NetworkNames(
        (f"linear{WEIGHT}", r"blocks\.0\.0\.conv1\.weight", r"output_layer\.2\.weight"),
        (*BLOCKS, r"output_layer\.[02]", "shared"),
        read_generator,
    ),
    NetworkNames(
        (f"linear{WEIGHT}", r"blocks\.0\.0\.conv1\.weight"),
        (*BLOCKS, "embed"),
        read_discriminator,
        absent=(r"output_layer\..*", r"blocks\.0\.0\.bn1\..*"),
    ),
)
