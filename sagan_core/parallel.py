"""The processes that train one model together: who does what, and what they tell each other.

One process needs nothing of this. Several are started by `accelerate launch` or torchrun and
joined by Hugging Face Accelerate, which is imported only then. A batch is the same whatever the
number of processes: each takes its share of the rows.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .device import resolve_device

# As torchrun, Intel MPI or MPICH, Open MPI and MVAPICH say how many processes there are.
COUNT_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
CPU = torch.device("cpu")
PATIENCE = timedelta(minutes=30)


class LostProcessError(RuntimeError):
    """Another process has ended or cannot be reached, so that this one cannot go on."""


@dataclass(frozen=True)
class Processes:
    """Those that train one model together, seen from one of them.

    Attributes:
        rank: this process's number; 0 is the main one, which alone averages and writes.
        count: how many there are.
        device: this process's own.
        accelerator: Accelerate's `Accelerator`; None for a single process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU
    accelerator: Any = None

    @property
    def main(self) -> bool:
        return self.rank == 0

    def share(self, whole: int) -> slice:
        """This process's rows of `whole` ones, of which every process takes as many."""
        own = whole // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def replicate(self, network: nn.Module) -> nn.Module:
        """The network as it is called for training: its gradients become the processes' mean."""
        if self.count == 1:
            return network
        with warnings.catch_warnings():
            # torch 2.13 has a second name for this setting, and 2.11 knows the first alone.
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            replica: nn.Module = self.accelerator.prepare_model(network)
        return replica

    @contextmanager
    def gathering(self, replica: nn.Module, last: bool) -> Iterator[None]:
        """For a part of a batch: gradients are exchanged in the last part's backward pass alone."""
        if self.count == 1 or last:
            yield
        else:
            with self.accelerator.no_sync(replica):
                yield

    def mean_(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over processes."""
        if self.count > 1:
            with reporting_loss():
                dist.all_reduce(tensor)
            tensor.div_(self.count)

    def any(self, holds: bool) -> bool:
        """Whether it holds in one process at least: the same answer in all."""
        if self.count == 1:
            return holds
        flag = torch.tensor([int(holds)])
        with reporting_loss():
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def from_main(self, content: bytes | None) -> bytes | None:
        """The main process's bytes, in every process; what others give is ignored."""
        if self.count == 1:
            return content
        size = torch.tensor([-1 if content is None else len(content)])
        with reporting_loss():
            dist.broadcast(size, 0)
            if size.item() < 0:
                return None
            data = torch.empty(int(size.item()), dtype=torch.uint8)
            if self.main and content:
                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.any(False)

    def leave(self) -> None:
        """Take leave of the others; nothing can be exchanged afterwards."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def reporting_loss() -> Iterator[None]:
    """Raise LostProcessError where torch reports that an exchange between processes failed."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        distributed = isinstance(error, dist.DistError)
        if not distributed and not any(word in text for word in ("gloo", "NCCL", "process group")):
            raise
        raise LostProcessError(
            f"another process has ended or cannot be reached ({text.splitlines()[0][:160]}); "
            "the last saved state is kept, and --resume goes on with any number of processes"
        ) from error


def launched() -> int:
    """How many processes the launcher says that there are.

    Raises ValueError where Accelerate was asked for several and started one: its launcher leaves
    the rest of `--cpu` to MPI, and several trainings would look like one.
    """
    sizes = [int(os.environ[name]) for name in COUNT_VARIABLES if name in os.environ]
    if sizes:
        return max(sizes)
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ:
        raise ValueError(
            "accelerate launch --cpu starts one process, whatever --num_processes says, unless "
            "MPI is set up. For N processes on CPUs: accelerate launch --multi_gpu "
            "--num_processes N -m sagan_core.train --device cpu ..., or torchrun "
            "--nproc-per-node N -m sagan_core.train --device cpu ..."
        )
    return 1


def join(device: str) -> Processes:
    """Join the processes that were launched, on the device that the options name.

    Raises ValueError where Accelerate is missing, where it is set up for more than data
    parallelism, or where one GPU is named for several processes.
    """
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no":
        raise ValueError("--dynamo_backend is not for this training: give it --compile instead")
    count = launched()
    if count == 1:
        return Processes(device=resolve_device(device))
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"device is {device!r} for {count} processes, and each takes a GPU of its own: "
            "leave --device out, or give cuda or cpu"
        )
    on_cpu = resolve_device(device).type == "cpu"
    try:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise ValueError(
            f"{count} processes were launched, and training in several needs Hugging Face "
            f"Accelerate ({error}): pip install accelerate"
        ) from error
    # Signals and files are agreed on through the CPU, so that no GPU is waited for.
    backend = "gloo" if on_cpu else "cpu:gloo,cuda:nccl"
    group = InitProcessGroupKwargs(backend=backend, timeout=PATIENCE)
    with reporting_loss():
        accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="no", kwargs_handlers=[group, _replica_settings()]
        )
    kind = accelerator.distributed_type.value
    if kind not in ("MULTI_CPU", "MULTI_GPU"):
        raise ValueError(f"Accelerate is set up for {kind}; training knows data parallelism alone")
    return Processes(
        accelerator.process_index, accelerator.num_processes, accelerator.device, accelerator
    )


def _replica_settings() -> Any:
    from accelerate.utils import DistributedDataParallelKwargs

    # Buffers follow from weights and batches alike everywhere; none need be sent.
    return DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)


def local_count() -> int:
    """How many of the processes share this machine and its memory."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def asked_precision() -> str | None:
    """'bf16' where `accelerate launch --mixed_precision` asked for it, None where for nothing.

    Raises ValueError for one that training does not know.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16"):
        raise ValueError(f"mixed precision {asked!r} is not known to training; it takes bf16")
    return "bf16" if asked == "bf16" else None
