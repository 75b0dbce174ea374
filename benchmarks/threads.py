"""Seconds of answering 192 demo questions by one thread, by the default, and by as many threads as torch would take.

`env -u OMP_NUM_THREADS python benchmarks/threads.py 3`, on a machine that does nothing else: the least of three rounds,
by the clock and by the processor, loading and scoring left out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

import samtok_eval.run.predict as stage
from samtok_eval.run.evaluate import run
from samtok_eval.run.settings import RunOptions

QUESTIONS = 192


def main() -> None:
    """Answer in each way, round by round, and print the least seconds of each."""
    ways = {"one thread": 1, "default": None, f"torch's own {torch.get_num_threads()}": torch.get_num_threads()}
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    taken: list[tuple[float, float]] = []
    predict = stage.predict

    def timed(*arguments, **keywords):
        clock, processor = time.perf_counter(), time.process_time()
        counts = predict(*arguments, **keywords)
        taken.append((time.perf_counter() - clock, time.process_time() - processor))
        return counts

    stage.predict = timed
    with tempfile.TemporaryDirectory() as out:
        for _ in range(int(sys.argv[1])):
            for way, threads in ways.items():
                options = RunOptions(task="gres", limit=QUESTIONS, threads=threads, fresh=True, out=Path(out))
                run(options, scoring=False)
                seconds[way].append(taken[-1])
    one = [min(column) for column in zip(*seconds["one thread"], strict=True)]
    for way, rounds in seconds.items():
        least = [min(column) for column in zip(*rounds, strict=True)]
        ratios = [value / first for value, first in zip(least, one, strict=True)]
        sys.stdout.write(
            f"{way}: {least[0]:.2f} s by the clock ({ratios[0]:.2f} x one thread), "
            f"{least[1]:.2f} s by the processor ({ratios[1]:.2f} x)\n"
        )


if __name__ == "__main__":
    main()
