"""PyTorch-StudioGAN: SAGAN (`resnet`) and BigGAN (`big_resnet`).

Blocks and attention share one flat list. Gains and biases are linear maps with a spectral norm of
a one-hot class (so a table, divided as a whole) or of the shared embedding and a chunk of z. An
average of the weights also averages the vectors of spectral norms, which are used as they are.
The discriminator's ReLU works in place, so that every shortcut but the first sees relu(x).
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
    running,
    table_norm,
)
from .family import WEIGHT, Family, NetworkNames, Settings
from .source import LayoutError, SourceTensors

ATTENTION = AttentionNames(
    "conv1x1_theta", "conv1x1_phi", "conv1x1_g", "conv1x1_attn", gamma="sigma"
)
CONVS = ("conv2d1", "conv2d2", "conv2d0")
EPS = 1e-4  # of all its batch norms


def _norm(source: SourceTensors, native: str, shared: bool) -> NormTensors:
    if f"{native}.weight" in source:
        return affine_norm(source, native)
    gain, bias = source.weight(f"{native}.gain"), source.weight(f"{native}.bias")
    if not shared:
        gain, bias = 1 + gain.t(), bias.t()
    return table_norm(running(source, f"{native}.bn"), gain, bias)


def read_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`model=G-*.pth`, `model=G_ema-*.pth`."""
    baker, shared = Baker(source), "shared.weight" in source
    for block in contiguous_indices(source, "blocks.{}.0."):
        native = f"blocks.{block}.0"
        if source.has_weight(f"{native}.conv1x1_theta"):
            baker.attention(native, ATTENTION)
            continue
        norms = [_norm(source, f"{native}.bn{step}", shared) for step in (1, 2)]
        baker.residual([f"{native}.{name}" for name in CONVS], norms)
    channels = baker.start_channels()
    latents, size = baker.start("linear0", channels)
    baker.norm("norm", affine_norm(source, "bn4"))
    baker.convolution("to_image", "conv2d5")
    read = baker.tensors["layers.0.norm1.gain"].shape
    embedding = chunk = 0
    if shared:
        baker.tensors["embedding.weight"] = table = source.take("shared.weight")
        embedding, chunk = table.shape[1], read[1] - table.shape[1]
        if chunk != latents:
            raise LayoutError(f"norms read {read[1]} numbers: no embedding and chunk of z")
    layout = GeneratorLayout(
        tuple(baker.layers),
        channels,
        size,
        conditioning="shared" if shared else "table",
        embedding=embedding,
        chunk=chunk,
        norm_eps=EPS,
        last_eps=EPS,
    )
    classes = len(table) if shared else read[0] * (read[0] > 1)
    blocks = layout.blocks + 1 if chunk else 1
    return baker.finished(layout, classes=classes, latent_size=latents * blocks)


def read_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`model=D-*.pth`, without a head or with one for projection."""
    baker, blocks = Baker(source), contiguous_indices(source, "blocks.{}.0.")
    for block in blocks:
        native = f"blocks.{block}.0"
        if source.has_weight(f"{native}.conv1x1_theta"):
            baker.attention(native, ATTENTION)
            continue
        convs = [f"{native}.{name}" for name in CONVS]
        shortcut = source.has_weight(convs[2])
        first, last = block == 0, block == blocks[-1]
        # No configuration's last block halves; at 64x64 it has a shortcut all the same.
        down = shortcut and not last
        baker.down(convs[: 2 + shortcut], first, down, leak=not first)
    return finish_projection(baker, "linear1", "embedding")


BLOCKS = (
    r"blocks\.\d+\.0\.(?:conv2d[012]|bn[12]|bn[12]\.\w+|sigma)",
    r"blocks\.\d+\.0\.conv1x1_(?:theta|phi|g|attn)",
)
FAMILY = Family(
    "PyTorch-StudioGAN",
    NetworkNames(
        (f"linear0{WEIGHT}", r"blocks\.0\.0\.conv2d1\.weight\w*", r"conv2d5\.weight\w*"),
        (*BLOCKS, "linear0", "bn4", "conv2d5", "shared"),
        read_generator,
    ),
    NetworkNames(
        (f"linear1{WEIGHT}", r"blocks\.0\.0\.conv2d1\.weight\w*"),
        (*BLOCKS, "linear1", "embedding"),
        read_discriminator,
    ),
)
