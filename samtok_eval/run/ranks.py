"""Several processes on one run: which batches each of them asks, and how they begin, fail and end together.

In: the environment of processes that `torchrun` or `srun` started. Out: a share of the batches for each. The processes
talk through torch's TCP store alone, a dictionary with counters that one process keeps: whoever is free takes the next
batches, so that none waits for another while it generates. `Shard` is the share of a process that talks to nobody.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from samtok_eval.errors import INTERRUPTED, IncompleteRunError, SamtokError, UsageError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
"""Variables in which torchrun and srun tell a process who it is."""
JOIN_SECONDS = 600.0
"""How long the processes wait for one another at the start."""
SILENCE_SECONDS = 1800.0
"""How long a process may take over one batch before it counts as lost; a batch takes seconds to minutes."""
LEAVING_SECONDS = 60.0
"""How long a process that failed waits for the others, so that torchrun sees one exit code of all of them."""
POLL_SECONDS = 0.05
STRETCHES = 4
"""A process takes one of so many parts of its share of what is left."""
ERRORS, ANSWERED, HALVED, REUSED = "errors", "answered", "halved", "reused"
"""Counters that the processes of one run share."""


class OtherRankFailedError(SamtokError):
    """Another process, which tells the reason, ended the command."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Share(Protocol):
    """What one process does of one run."""

    part: int
    """Number of the file that holds its answers."""
    first: bool
    """Whether this process writes the manifest and scores."""

    def same(self, value: str | None) -> str:
        """The first process's value, for which the others wait."""

    def of(self, batches: Sequence[T]) -> Iterator[T]:
        """The batches that this process asks."""

    def add(self, counter: str, amount: int) -> int:
        """Raise a counter that the processes of the run share; its new value."""

    def finish(self) -> None:
        """Say that this process has asked its batches; the first one returns when all of them have."""


class Shard:
    """The share of a process that talks to nobody: every `count`-th batch. One of one is the whole run."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        """Prepare.

        Args:
            index: from 0.
            count: of all shards.
        """
        self.part, self.count, self.first = index, count, True
        self._sums: Counter[str] = Counter()

    def same(self, value: str | None) -> str:
        """The value."""
        return str(value)

    def of(self, batches: Sequence[T]) -> Iterator[T]:
        """Every `count`-th batch."""
        yield from batches[self.part :: self.count]

    def add(self, counter: str, amount: int) -> int:
        """Raise a counter of this process."""
        self._sums[counter] += amount
        return self._sums[counter]

    def finish(self) -> None:
        """Nobody waits."""


@dataclass(frozen=True)
class Launch:
    """Who a process is among those that were started together."""

    rank: int
    world: int
    local: int
    """Rank on its own machine."""


def shard_of(text: str) -> Shard:
    """The share that `--shard I/N` names.

    Raises:
        UsageError: it names none.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--shard {text}: expected I/N with I from 0 to N-1, such as 0/4")
    return Shard(int(index), int(count))


def launched(environment: Mapping[str, str]) -> Launch | None:
    """Who this process is among those that `torchrun` or `srun` started; None where it is alone.

    Raises:
        UsageError: `srun` started several, and it is not told where they meet.
    """
    for names in LAUNCHERS:
        if not all(environment.get(name, "").isdecimal() for name in names):
            continue
        launch = Launch(*(int(environment[name]) for name in names))
        if launch.world == 1:
            return None
        if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
            return launch
        # The script of a batch job has the variables of its tasks, but is none of them.
        if "SLURM_STEP_ID" in environment:
            raise UsageError(
                f"{launch.world} processes were started, and MASTER_ADDR and MASTER_PORT do not say where they meet; "
                "export both (docs/many_gpus.md), or give each its --shard"
            )
    return None


class Ranks:
    """The processes of one command, which share its runs.

    Attributes:
        rank: of this process, from 0.
        world: number of processes.
        first: whether this process writes manifests, scores and prints.
    """

    def __init__(self, store: Store, rank: int, world: int, silence: float = SILENCE_SECONDS) -> None:
        """Prepare.

        Args:
            store: that all processes reach.
            rank: of this process.
            world: number of processes.
            silence: seconds after which a process that takes no further batch counts as lost.
        """
        self.store, self.rank, self.world, self.silence = store, rank, world, silence
        self.first = rank == 0
        self._runs = itertools.count()

    def run(self) -> Cursor:
        """This process's share of the next run; all processes carry out the same runs in the same order."""
        return Cursor(self, next(self._runs))

    @contextmanager
    def together(self) -> Iterator[None]:
        """End all processes with one exit code when something is raised inside.

        Raises:
            OtherRankFailedError: another process failed earlier, and raises the reason itself.
        """
        try:
            yield
        except OtherRankFailedError:
            self._leave()
            raise
        except BaseException as error:
            mine = self._tell(error)
            # Who presses Ctrl-C waits for nobody.
            if not isinstance(error, KeyboardInterrupt):
                self._leave()
            if isinstance(error, SamtokError) and not mine:
                raise OtherRankFailedError("another rank ended the command", error.exit_code) from error
            raise

    def check(self) -> None:
        """Raise `OtherRankFailedError` when another process has failed."""
        with reaching():
            if self.store.check(["failure"]):
                failure = json.loads(self.store.get("failure"))
                raise OtherRankFailedError(f"rank {failure['rank']} ended the command", failure["exit_code"])

    def await_all(self, keys: Sequence[str], signs: Callable[[], Any], patience: float) -> None:
        """Return once all keys are set.

        Args:
            keys: one per process that is waited for, ending in `/RANK`.
            signs: something that changes as long as the others live.
            patience: seconds without such a change.

        Raises:
            IncompleteRunError: it did not change; the message names who is missing.
            OtherRankFailedError: another process has failed.
        """
        seen, since = None, time.monotonic()
        while missing := self._unset(keys):
            self.check()
            if (sign := (len(missing), signs())) != seen:
                seen, since = sign, time.monotonic()
            elif time.monotonic() - since > patience:
                raise IncompleteRunError(
                    f"no sign of rank {', '.join(key.rpartition('/')[2] for key in missing)} for {patience:.0f} "
                    "seconds; what was answered is kept, the same command asks what is missing"
                )
            time.sleep(POLL_SECONDS)

    def _unset(self, keys: Sequence[str]) -> list[str]:
        with reaching():
            return [key for key in keys if not self.store.check([key])]

    def _tell(self, error: BaseException) -> bool:
        """Whether this process was the first to fail."""
        usual = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        told = {"rank": self.rank, "exit_code": getattr(error, "exit_code", usual)}
        with suppress(RuntimeError):
            kept = self.store.compare_set("failure", "", json.dumps(told))
            return bool(json.loads(kept)["rank"] == self.rank)
        return True

    def _leave(self) -> None:
        """Wait until the others have come to the same end, but not for long."""
        end = time.monotonic() + LEAVING_SECONDS
        with suppress(RuntimeError):
            self.store.add("left", 1)
            while self.store.add("left", 0) < self.world and time.monotonic() < end:
                time.sleep(POLL_SECONDS)


class Cursor:
    """A process's share of one run: whichever batch is next when it is free."""

    def __init__(self, ranks: Ranks, number: int) -> None:
        """Prepare.

        Args:
            ranks: the processes.
            number: of the run among those of the command.
        """
        self.part, self.first = ranks.rank, ranks.first
        self._ranks, self._run = ranks, f"run/{number}"

    def same(self, value: str | None) -> str:
        """The first process's value, for which the others wait."""
        key = f"{self._run}/value/0"
        with reaching():
            if self.first:
                self._ranks.store.set(key, str(value))
            # Reading the data and hashing the weights takes minutes; the first process tells when it fails.
            self._ranks.await_all([key], lambda: None, self._ranks.silence)
            return str(self._ranks.store.get(key).decode())

    def of(self, batches: Sequence[T]) -> Iterator[T]:
        """Batches that no other process has taken."""
        stretches = _stretches(len(batches), self._ranks.world)
        while (number := self.add("cursor", 1) - 1) < len(stretches):
            for batch in batches[stretches[number]]:
                self.add(f"taken/{self.part}", 1)
                self._ranks.check()
                yield batch

    def add(self, counter: str, amount: int) -> int:
        """Raise a counter that all processes of the run share."""
        with reaching():
            return int(self._ranks.store.add(f"{self._run}/{counter}", amount))

    def finish(self) -> None:
        """Say that this process has asked its batches; the first one waits until all have.

        Raises:
            IncompleteRunError: a process is lost.
        """
        done = [f"{self._run}/done/{rank}" for rank in range(self._ranks.world)]
        with reaching():
            self._ranks.store.set(done[self.part], "")
        if self.first:
            self._ranks.await_all(done, self._signs, self._ranks.silence)

    def _signs(self) -> list[int]:
        return [self.add(f"taken/{rank}", 0) for rank in range(self._ranks.world)]


def _stretches(count: int, world: int) -> list[slice]:
    """Neighbouring batches that a process takes at once: many at first, one at the end, so that all end together.

    Questions of one picture stand in neighbouring batches, and each process that asks some of them encodes the picture.

    Args:
        count: of all batches.
        world: number of processes.
    """
    found, first = [], 0
    while first < count:
        size = max(1, (count - first) // (STRETCHES * world))
        found.append(slice(first, first + size))
        first += size
    return found


@contextmanager
def reaching() -> Iterator[None]:
    """Say what it means when the store cannot be reached.

    Raises:
        IncompleteRunError: the process that keeps it is gone.
    """
    from torch.distributed import DistError

    try:
        yield
    except DistError as error:
        raise IncompleteRunError(
            "the process through which the ranks talk has ended; what was answered is kept, the same command asks what "
            "is missing"
        ) from error


def together(ranks: Ranks | None) -> AbstractContextManager[None]:
    """`Ranks.together`, also for a process that is alone."""
    return ranks.together() if ranks else nullcontext()


def ranks_here() -> Ranks | None:
    """The processes that this one was started with, joined on first use; None where it is alone.

    Raises:
        UsageError: they do not find one another.
    """
    launch = launched(os.environ)
    return joined(launch) if launch else None


@cache
def joined(launch: Launch) -> Ranks:
    """Meet the other processes, and take a GPU of one's own where there are some.

    Raises:
        UsageError: they do not come.
    """
    import torch
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed import DistError
    from torch.distributed.rendezvous import rendezvous

    where = f"env://?rank={launch.rank}&world_size={launch.world}"
    try:
        store, _, _ = next(rendezvous(where, timeout=timedelta(seconds=JOIN_SECONDS)))
    except (DistError, OSError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UsageError(
            f"rank {launch.rank} of {launch.world} does not find the others at {place} ({type(error).__name__}); start "
            "all of them with torchrun or srun, see docs/many_gpus.md"
        ) from error
    if torch.cuda.is_available():
        # `cuda` then means this one everywhere, and run keys need not know which it is.
        torch.cuda.set_device(launch.local % torch.cuda.device_count())
    # torchrun starts a group anew after a loss: what the lost one had taken is free again.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Ranks(PrefixStore(f"samtok-eval/{attempt}", store), launch.rank, launch.world)
