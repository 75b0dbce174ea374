"""The processes of one training run: who this one is, and sums, rows and objects over all of them.

Started by `torchrun` there are several (gloo on CPUs, NCCL on GPUs), otherwise one; every function works for both.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from samtok_eval.device import choose_device

BUCKET_NUMBERS = 16 * 2**20
"""Numbers summed over ranks at once; bounds the copy that gradients need."""


class Ranks:
    """This process among the others.

    Attributes:
        rank: from 0.
        world: number of processes.
        device: where this process computes.
    """

    def __init__(self, device: str = "auto") -> None:
        """Join the other processes.

        Args:
            device: `"auto"` takes CUDA where there is one.

        Raises:
            UsageError: CUDA is asked for and absent, or there is no such device.
        """
        on_cpu = choose_device(device) == "cpu"
        state = PartialState(cpu=on_cpu)
        self.rank, self.world = int(state.process_index), int(state.num_processes)
        self.device = torch.device("cpu") if on_cpu else torch.device(state.device)
        self._state = state

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Return once every process is here."""
        self._state.wait_for_everyone()

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum over processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Sum the gradients over processes; a parameter without one on this process counts as zero."""
        if self.world == 1:
            return
        bucket: list[nn.Parameter] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_NUMBERS:
                self._add_up_bucket(bucket)
                bucket = []
            bucket.append(parameter)
        self._add_up_bucket(bucket)

    def rows(self, tensor: Tensor) -> Tensor:
        """Rows (N, ...) of all processes, one process after another; N may differ between them."""
        if self.world == 1:
            return tensor
        counts = torch.zeros(self.world, dtype=torch.int64, device=tensor.device)
        counts[self.rank] = len(tensor)
        most = int(self.add_up(counts).max())
        padded = tensor.new_zeros(most, *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def objects(self, mine: list[Any]) -> list[Any]:
        """Lists of all processes joined."""
        return list(gather_object(mine)) if self.world > 1 else mine

    def same(self, value: Any) -> Any:
        """The first process's value."""
        return broadcast_object_list([value])[0] if self.world > 1 else value

    def align(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors with the first process's, so that rounding cannot let copies drift apart."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def _add_up_bucket(self, bucket: list[nn.Parameter]) -> None:
        flat = torch.cat([p.grad.flatten() for p in bucket if p.grad is not None])
        dist.all_reduce(flat)
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = part.view_as(parameter)
