"""Where and in what torch computes: devices and dtypes by name, and one line when memory is full."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from samtok_eval.errors import UsageError

if TYPE_CHECKING:
    import torch

SMALL_MODEL = 100_000_000
"""Parameters below which one thread computes: the layers are too short for several, which on shared cores wait for one
another."""
NAME = re.compile(r"auto|cpu|cuda(?::(\d+))?")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""As users write them, and as torch does."""


def choose_device(name: str) -> str:
    """The device that a name stands for.

    Args:
        name: `auto` takes CUDA where there is one; `cpu`, `cuda` or `cuda:N` are taken as they are.

    Raises:
        UsageError: another name, or CUDA is asked for and absent.
    """
    known = NAME.fullmatch(name)
    if known is None:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if int(known[1] or 0) >= count:
        seen = f"{count} CUDA devices are visible" if count else "no CUDA device is visible"
        raise UsageError(f"--device {name}: {seen}; give --device cpu, or mend the driver")
    return name


def own_device(name: str) -> str:
    """The same for one of several processes that do not talk: under `torchrun` each takes a GPU of its own.

    Args:
        name: as for `choose_device`; a device with its number is taken by all of them.
    """
    chosen, local = choose_device(name), os.environ.get("LOCAL_RANK", "")
    if chosen != "cuda" or not local.isdigit():
        return chosen
    import torch

    return f"cuda:{int(local) % torch.cuda.device_count()}"


def thread_count(parameters: int, asked: int | None = None) -> int:
    """Threads of torch on the CPU.

    Args:
        parameters: of all models that compute.
        asked: what the user said, which holds; else one for small models, and torch's own number, which follows
            `OMP_NUM_THREADS`, for others or where that is set.
    """
    import torch

    if asked is not None:
        return asked
    return 1 if parameters < SMALL_MODEL and "OMP_NUM_THREADS" not in os.environ else torch.get_num_threads()


def dtype_name(name: str) -> str:
    """The name of a dtype in torch.

    Args:
        name: `auto`, which stays as it is, or a dtype in either spelling.

    Raises:
        UsageError: another name.
    """
    if name != "auto" and name not in (*DTYPES, *DTYPES.values()):
        raise UsageError(f"--dtype must be auto, {', '.join([*DTYPES.values(), *DTYPES])}, got {name!r}")
    return DTYPES.get(name, name)


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that a name other than `auto` stands for.

    Raises:
        UsageError: another name.
    """
    import torch

    found: torch.dtype = getattr(torch, dtype_name(name))
    return found


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Say whether CUDA may round the factors of float32 products to TF32; afterwards as before.

    Args:
        tf32: False also for convolutions, in which torch allows it on its own.
    """
    import torch

    kinds: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = tf32
        yield
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device or of the machine is full."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def memory_named(load: str, lower: Sequence[str], also: str = "") -> Iterator[None]:
    """Say what fills the memory and what saves some, should it run out.

    Args:
        load: what is computed at once.
        lower: options of the command that save memory when their value is lowered, most useful first.
        also: what else helps.

    Raises:
        UsageError: memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        advice = f"lower {', then '.join(lower)}" + (f"; {also}" if also else "")
        raise UsageError(f"out of memory with {load}; {advice}") from error
