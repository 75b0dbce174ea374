"""Settings of the evaluations while a model trains, which all trainers of models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from samtok_eval.setting import COUNT, Setting


@dataclass(frozen=True, kw_only=True)
class EvaluatedWhileTraining:
    """Which tasks a model is evaluated on while it trains; nothing of it changes a weight."""

    eval_tasks: Annotated[
        str | None, Setting("TASK[:SPLIT],... that the model is evaluated on while it trains, see docs/watch.md.")
    ] = None
    eval_every: Annotated[int, Setting("Steps between these evaluations.", within=COUNT)] = 500
    eval_limit: Annotated[int | None, Setting("Only the first N samples of each.", within=COUNT)] = None
    eval_data_root: Annotated[str, Setting("Folder of the benchmarks' own files, or demo.")] = "demo"
