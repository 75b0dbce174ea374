"""What two ranks gain: CPU seconds and work of one process against those of each of two, loading and scoring left out.

`python benchmarks/ranks.py [ROUNDS]` answers the demo questions of GRES in one process and then in two under torchrun,
one round after the other, and prints medians.

CPU seconds, because wall time on shared cores is noise. Even they depend on the neighbours in two ways: a busy core
computes slower (caches, memory, clock), and a rank that is held up leaves batches to the other, so that the slower of
the two in CPU seconds is the one that was asked to do more. Therefore several ratios are printed. The one of the row is
one process over the slower rank. The next one takes one process that has a neighbour, too: a second one that answers
the same. The one with even shares is two times one process over both ranks, which tells what the sharing itself costs.
The one of work takes tokens, patches and pictures instead of seconds, which no neighbour changes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import samtok_eval.run.predict as stage
from samtok_eval.run.evaluate import run
from samtok_eval.run.settings import RunOptions

BATCH_SIZE = 8
MARK = "ranks: "
UNITS = ("questions", "patches", "read", "written", "pictures")
"""Questions asked, patches that the vision encoder read, tokens read and written, pictures for the mask tokenizer."""


def measured(out: str) -> None:
    """Answer the questions as one of the processes that were started, and print this one's seconds and work."""
    predict = stage.predict

    def counted(task: Any, samples: Any, backend: Any, tokenizer: Any, *others: Any, **named: Any) -> Any:
        backend.work = work = Counter()
        generate, encode = backend.generate, tokenizer.encode_pixels

        def asked(requests: Any, longest: int) -> Any:
            work["questions"] += len(requests)
            return generate(requests, longest)

        def encoded(pixels: Any) -> Any:
            work["pictures"] += len(pixels)
            return encode(pixels)

        backend.generate, tokenizer.encode_pixels = asked, encoded
        started = time.process_time()
        counts = predict(task, samples, backend, tokenizer, *others, **named)
        seconds = time.process_time() - started
        sys.stdout.write(MARK + json.dumps({"seconds": seconds, **{unit: work[unit] for unit in UNITS}}) + "\n")
        sys.stdout.flush()
        return counts

    stage.predict = counted
    run(RunOptions(task="gres", device="cpu", batch_size=BATCH_SIZE, fresh=True, out=out), scoring=False)


def processes(count: int) -> list[dict[str, float]]:
    """What each of so many processes prints that share one run."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    with tempfile.TemporaryDirectory() as out:
        start = [sys.executable] if count == 1 else torchrun
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MEASURED": out}
        done = subprocess.run(
            [*start, str(Path(__file__).resolve())], capture_output=True, text=True, env=environment, check=False
        )
    found = [json.loads(line.partition(MARK)[2]) for line in done.stdout.splitlines() if MARK in line]
    if done.returncode or len(found) != count:
        raise RuntimeError(f"{count} processes ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return found


def neighbours() -> list[dict[str, float]]:
    """What two processes print that answer everything each, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return [found for (found,) in pool.map(processes, (1, 1))]


def main(rounds: int) -> None:
    """Compare one process with two."""
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        (one,), two = processes(1), processes(2)
        beside = statistics.mean(each["seconds"] for each in neighbours())
        slower = max(rank["seconds"] for rank in two)
        sums = {unit: sum(rank[unit] for rank in two) for unit in one}
        found = {
            "one process over the slower rank, CPU seconds": one["seconds"] / slower,
            "one process with a neighbour over the slower rank": beside / slower,
            "one process over both ranks, even shares": 2 * one["seconds"] / sums["seconds"],
            "one process over the larger share of questions": one["questions"] / max(r["questions"] for r in two),
            **{f"work with even shares: {unit}": 2 * one[unit] / sums[unit] for unit in UNITS},
        }
        for name, ratio in found.items():
            ratios.setdefault(name, []).append(ratio)
        sys.stdout.write(f"round {number}: one {one}\n" + "".join(f"  rank {rank}\n" for rank in two))
        sys.stdout.flush()
    for name, values in ratios.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        sys.stdout.write(f"{name}: {statistics.median(values):.2f} ({spread}, {rounds} rounds)\n")


if __name__ == "__main__":
    if "MEASURED" in os.environ:
        measured(os.environ["MEASURED"])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
