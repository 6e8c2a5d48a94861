"""voletiv/self-attention-GAN-pytorch: a SAGAN with biases in its attention.

Attention stands where the code calls it: behind the generator's third block, and behind the
discriminator's second. Tables of norms hold gain and bias side by side, without 1 added. The
discriminator's ReLU works in place, so that every shortcut but the first sees relu(x); its last
block has a shortcut convolution and does not use it.
"""

from __future__ import annotations

from ..layout import GeneratorLayout
from .baking import (
    AttentionNames,
    Baker,
    NetworkReading,
    NormTensors,
    affine_norm,
    finish_projection,
    halved_table,
    indices,
    place_of,
    running,
    table_norm,
)
from .family import Family, NetworkNames, Settings
from .source import LayoutError, SourceTensors

ATTENTION = AttentionNames(
    "snconv1x1_theta", "snconv1x1_phi", "snconv1x1_g", "snconv1x1_attn", "sigma"
)
CONVS = ("snconv2d1", "snconv2d2", "snconv2d0")
SHORTCUT = ("bias", "weight_orig", "weight_u", "weight_v")
GENERATOR_PLACE, DISCRIMINATOR_PLACE = 3, 1  # the blocks behind which attention stands


def _blocks(source: SourceTensors) -> list[int]:
    blocks = indices(source, "block{}.")
    if not blocks or blocks != list(range(1, len(blocks) + 1)):
        raise LayoutError(f"its blocks block* run {blocks[:8]}, not 1, 2, 3, ...")
    return blocks


def _place(source: SourceTensors, blocks: list[int], usual: int) -> int:
    """The block behind which attention stands; 0 where there is none."""
    if "self_attn.sigma" not in source:
        return 0
    channels = source.width("self_attn.snconv1x1_theta", 1)
    widths = [source.width(f"block{block}.snconv2d2") for block in blocks]
    return blocks[place_of(channels, widths, blocks.index(usual))]


def _norm(source: SourceTensors, native: str) -> NormTensors:
    gain, bias = halved_table(source.take(f"{native}.embed.weight"))
    return table_norm(running(source, f"{native}.bn"), gain, bias)


def read_generator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`G_state_dict` of `ckpt_N.pth`."""
    baker, blocks = Baker(source), _blocks(source)
    place = _place(source, blocks, GENERATOR_PLACE)
    for block in blocks:
        norms = [_norm(source, f"block{block}.cond_bn{step}") for step in (1, 2)]
        baker.residual([f"block{block}.{name}" for name in CONVS], norms)
        if block == place:
            baker.attention("self_attn", ATTENTION)
    channels = baker.start_channels()
    latents, size = baker.start("snlinear0", channels)
    baker.norm("norm", affine_norm(source, "bn"))
    baker.convolution("to_image", "snconv2d1")
    layout = GeneratorLayout(tuple(baker.layers), channels, size)
    classes = len(baker.tensors["layers.0.norm1.gain"])
    return baker.finished(layout, classes=classes, latent_size=latents)


def read_discriminator(source: SourceTensors, _: Settings) -> NetworkReading:
    """`D_state_dict` of `ckpt_N.pth`."""
    baker, blocks = Baker(source), _blocks(source)
    place = _place(source, blocks, DISCRIMINATOR_PLACE)
    baker.down([f"opt_block1.{name}" for name in CONVS], first=True, down=True)
    for block in blocks:
        convs = [f"block{block}.{name}" for name in CONVS]
        last = block == blocks[-1]
        unused = last and source.width(convs[0], 1) == source.width(convs[1])
        if unused:
            source.ignore(*(f"{convs[2]}.{part}" for part in SHORTCUT))
        baker.down(convs[:2] if unused else convs, first=False, down=not last, leak=True)
        if block == place:
            baker.attention("self_attn", ATTENTION)
    return finish_projection(baker, "snlinear1", "sn_embedding1")


BLOCKS = (
    r"block\d+\.(?:snconv2d[012]|cond_bn[12]\.\w+)",
    r"self_attn\.(?:snconv1x1_(?:theta|phi|g|attn)|sigma)",
)
FAMILY = Family(
    "voletiv/self-attention-GAN-pytorch",
    NetworkNames(
        (r"snlinear0\.weight\w*", r"block1\.snconv2d1\.weight\w*", r"snconv2d1\.weight\w*"),
        (*BLOCKS, "snlinear0", "bn", "snconv2d1"),
        read_generator,
    ),
    NetworkNames(
        (r"opt_block1\.snconv2d1\.weight\w*", r"snlinear1\.weight\w*"),
        (*BLOCKS, r"opt_block1\.snconv2d[012]", "snlinear1", "sn_embedding1"),
        read_discriminator,
    ),
)
