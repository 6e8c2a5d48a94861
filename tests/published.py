"""The tensors that other code bases publish, by name and shape, for any width and place.

Written from their naming, apart from the code that reads it; the golden manifests check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

FACTORS = {
    32: ((4, 4, 4), (4, 4, 4)),
    64: ((16, 16, 8, 4), (16, 8, 4, 2)),
    128: ((16, 16, 8, 4, 2), (16, 8, 4, 2, 1)),
    256: ((16, 16, 8, 8, 4, 2), (16, 8, 8, 4, 2, 1)),
}
JUDGE_FACTORS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
STUDIO_JUDGE_FACTORS = {**JUDGE_FACTORS, 32: (2, 2, 2, 2)}


def biggan_norm(name: str, shape: tuple[int, ...], bias: bool = True) -> Shapes:
    """A layer with BigGAN-PyTorch's spectral norm."""
    out = shape[0]
    tensors: Shapes = {f"{name}.weight": shape, f"{name}.u0": (1, out), f"{name}.sv0": (1,)}
    return tensors | ({f"{name}.bias": (out,)} if bias else {})


def torch_norm(name: str, shape: tuple[int, ...], bias: bool = True) -> Shapes:
    """A layer with torch.nn.utils.spectral_norm."""
    out, rest = shape[0], torch.Size(shape[1:]).numel()
    tensors: Shapes = {
        f"{name}.weight_orig": shape,
        f"{name}.weight_u": (out,),
        f"{name}.weight_v": (rest,),
    }
    return tensors | ({f"{name}.bias": (out,)} if bias else {})


def rosinality_norm(name: str, shape: tuple[int, ...], bias: bool = True) -> Shapes:
    """A layer with rosinality's spectral norm: no v, and a stale copy of the weight."""
    tensors: Shapes = {
        f"{name}.weight_orig": shape,
        f"{name}.weight": shape,
        f"{name}.weight_u": shape[:1],
    }
    return tensors | ({f"{name}.bias": shape[:1]} if bias else {})


def heykeetae_norm(name: str, shape: tuple[int, ...], bias: int) -> Shapes:
    """A layer in heykeetae's wrapper; its transposed ones have the input channels first."""
    inner, rest = f"{name}.module", torch.Size(shape[1:]).numel()
    return {
        f"{inner}.bias": (bias,),
        f"{inner}.weight_u": shape[:1],
        f"{inner}.weight_v": (rest,),
        f"{inner}.weight_bar": shape,
    }


def batch_norm(name: str, channels: int, affine: bool = True) -> Shapes:
    """torch's BatchNorm2d."""
    parts = ("weight", "bias") if affine else ()
    tensors: Shapes = {
        f"{name}.{part}": (channels,) for part in (*parts, "running_mean", "running_var")
    }
    return tensors | {f"{name}.num_batches_tracked": ()}


def attention(name: str, channels: int, norm: Callable[..., Shapes], names: str) -> Shapes:
    """Four maps without biases, and a scalar."""
    query, key, value, out = names.split()
    return {
        **norm(f"{name}.{query}", (channels // 8, channels, 1, 1), bias=False),
        **norm(f"{name}.{key}", (channels // 8, channels, 1, 1), bias=False),
        **norm(f"{name}.{value}", (channels // 2, channels, 1, 1), bias=False),
        **norm(f"{name}.{out}", (channels, channels // 2, 1, 1), bias=False),
    }


def biggan_generator(
    width: int, resolution: int, classes: int, latents: int, places: Iterable[int], shared: int = 0
) -> Shapes:
    """BigGAN-PyTorch. `shared` is the embedding's length, with hierarchical z; `latents` of all."""
    inputs, outputs = ([width * f for f in factors] for factors in FACTORS[resolution])
    chunk = latents // (len(inputs) + 1) if shared else 0
    tensors: Shapes = {"shared.weight": (classes, shared)} if shared else {}
    tensors |= biggan_norm("linear", (16 * inputs[0], chunk or latents))
    for index, (c_in, c_out) in enumerate(zip(inputs, outputs, strict=True)):
        block = f"blocks.{index}.0"
        tensors |= biggan_norm(f"{block}.conv1", (c_out, c_in, 3, 3))
        tensors |= biggan_norm(f"{block}.conv2", (c_out, c_out, 3, 3))
        tensors |= biggan_norm(f"{block}.conv_sc", (c_out, c_in, 1, 1))
        for norm, channels in (("bn1", c_in), ("bn2", c_out)):
            for part in ("gain", "bias"):
                name = f"{block}.{norm}.{part}"
                if shared:
                    tensors |= biggan_norm(name, (channels, shared + chunk), bias=False)
                else:
                    tensors[f"{name}.weight"] = (classes, channels)
            for part in ("stored_mean", "stored_var"):
                tensors[f"{block}.{norm}.{part}"] = (channels,)
        if 8 * 2**index in places:
            native = f"blocks.{index}.1"
            tensors |= attention(native, c_out, biggan_norm, "theta phi g o")
            tensors[f"{native}.gamma"] = ()
    for part in ("gain", "bias", "stored_mean", "stored_var"):
        tensors[f"output_layer.0.{part}"] = (outputs[-1],)
    return tensors | biggan_norm("output_layer.2", (3, outputs[-1], 3, 3))


def biggan_discriminator(
    width: int, resolution: int, classes: int, attention_blocks: Iterable[int]
) -> Shapes:
    """BigGAN-PyTorch: attention behind the blocks of these numbers."""
    tensors: Shapes = {}
    channels = [3, *(width * factor for factor in JUDGE_FACTORS[resolution])]
    halving = len(channels) - (3 if resolution == 32 else 2)
    for index, (c_in, c_out) in enumerate(pairwise(channels)):
        block = f"blocks.{index}.0"
        tensors |= biggan_norm(f"{block}.conv1", (c_out, c_in, 3, 3))
        tensors |= biggan_norm(f"{block}.conv2", (c_out, c_out, 3, 3))
        if c_in != c_out or index < halving:
            tensors |= biggan_norm(f"{block}.conv_sc", (c_out, c_in, 1, 1))
        if index in attention_blocks:
            tensors |= attention(f"blocks.{index}.1", c_out, biggan_norm, "theta phi g o")
            tensors[f"blocks.{index}.1.gamma"] = ()
    tensors |= biggan_norm("linear", (1, channels[-1]))
    return tensors | biggan_norm("embed", (classes, channels[-1]), bias=False)


STUDIO_ATTENTION = "conv1x1_theta conv1x1_phi conv1x1_g conv1x1_attn"


def studiogan_generator(
    width: int, resolution: int, classes: int, latents: int, after: Iterable[int], shared: int = 0
) -> Shapes:
    """PyTorch-StudioGAN: attention behind the blocks of these numbers, counted from 1."""
    inputs, outputs = ([width * f for f in factors] for factors in FACTORS[resolution])
    chunk = latents // (len(inputs) + 1) if shared else 0
    tensors = torch_norm("linear0", (16 * inputs[0], chunk or latents))
    tensors |= {"shared.weight": (classes, shared)} if shared else {}
    place = 0
    for number, (c_in, c_out) in enumerate(zip(inputs, outputs, strict=True), start=1):
        block = f"blocks.{place}.0"
        for norm, channels in (("bn1", c_in), ("bn2", c_out)):
            tensors |= batch_norm(f"{block}.{norm}.bn", channels, affine=False)
            for part in ("gain", "bias"):
                read = shared + chunk if shared else classes
                tensors |= torch_norm(f"{block}.{norm}.{part}", (channels, read), bias=False)
        tensors |= torch_norm(f"{block}.conv2d0", (c_out, c_in, 1, 1))
        tensors |= torch_norm(f"{block}.conv2d1", (c_out, c_in, 3, 3))
        tensors |= torch_norm(f"{block}.conv2d2", (c_out, c_out, 3, 3))
        place += 1
        if number in after:
            tensors |= attention(f"blocks.{place}.0", c_out, torch_norm, STUDIO_ATTENTION)
            tensors[f"blocks.{place}.0.sigma"] = (1,)
            place += 1
    tensors |= batch_norm("bn4", outputs[-1])
    return tensors | torch_norm("conv2d5", (3, outputs[-1], 3, 3))


def studiogan_discriminator(
    width: int, resolution: int, classes: int, after: Iterable[int]
) -> Shapes:
    """PyTorch-StudioGAN with a projection."""
    tensors: Shapes = {}
    channels = [3, *(width * factor for factor in STUDIO_JUDGE_FACTORS[resolution])]
    halving, place = len(channels) - (3 if resolution == 32 else 2), 0
    for number, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        block = f"blocks.{place}.0"
        if c_in != c_out or number <= halving:
            tensors |= torch_norm(f"{block}.conv2d0", (c_out, c_in, 1, 1))
        tensors |= torch_norm(f"{block}.conv2d1", (c_out, c_in, 3, 3))
        tensors |= torch_norm(f"{block}.conv2d2", (c_out, c_out, 3, 3))
        place += 1
        if number in after:
            tensors |= attention(f"blocks.{place}.0", c_out, torch_norm, STUDIO_ATTENTION)
            tensors[f"blocks.{place}.0.sigma"] = (1,)
            place += 1
    tensors |= torch_norm("linear1", (1, channels[-1]))
    return tensors | torch_norm("embedding", (classes, channels[-1]), bias=False)


DEEP_LAYERS = {
    128: "-16-16 +16-16 -16-16 +16-8 -8-8 +8-4 -4-4 +4-2 -2-2 +2-1",
    256: "-16-16 +16-16 -16-16 +16-8 -8-8 +8-8 -8-8 +8-4 -4-4 +4-2 -2-2 +2-1",
    512: "-16-16 +16-16 -16-16 +16-8 -8-8 +8-8 -8-8 +8-4 -4-4 +4-2 -2-2 +2-1 -1-1 +1-1",
}


def deep_config(
    resolution: int, layers: str, place: int, width: int = 128, latents: int = 128
) -> dict[str, Any]:
    """A config.json of pytorch-pretrained-BigGAN; "+16-8" doubles, from 16 widths to 8."""
    described = [[layer[0] == "+", *map(int, layer[1:].split("-"))] for layer in layers.split()]
    return {
        "output_dim": resolution,
        "z_dim": latents,
        "class_embed_dim": latents,
        "channel_width": width,
        "num_classes": 1000,
        "layers": described,
        "attention_layer_position": place,
        "eps": 1e-4,
        "n_stats": 51,
    }


def deep_generator(config: dict[str, Any]) -> Shapes:
    """pytorch-pretrained-BigGAN."""
    width, latents, rows = config["channel_width"], config["z_dim"], config["n_stats"]
    read = 2 * latents
    tensors: Shapes = {"embeddings.weight": (latents, config["num_classes"])}
    tensors |= torch_norm("generator.gen_z", (16 * 16 * width, read))
    place = 0
    for number, (_, c_in, c_out) in enumerate(config["layers"]):
        if number == config["attention_layer_position"]:
            names = "snconv1x1_theta snconv1x1_phi snconv1x1_g snconv1x1_o_conv"
            native = f"generator.layers.{place}"
            tensors |= attention(native, width * c_in, torch_norm, names)
            tensors[f"{native}.gamma"] = (1,)
            place += 1
        native, middle = f"generator.layers.{place}", width * c_in // 4
        widths = (width * c_in, middle, middle, middle, width * c_out)
        for step, kernel in enumerate((1, 3, 3, 1)):
            norm = f"{native}.bn_{step}"
            tensors |= {
                f"{norm}.running_means": (rows, widths[step]),
                f"{norm}.running_vars": (rows, widths[step]),
            }
            for part in ("scale", "offset"):
                tensors |= torch_norm(f"{norm}.{part}", (widths[step], read), bias=False)
            shape = (widths[step + 1], widths[step], kernel, kernel)
            tensors |= torch_norm(f"{native}.conv_{step}", shape)
        place += 1
    for part in ("weight", "bias"):
        tensors[f"generator.bn.{part}"] = (width,)
    for part in ("running_means", "running_vars"):
        tensors[f"generator.bn.{part}"] = (rows, width)
    return tensors | torch_norm("generator.conv_to_rgb", (width, width, 3, 3))


def heykeetae_attention(name: str, channels: int) -> Shapes:
    """Maps with biases and without spectral norm."""
    widths = {"query_conv": channels // 8, "key_conv": channels // 8, "value_conv": channels}
    tensors: Shapes = {f"{name}.gamma": (1,)}
    for part, width in widths.items():
        tensors |= {
            f"{name}.{part}.weight": (width, channels, 1, 1),
            f"{name}.{part}.bias": (width,),
        }
    return tensors


def heykeetae_generator(width: int, latents: int) -> Shapes:
    """heykeetae, 64x64."""
    channels = [latents, 8 * width, 4 * width, 2 * width, width]
    tensors: Shapes = {}
    for stage, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        tensors |= heykeetae_norm(f"l{stage}.0", (c_in, c_out, 4, 4), c_out)
        tensors |= batch_norm(f"l{stage}.1", c_out)
    tensors |= {"last.0.weight": (width, 3, 4, 4), "last.0.bias": (3,)}
    return tensors | heykeetae_attention("attn1", 2 * width) | heykeetae_attention("attn2", width)


def heykeetae_discriminator(width: int) -> Shapes:
    """heykeetae, 64x64."""
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    tensors: Shapes = {}
    for stage, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        tensors |= heykeetae_norm(f"l{stage}.0", (c_out, c_in, 4, 4), c_out)
    tensors |= {"last.0.weight": (1, 8 * width, 4, 4), "last.0.bias": (1,)}
    attended = heykeetae_attention("attn1", 4 * width)
    return tensors | attended | heykeetae_attention("attn2", 8 * width)


def rosinality_attention(name: str, channels: int) -> Shapes:
    """Maps over a flattened map, with biases; no output map."""
    tensors: Shapes = {f"{name}.gamma": ()}
    for part, width in (("query", channels // 8), ("key", channels // 8), ("value", channels)):
        tensors |= rosinality_norm(f"{name}.{part}", (width, channels, 1))
    return tensors


def _rosinality_norm_table(name: str, classes: int, channels: int) -> Shapes:
    table: Shapes = {f"{name}.embed.weight": (classes, 2 * channels)}
    return batch_norm(f"{name}.bn", channels, affine=False) | table


def rosinality_residual_generator(
    channels: list[int], latents: int, classes: int, place: int
) -> Shapes:
    """model_resnet.py: widths of the first map and of every block; attention at index `place`."""
    tensors = rosinality_norm("lin_code", (16 * channels[0], latents))
    index = 0
    for c_in, c_out in pairwise(channels):
        if index == place:
            tensors |= rosinality_attention(f"conv.{index}", c_in)
            index += 1
        native = f"conv.{index}"
        tensors |= rosinality_norm(f"{native}.conv1", (c_out, c_in, 3, 3), bias=False)
        tensors |= rosinality_norm(f"{native}.conv2", (c_out, c_out, 3, 3), bias=False)
        tensors |= rosinality_norm(f"{native}.conv_skip", (c_out, c_in, 1, 1))
        tensors |= _rosinality_norm_table(f"{native}.norm1", classes, c_in)
        tensors |= _rosinality_norm_table(f"{native}.norm2", classes, c_out)
        index += 1
    tensors |= batch_norm("bn", channels[-1])
    return tensors | rosinality_norm("colorize", (3, channels[-1], 3, 3))


def rosinality_plain_generator(
    channels: list[int], latents: int, classes: int, place: int
) -> Shapes:
    """model.py: attention inside the block of number `place`."""
    tensors = rosinality_norm("lin_code", (16 * channels[0], latents))
    for index, (c_in, c_out) in enumerate(pairwise(channels)):
        native = f"conv.{index}"
        tensors |= rosinality_norm(f"{native}.conv", (c_out, c_in, 3, 3), bias=False)
        tensors |= _rosinality_norm_table(f"{native}.norm", classes, c_out)
        if index == place:
            tensors |= rosinality_attention(f"{native}.attention", c_out)
    return tensors | rosinality_norm("colorize", (3, channels[-1], 3, 3))


def rosinality_residual_discriminator(width: int, classes: int) -> Shapes:
    """model_resnet.py's discriminator."""
    tensors = rosinality_norm("pre_conv.0", (width, 3, 3, 3))
    tensors |= rosinality_norm("pre_conv.2", (width, width, 3, 3))
    tensors |= rosinality_norm("pre_skip", (width, 3, 1, 1))
    channels = [width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width]
    index = 0
    for number, (c_in, c_out) in enumerate(pairwise(channels)):
        if number == 2:
            tensors |= rosinality_attention(f"conv.{index}", c_in)
            index += 1
        native = f"conv.{index}"
        tensors |= rosinality_norm(f"{native}.conv1", (c_out, c_in, 3, 3))
        tensors |= rosinality_norm(f"{native}.conv2", (c_out, c_out, 3, 3))
        tensors |= rosinality_norm(f"{native}.conv_skip", (c_out, c_in, 1, 1))
        index += 1
    tensors |= rosinality_norm("linear", (1, channels[-1]))
    return tensors | rosinality_norm("embed", (classes, channels[-1]), bias=False)


def voletiv_attention(channels: int) -> Shapes:
    """Maps with biases and spectral norm."""
    name = "self_attn"
    return {
        f"{name}.sigma": (1,),
        **torch_norm(f"{name}.snconv1x1_theta", (channels // 8, channels, 1, 1)),
        **torch_norm(f"{name}.snconv1x1_phi", (channels // 8, channels, 1, 1)),
        **torch_norm(f"{name}.snconv1x1_g", (channels // 2, channels, 1, 1)),
        **torch_norm(f"{name}.snconv1x1_attn", (channels, channels // 2, 1, 1)),
    }


def voletiv_generator(width: int, latents: int, classes: int) -> Shapes:
    """voletiv, 128x128."""
    channels = [width * factor for factor in (16, 16, 8, 4, 2, 1)]
    tensors = torch_norm("snlinear0", (16 * channels[0], latents))
    for number, (c_in, c_out) in enumerate(pairwise(channels), start=1):
        block = f"block{number}"
        for norm, wide in (("cond_bn1", c_in), ("cond_bn2", c_out)):
            tensors |= batch_norm(f"{block}.{norm}.bn", wide, affine=False)
            tensors[f"{block}.{norm}.embed.weight"] = (classes, 2 * wide)
        tensors |= torch_norm(f"{block}.snconv2d1", (c_out, c_in, 3, 3))
        tensors |= torch_norm(f"{block}.snconv2d2", (c_out, c_out, 3, 3))
        tensors |= torch_norm(f"{block}.snconv2d0", (c_out, c_in, 1, 1))
    tensors |= voletiv_attention(4 * width) | batch_norm("bn", width)
    return tensors | torch_norm("snconv2d1", (3, width, 3, 3))


def voletiv_discriminator(width: int, classes: int) -> Shapes:
    """voletiv: its last block has a shortcut that it does not use."""
    channels = [3, *(width * factor for factor in (1, 2, 4, 8, 16, 16))]
    tensors: Shapes = {}
    for number, (c_in, c_out) in enumerate(pairwise(channels)):
        block = f"block{number}" if number else "opt_block1"
        tensors |= torch_norm(f"{block}.snconv2d1", (c_out, c_in, 3, 3))
        tensors |= torch_norm(f"{block}.snconv2d2", (c_out, c_out, 3, 3))
        tensors |= torch_norm(f"{block}.snconv2d0", (c_out, c_in, 1, 1))
    tensors |= voletiv_attention(2 * width) | torch_norm("snlinear1", (1, channels[-1]))
    return tensors | torch_norm("sn_embedding1", (classes, channels[-1]), bias=False)


def random_tensors(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Weights of about unit gain, positive variances, gammas that matter."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=rng)
        last = name.rsplit(".", 1)[-1]
        if last == "num_batches_tracked":
            tensors[name] = torch.tensor(7)
        elif last in ("stored_var", "running_var", "running_vars"):
            tensors[name] = 0.5 + noise.square()
        elif last in ("gamma", "sigma"):
            tensors[name] = 0.5 + 0.1 * noise
        elif last.endswith(("_v", "_u")):
            tensors[name] = noise / noise.norm()
        else:
            tensors[name] = noise / max(1, torch.Size(shape[1:]).numel()) ** 0.5
    return tensors


def meta_tensors(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors without numbers."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
