"""What `--profile` measures: seconds and memory of each stage, and how fast the device multiplies and copies.

In: stages of a run as they happen. Out: the entry `profile` of the manifest. A run without it measures nothing.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from samtok_eval.models.backend import Backend
from samtok_eval.run.manifest import Profile, Stage
from samtok_eval.run.profile import STAGES, Rates, Sizes, Work, least_seconds

if TYPE_CHECKING:
    import torch
    from torch import nn

    from samtok_eval.tokenizer.model import MaskTokenizer

Item = TypeVar("Item")
NOTHING: AbstractContextManager[None] = nullcontext()
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied."""
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}
"""Bytes that are copied; far more than caches hold."""
ROUNDS = 5
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Profiler:
    """Adds up seconds and keeps the most memory, per stage."""

    def __init__(self, device: str) -> None:
        """Begin with nothing.

        Args:
            device: where models compute; on CUDA its memory is told, elsewhere that of the process so far.
        """
        self._device = device
        self._seconds: Counter[str] = Counter()
        self._peaks: dict[str, int] = {}
        self.pictures: set[str] = set()
        """Names of those that the mask tokenizer encoded."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside, up to the last kernel that it started."""
        if self._on_cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        started = time.perf_counter()
        try:
            yield
        finally:
            synchronized(self._device)
            self._seconds[name] += time.perf_counter() - started  # type: ignore[assignment]
            self._peaks[name] = max(self._peaks.get(name, 0), self._peak())

    def move(self, source: str, target: str, seconds: float) -> None:
        """Count a part of a stage as another stage."""
        self._seconds[target] += seconds  # type: ignore[assignment]
        self._seconds[source] -= seconds  # type: ignore[assignment]
        self._peaks.setdefault(target, self._peaks[source])

    def profile(self, samples: int, work: Work, sizes: Sizes, rates: Rates) -> Profile:
        """The entry of the manifest.

        Args:
            samples: that were asked.
            work: of the language model; the mask tokenizer's pictures are known here.
            sizes: of the models.
            rates: of the device.
        """
        work = Work(**{**asdict(work), "pictures": len(self.pictures)})
        whole, generating = sum(self._seconds.values()), self._seconds["generate"]
        return Profile(
            stages=self.stages(),
            samples_per_second=round(samples / whole, 2) if whole else 0.0,
            tokens_per_second=round(work.written / generating, 1) if generating else 0.0,
            work=asdict(work),
            rates={name: float(f"{value:.3g}") for name, value in asdict(rates).items()},
            least_seconds={name: round(value, 4) for name, value in least_seconds(sizes, work, rates).items()},
        )

    def stages(self) -> dict[str, Stage]:
        """Seconds and most bytes of each stage, in order."""
        return {
            name: Stage(seconds=round(self._seconds[name], 3), peak_bytes=self._peaks[name])
            for name in STAGES
            if name in self._peaks
        }

    @property
    def _on_cuda(self) -> bool:
        return self._device.startswith("cuda")

    def _peak(self) -> int:
        if self._on_cuda:
            import torch

            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def stage(profiler: Profiler | None, name: str) -> AbstractContextManager[None]:
    """Measure a stage; without a profiler nothing."""
    return profiler.stage(name) if profiler else NOTHING


def waited_for(profiler: Profiler | None, name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The same items; waiting for each is measured as a stage."""
    remaining = iter(items)
    while True:
        with stage(profiler, name):
            item = next(remaining, None)
        if item is None:
            return
        yield item


def synchronized(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def work_of(backend: Backend) -> Counter[str]:
    """What a backend has computed since it was loaded, by the names of `Work`; nothing where it does not count."""
    return Counter(getattr(backend, "work", None) or {})


def sizes_of(backend: Backend, tokenizer: MaskTokenizer | None) -> Sizes:
    """Sizes of the models that compute in this process."""
    model: Any = getattr(backend, "model", None)
    encoder = _encoder_size(tokenizer) if tokenizer else 0
    # A user's back end may have a model of any kind.
    language, vision = (getattr(getattr(model, "model", None), part, None) for part in ("language_model", "visual"))
    if language is None or vision is None:
        return Sizes(mask_encoder=encoder)
    layers, head = _parameters(language.layers), model.lm_head.weight
    return Sizes(layers, (layers + head.numel()) * head.element_size(), _parameters(vision.blocks), encoder)


def device_rates(device: str, dtype: torch.dtype) -> Rates:
    """How fast a device multiplies matrices and copies, the best of a few rounds; under a second.

    Args:
        device: `cpu` or `cuda`.
        dtype: of the matrices.
    """
    import torch

    kind = "cuda" if device.startswith("cuda") else "cpu"
    side = SIDE[kind]
    factor = torch.ones(side, side, device=device, dtype=dtype)
    block = torch.zeros(COPIED[kind], dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    products = best_seconds(device, lambda: factor @ factor)
    copies = best_seconds(device, lambda: other.copy_(block))
    return Rates(flops=2 * side**3 / products, copied_bytes=2 * len(block) / copies)


def best_seconds(device: str, compute: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The least time of a few rounds, up to the last kernel that each started."""
    seconds = []
    for _ in range(rounds):
        synchronized(device)
        started = time.perf_counter()
        compute()
        synchronized(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _encoder_size(tokenizer: MaskTokenizer) -> int:
    """Parameters x places over the layers of Hiera: each time the width doubles, the places are a quarter."""
    config = tokenizer.config
    places = (config.image_size // 4) ** 2
    return sum(
        _parameters(block) * places // (block.dim_out // config.embed_dim) ** 2
        for block in tokenizer.sam.image_encoder.trunk.blocks
    )
