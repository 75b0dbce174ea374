"""CPU seconds that each process of a run spends on answering, loading and scoring left out.

`python benchmarks/ranks.py` is one process, `torchrun --nproc-per-node 2 benchmarks/ranks.py` two; the first number
over the larger of the others is what ranks gain. CPU seconds, because wall time on shared cores is noise.
"""

from __future__ import annotations

import os
import sys
import time

import samtok_eval.run.predict as stage
from samtok_eval.run.evaluate import run
from samtok_eval.run.settings import RunOptions

BATCH_SIZE = 8


def main() -> None:
    """Answer the demo questions of GRES, and print this process's seconds."""
    rank, predict = os.environ.get("RANK", "0"), stage.predict

    def timed(*arguments, **keywords):
        started = time.process_time()
        counts = predict(*arguments, **keywords)
        sys.stdout.write(f"rank {rank}: {time.process_time() - started:.2f} CPU s\n")
        return counts

    stage.predict = timed
    run(RunOptions(task="gres", device="cpu", batch_size=BATCH_SIZE, fresh=True), scoring=False)


if __name__ == "__main__":
    main()
