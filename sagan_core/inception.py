"""Inception-v3's features, in which a Fréchet distance is FID, by way of torch-fidelity.

The package is optional (`pip install -r requirements-inception.txt`). Its weights are those of the
TensorFlow graph that FID was defined with; they are read from a file, or downloaded when asked for.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from .data import ImageSet
from .sample import evaluating

BATCH_SIZE = 32
PUBLISHED = "6726825d"  # how the file's SHA-256 begins; its name ends so too
FEATURES = ("2048", "logits_unbiased")
INSTALL = "pip install -r requirements-inception.txt (the extra 'inception')"


class InceptionError(ValueError):
    """Inception-v3 cannot be had; the message says why and what to do."""


def load_inception(weights: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Inception-v3 as torch-fidelity has it, with the weights of a file, in eval mode.

    Args:
        weights: a `.pth` of torch-fidelity or the same tensors as `.safetensors`.

    Raises InceptionError where the package is missing or the file does not hold these weights.
    """
    module = _torch_fidelity()
    tensors = _read_weights(weights)
    # The package unpickles whatever file it is given, so it gets one that we wrote of tensors.
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "weights.pth"
        torch.save(tensors, clean)
        try:
            network = module.FeatureExtractorInceptionV3("inception", list(FEATURES), str(clean))
        except RuntimeError as error:
            reason = str(error).split("\n")[1 if "\n" in str(error) else 0].strip()[:200]
            raise InceptionError(
                f"{weights} is not torch-fidelity's Inception-v3: {reason}"
            ) from error
    return network.to(device)


def download_weights() -> Path:
    """The file of torch-fidelity's weights, downloaded once into torch's hub folder.

    Raises InceptionError where the package is missing, OSError where there is no network.
    """
    url = _torch_fidelity().URL_INCEPTION_V3
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), PUBLISHED)
        except URLError as error:
            raise ConnectionError(f"{url} cannot be reached ({error.reason})") from error
        except RuntimeError as error:  # the digest differs
            raise ConnectionError(f"{url} arrived damaged: {error}") from error
    return file


def is_published(weights: Path) -> bool:
    """Whether a file is, byte for byte, the one that torch-fidelity publishes."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(PUBLISHED)


def _torch_fidelity() -> Any:
    try:
        from torch_fidelity import feature_extractor_inceptionv3
    except (ImportError, RuntimeError) as error:
        # torchvision, imported by it, raises RuntimeError beside a torch of another build.
        raise InceptionError(
            f"Inception-v3 needs torch-fidelity, and its import failed ({error}): {INSTALL}"
        ) from error
    module: ModuleType = feature_extractor_inceptionv3
    return module


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InceptionError(f"no Inception-v3 weights at {path}; a .pth or .safetensors is needed")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, "cpu", weights_only=True)
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).split("\n")[0][:200]
        raise InceptionError(f"{path} does not hold weights alone: {reason}") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InceptionError(f"{path} does not hold a dictionary of tensors")
    return tensors


def inception_features(
    network: nn.Module, data: ImageSet, rows: np.ndarray | None = None, title: str = "images"
) -> tuple[Tensor, Tensor]:
    """Pooled features (n, 2048) and logits without bias (n, 1008), on the CPU, float32.

    Grey images are given as colour; the network resizes to 299x299 as the TensorFlow graph did.

    Args:
        rows: (n,) indices of the images to look at; all by default.
    """
    device = next(network.parameters()).device
    chosen = np.arange(len(data)) if rows is None else rows
    parts: list[tuple[Tensor, Tensor]] = []
    with (
        evaluating(network),
        tqdm(total=len(chosen), desc=f"Inception-v3 of {title}", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(chosen), BATCH_SIZE):
            images = torch.from_numpy(data.images[chosen[start : start + BATCH_SIZE]])
            features, logits = network(images.expand(-1, 3, -1, -1).contiguous().to(device))
            parts.append((features.cpu(), logits.cpu()))
            bar.update(len(images))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
