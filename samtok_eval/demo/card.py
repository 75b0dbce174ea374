"""Writes the card of the bundled checkpoint: `python -m samtok_eval.demo.card` after training it.

In: the checkpoint folder with its training logs. Out: `card.json` (recipe, CPU minutes, scores per kind of expression
beside the blind answers, hashes) and, on standard output, the tables that the docs quote.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from samtok_eval.demo.baselines import blind_scores, kinds_table
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.files import read_json_lines, read_object, write_json
from samtok_eval.registry import load_tasks
from samtok_eval.reports.summary import runs_table
from samtok_eval.reports.table import markdown
from samtok_eval.run.evaluate import run
from samtok_eval.run.samples import read_samples
from samtok_eval.run.settings import RunOptions

WEIGHTS = ("model.safetensors", "mask_tokenizer/model.safetensors")
LOGS = {
    "mask tokenizer": "mask_tokenizer/{}",
    "language model": "first_{}",
    "language model, choices": "{}",
}
"""Where each stage's `training.json` and `training_log.jsonl` lie."""
TRAIN = "train the checkpoint as `made_by` of the card says"


def main() -> None:
    """Evaluate, write the card, print the tables."""
    task = load_tasks()["gres"]
    with tempfile.TemporaryDirectory() as out:
        runs = [run(RunOptions(task="gres", model=model, out=Path(out))) for model in ("demo", "oracle", "random")]
    samples = read_samples(task, "val", "demo", None)
    demo = runs[0].metrics
    kinds = demo["slices"]["strict"]["kind"]
    blind = blind_scores(samples)
    card = {
        "what": "tiny Qwen3-VL with a SAM 2 mask tokenizer, trained on synthetic scenes; for tests and demos",
        "licence": "Apache-2.0",
        "made_by": [
            "samtok-eval train tokenizer --preset demo --out TOKENIZER",
            "samtok-eval train sft --preset demo --tokenizer TOKENIZER --out FIRST",
            "samtok-eval train sft --preset demo-choices --init FIRST --tokenizer TOKENIZER --out CHECKPOINT",
        ],
        "recipe": {name: read_object(_file(place, "training.json"), TRAIN) for name, place in LOGS.items()},
        "last_log_line": {
            name: read_json_lines(_file(place, "training_log.jsonl"), TRAIN)[-1] for name, place in LOGS.items()
        },
        "gres_val_strict": {name: value["value"] for name, value in demo["strict"].items()},
        "gres_val_giou_by_kind": {
            kind: {"n": kinds[kind]["giou"]["n"], "checkpoint": kinds[kind]["giou"]["value"], **_rounded(blind[kind])}
            for kind in kinds
        },
        "targets_answered_without_a_mask": [demo["counters"]["empty_on_target"], demo["counters"]["targets"]],
        "sha256": {name: _sha256(DEMO_CHECKPOINT / name) for name in WEIGHTS},
    }
    write_json(DEMO_CHECKPOINT / "card.json", card)
    sys.stdout.write(runs_table(task, runs, markdown) + "\n\n" + kinds_table(samples, runs) + "\n")


def _file(place: str, name: str) -> Path:
    return DEMO_CHECKPOINT / place.format(name)


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items() if name != "n"}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
