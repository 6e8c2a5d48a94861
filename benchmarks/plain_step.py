"""The step to compare with: a SAGAN trained the plain way, as public PyTorch code bases do it.

A re-statement, in our own words, of the computation that BigGAN-PyTorch's published SAGAN
configuration makes in one step; it is not that code, and it was never timed against it. It has
this repository's architecture for the same `SAGANConfig`, so that parameters and images are equal:

- float32, contiguous (NCHW) tensors; every convolution on the large side of its resampling;
- spectral norm in every forward pass, one power iteration each, in all networks and passes;
- batch norm, then gain and bias per class, then ReLU, each an operation of its own;
- attention as two batched products and a softmax, its matrix kept for the backward pass;
- one discriminator pass over fake and real joined; the generator without a graph in that step;
- Adam without fused kernels; the average updated tensor by tensor; losses read at every step.

What differs from the published configuration: attention sits where the config says (there: 64x64
alone), conditional batch norm has a row per class (there: a linear map of a shared embedding), and
the batch is not split (there: two accumulations).
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan_core.model import SAGANConfig
from sagan_core.state import Recipe


class Normalised(nn.Module):
    """A weight, divided by its largest singular value at every forward pass."""

    def __init__(self, layer: nn.Conv2d | nn.Linear | nn.Embedding) -> None:
        super().__init__()
        nn.init.xavier_uniform_(layer.weight)
        self.layer = layer
        self.u: Tensor
        self.register_buffer("u", torch.randn(1, len(layer.weight)))

    def weight(self) -> Tensor:
        matrix = self.layer.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(self.u @ matrix, eps=1e-8)
            u = F.normalize(v @ matrix.t(), eps=1e-8)
            if self.training:
                self.u.copy_(u)
        return self.layer.weight / (v @ matrix.t() @ u.t()).squeeze()

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Embedding):
            return F.embedding(x, self.weight())
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, self.weight(), self.layer.bias)
        return F.conv2d(x, self.weight(), self.layer.bias, padding=self.layer.padding)


def conv(inputs: int, outputs: int, size: int = 3, bias: bool = True) -> Normalised:
    return Normalised(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias))


class PlainAttention(nn.Module):
    def __init__(self, channels: int, config: SAGANConfig) -> None:
        super().__init__()
        narrow, wide = channels // config.query_divisor, channels // config.value_divisor
        self.query, self.key = (conv(channels, narrow, 1, False) for _ in range(2))
        self.value, self.out = conv(channels, wide, 1, False), conv(wide, channels, 1, False)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.pool_keys = config.pool_keys

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.pool_keys:
            key, value = F.max_pool2d(key, 2), F.max_pool2d(value, 2)
        weights = torch.bmm(query.flatten(2).transpose(1, 2), key.flatten(2)).softmax(-1)
        attended = torch.bmm(value.flatten(2), weights.transpose(1, 2))
        return self.gamma * self.out(attended.unflatten(2, x.shape[2:])) + x


class PlainNorm(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.gain = nn.Embedding(max(1, classes), channels)
        self.bias = nn.Embedding(max(1, classes), channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.gain(labels)[:, :, None, None], self.bias(labels)[:, :, None, None]
        return F.batch_norm(x, self.mean, self.variance, None, None, self.training) * gain + bias


class PlainUp(nn.Module):
    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = PlainNorm(inputs, classes), PlainNorm(outputs, classes)
        self.conv1, self.conv2 = conv(inputs, outputs), conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = F.interpolate(F.relu(self.norm1(x, labels)), scale_factor=2)
        x = F.interpolate(x, scale_factor=2)
        h = self.conv2(F.relu(self.norm2(self.conv1(h), labels)))
        return h + self.shortcut(x)


class PlainGenerator(nn.Module):
    def __init__(self, config: SAGANConfig) -> None:
        super().__init__()
        sizes = config.generator_resolutions
        channels = [config.generator_channels(size) for size in (4, *sizes)]
        self.project = Normalised(nn.Linear(config.latent_size, channels[0] * 16))
        self.blocks = nn.ModuleList(PlainUp(a, b, config.classes) for a, b in pairwise(channels))
        self.attention = nn.ModuleList(
            PlainAttention(width, config) if size in config.attention else nn.Identity()
            for size, width in zip(sizes, channels[1:], strict=True)
        )
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_image = conv(channels[-1], config.image_channels)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = self.project(z).unflatten(1, (-1, 4, 4))
        for block, attention in zip(self.blocks, self.attention, strict=True):
            x = attention(block(x, labels))
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class PlainDown(nn.Module):
    def __init__(self, inputs: int, outputs: int, first: bool, down: bool) -> None:
        super().__init__()
        self.first, self.down = first, down
        self.conv1, self.conv2 = conv(inputs, outputs), conv(outputs, outputs)
        if down:
            self.shortcut = conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return h + x
        if self.first:
            return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return F.avg_pool2d(h, 2) + F.avg_pool2d(self.shortcut(x), 2)


class PlainDiscriminator(nn.Module):
    def __init__(self, config: SAGANConfig) -> None:
        super().__init__()
        sizes = config.discriminator_resolutions
        channels = [config.image_channels, *map(config.discriminator_channels, sizes)]
        pairs = [*pairwise(channels), (channels[-1], channels[-1])]
        self.blocks = nn.ModuleList(
            PlainDown(a, b, index == 0, index < len(sizes)) for index, (a, b) in enumerate(pairs)
        )
        self.attention = nn.ModuleList(
            PlainAttention(width, config)
            if size in config.discriminator_attention
            else nn.Identity()
            for size, width in zip((*sizes, 0), (*channels[1:], 0), strict=True)
        )
        self.to_logit = Normalised(nn.Linear(channels[-1], 1))
        self.embedding = Normalised(nn.Embedding(max(1, config.classes), channels[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        x = images
        for block, attention in zip(self.blocks, self.attention, strict=True):
            x = attention(block(x))
        features = F.relu(x).sum((2, 3))
        projected = (features * self.embedding(labels)).sum(1, keepdim=True)
        return (self.to_logit(features) + projected).squeeze(1)


class PlainStep:
    """Networks, optimisers and average of a plain run; its phases are called in turn.

    Args:
        config, recipe: as for `TrainState`. `recipe.bf16` runs the networks under plain autocast.
        device: where everything lives.
    """

    def __init__(self, config: SAGANConfig, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.config, self.recipe, self.device = config, recipe, device
        self.generator = PlainGenerator(config).to(device)
        self.discriminator = PlainDiscriminator(config).to(device)
        self.average = copy.deepcopy(self.generator)
        betas = (0.0, recipe.beta2)
        self.adams = {
            network: torch.optim.Adam(network.parameters(), rate, betas)
            for network, rate in (
                (self.generator, recipe.generator_rate),
                (self.discriminator, recipe.discriminator_rate),
            )
        }

    def _latents(self, count: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(count, self.config.latent_size, device=self.device)
        return z, torch.randint(max(1, self.config.classes), (count,), device=self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16)

    def _apply(self, network: nn.Module) -> None:
        self.adams[network].step()
        self.adams[network].zero_grad()

    def discriminate(self, images: Tensor, labels: Tensor) -> float:
        self.discriminator.requires_grad_(True)
        self.generator.requires_grad_(False)
        z, fake_labels = self._latents(len(images))
        with self._autocast():
            fake = self.generator(z, fake_labels)
            both = torch.cat([fake.float(), images]), torch.cat([fake_labels, labels])
            fake_logits, real_logits = self.discriminator(*both).float().chunk(2)
        loss = F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
        loss.backward()
        self._apply(self.discriminator)
        return loss.item()

    def generate(self) -> float:
        self.discriminator.requires_grad_(False)
        self.generator.requires_grad_(True)
        z, labels = self._latents(self.recipe.batch_size)
        with self._autocast():
            loss = -self.discriminator(self.generator(z, labels), labels).float().mean()
        loss.backward()
        self._apply(self.generator)
        return loss.item()

    @torch.no_grad()
    def update_average(self) -> None:
        decay, source = self.recipe.ema_decay, self.generator.state_dict()
        for name, tensor in self.average.state_dict().items():
            tensor.copy_(tensor * decay + source[name] * (1 - decay))
