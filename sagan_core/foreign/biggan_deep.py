"""pytorch-pretrained-BigGAN (Hugging Face): BigGAN-deep, generator only.

Every norm has statistics for 51 truncations; between two of them their weights are interchanged,
the reverse of interpolation (`engine.Norm`). z, cut off at 2 and scaled by the truncation, and the
class's embedding go to the projection and to every norm. The projection makes channels last; the
last convolution makes as many channels as it reads, of which three are used. `embeddings` is a
linear map of a one-hot class.
"""

from __future__ import annotations

from ..layout import GeneratorLayout
from .baking import (
    AttentionNames,
    Baker,
    NetworkReading,
    NormTensors,
    contiguous_indices,
    table_norm,
)
from .family import Family, NetworkNames, Settings
from .source import LayoutError, SourceTensors

ATTENTION = AttentionNames("snconv1x1_theta", "snconv1x1_phi", "snconv1x1_g", "snconv1x1_o_conv")


def _norm(source: SourceTensors, native: str) -> NormTensors:
    return NormTensors(
        source.take(f"{native}.running_means"),
        source.take(f"{native}.running_vars"),
        source.weight(f"{native}.scale"),
        source.weight(f"{native}.offset"),
    )


def read_generator(source: SourceTensors, settings: Settings) -> NetworkReading:
    """`pytorch_model.bin`, its `config.json` being the settings."""
    baker, notes = Baker(source), []
    described = settings.get("layers")
    eps = float(settings.get("eps", 1e-4))
    if not isinstance(described, list):
        described = None
        notes.append("no config.json beside it: took every second block to double the resolution")
    for index in contiguous_indices(source, "generator.layers.{}."):
        native = f"generator.layers.{index}"
        if source.has_weight(f"{native}.snconv1x1_theta"):
            baker.attention(native, ATTENTION)
            continue
        number = len(baker.layers) - len(baker.places)
        if described is None:
            up = number % 2 == 1
        elif number < len(described):
            up = bool(described[number][0])
        else:
            raise LayoutError(f"config.json has {len(described)} layers, the weights have more")
        norms = [_norm(source, f"{native}.bn_{step}") for step in range(4)]
        baker.bottleneck([f"{native}.conv_{step}" for step in range(4)], norms, up)
    channels = baker.start_channels()
    read, size = baker.start("generator.gen_z", channels)
    for name in ("weight", "bias"):
        tensor = baker.tensors[f"start.{name}"]
        moved = tensor.unflatten(0, (size**2, channels)).transpose(0, 1)
        baker.tensors[f"start.{name}"] = moved.flatten(0, 1).contiguous()
    table = source.weight("embeddings").t().contiguous()
    baker.tensors["embedding.weight"] = table
    last = "generator.bn"
    mean, var = (source.take(f"{last}.running_{name}") for name in ("means", "vars"))
    gain, bias = (source.take(f"{last}.{name}") for name in ("weight", "bias"))
    baker.norm("norm", table_norm((mean, var), gain, bias))
    weight = baker.convolution("to_image", "generator.conv_to_rgb")
    baker.put("to_image", weight[:3].contiguous(), baker.tensors["to_image.bias"][:3].contiguous())
    layout = GeneratorLayout(
        tuple(baker.layers),
        channels,
        size,
        conditioning="joint",
        embedding=table.shape[1],
        norm_eps=eps,
        last_eps=eps,
        statistics=len(baker.tensors["norm.mean"]),
    )
    return baker.finished(
        layout,
        classes=len(table),
        latent_size=read - table.shape[1],
        bounded_latents=True,
        notes=notes,
    )


FAMILY = Family(
    "pytorch-pretrained-BigGAN",
    NetworkNames(
        (r"generator\.gen_z\.weight\w*", r"embeddings\.weight\w*"),
        (
            "embeddings",
            r"generator\.(?:gen_z|bn|conv_to_rgb)",
            r"generator\.layers\.\d+\.(?:(?:bn|conv)_\d|bn_\d\.\w+|gamma|snconv1x1_\w+)",
        ),
        read_generator,
    ),
)
