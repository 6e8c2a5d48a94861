"""Batches on their way to the device: read ahead, sent as bytes, each process its own rows."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from .device import to_device
from .image_set import ImageSet
from .order import BalancedOrder, ShuffledOrder
from .parallel import Processes
from .state import Recipe
from .stream import ImageStream

Part = tuple[Tensor, Tensor]

SHARE_OF_GPU = 0.4  # of its free memory, at most, for a data set that lives there


class Feed:
    """A data set as batches of byte images on this process's device.

    A set that fits lives on the GPU whole; of others the next batch is read while the device
    works on the one before. What is in a batch depends on the seed and the position alone.

    Args:
        recipe: says how large a batch is and in how many parts it is handed out.
        processes: of which each gets its share of every part.

    Raises ValueError for a batch larger than the data set.
    """

    def __init__(self, data: ImageSet | ImageStream, recipe: Recipe, processes: Processes) -> None:
        if recipe.batch_size > len(data) > 0:
            raise ValueError(f"batch_size is {recipe.batch_size}; {len(data)} images are there")
        self.data, self.recipe, self.processes = data, recipe, processes
        self._order = _order(data, recipe)
        self._resident: Part | None = None
        if isinstance(data, ImageSet) and _fits_on_gpu(data, processes.device):
            self._resident = _whole(data, processes.device)
        self._reader = ThreadPoolExecutor(1, "batches")
        self._ahead: tuple[int, Future[Part]] | None = None

    def batch(self, start: int) -> list[Part]:
        """The batch at position `start` of the stream: images (n, C, R, R) and labels (n,) a part.

        Images are uint8; all are on the device, and of all parts those of this process.
        """
        if self._ahead is None or self._ahead[0] != start:
            self._read_ahead(start)
        assert self._ahead is not None
        images, labels = self._ahead[1].result()
        self._read_ahead(start + self.recipe.batch_size)
        device, parts = self.processes.device, self.recipe.accumulate
        images, labels = to_device(images, device), to_device(labels, device)
        return list(zip(images.chunk(parts), labels.chunk(parts), strict=True))

    def _read_ahead(self, start: int) -> None:
        self._ahead = start, self._reader.submit(self._read, start)

    def _read(self, start: int) -> Part:
        parts = torch.arange(self.recipe.batch_size).view(self.recipe.accumulate, -1)
        own = parts[:, self.processes.share(parts.shape[1])].flatten()
        if isinstance(self.data, ImageStream):
            read = self.data.read(self.recipe.seed, start, self.recipe.batch_size, own)
            return self._pinned(read)
        assert self._order is not None
        chosen = self._order.slice(start, self.recipe.batch_size)[own]
        if self._resident is None:
            return self._pinned(self.data.rows(chosen))
        chosen = to_device(chosen, self.processes.device)
        images, labels = self._resident
        return images[chosen], labels[chosen]

    def _pinned(self, part: Part) -> Part:
        """Where a GPU can fetch it by itself; done while that still works on the batch before."""
        if self.processes.device.type != "cuda":
            return part
        images, labels = part
        return images.pin_memory(), labels.pin_memory()


def _order(data: ImageSet | ImageStream, recipe: Recipe) -> ShuffledOrder | None:
    if isinstance(data, ImageStream):
        if recipe.balance:
            raise ValueError("--balance needs all labels beforehand, which a stream does not have")
        return None
    if recipe.balance:
        return BalancedOrder(data.labels, recipe.seed)
    return ShuffledOrder(len(data), recipe.seed)


def _fits_on_gpu(data: ImageSet, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return data.images.nbytes < SHARE_OF_GPU * free


def _whole(data: ImageSet, device: torch.device, block: int = 8192) -> Part:
    """All images and labels on a device, sent a block at a time."""
    images = torch.empty(data.images.shape, dtype=torch.uint8, device=device)
    labels = torch.empty(len(data), dtype=torch.long, device=device)
    for start in range(0, len(data), block):
        rows = torch.arange(start, min(start + block, len(data)))
        images[rows[0] : rows[-1] + 1], labels[rows[0] : rows[-1] + 1] = data.rows(rows)
    return images, labels
