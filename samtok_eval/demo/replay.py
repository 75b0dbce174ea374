"""Answers of the bundled checkpoint that ship with the program, so that scores and reports need no torch.

`python -m samtok_eval.demo.replay` makes the archive anew after training, or when samples or prompts of a task change:
it asks checkpoint, oracle and random model on the demo benchmark. Out: `answers.zip` with the manifest and the
predictions of each run, without seconds, which describe one machine alone. `replayed` makes run folders of them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from samtok_eval.files import read_json_lines, write_bytes, write_json, write_text
from samtok_eval.run.evaluate import run_all, score_file
from samtok_eval.run.folder import Run, RunFolder
from samtok_eval.run.manifest import Manifest, manifest_of
from samtok_eval.run.settings import DEMO, RunOptions, ScoreOptions

ARCHIVE = Path(__file__).parent / "answers.zip"
TASKS = ("gres", "interactive", "region_vqa", "scene_graph")
"""Of the demo benchmark; none of their metrics needs Java or a model."""
MODELS = (DEMO, "oracle", "random")
MANIFEST, PREDICTIONS = "manifest.json", "predictions.jsonl"
FOLDER = "{run_id}-replayed"
"""Not the folder of a run that asks the model: it would find its questions answered."""
SAME_TIME = (2026, 1, 1, 0, 0, 0)
"""Of every file in the archive, so that equal answers make equal bytes."""


def replayed(out: Path, seed: int = 0) -> Iterator[tuple[str, list[Run]]]:
    """Score the shipped answers, task by task; needs no model and no torch.

    Args:
        out: where run folders go. One that is there from before is written again.
        seed: of the intervals.

    Yields:
        Each task's name, and the runs of `MODELS` in their order.
    """
    with ZipFile(ARCHIVE) as archive:
        for task in TASKS:
            yield task, [_scored(archive, task, model, out, seed) for model in MODELS]


def _scored(archive: ZipFile, task: str, model: str, out: Path, seed: int) -> Run:
    manifest = shipped_manifest(archive, task, model)
    path = out / task / manifest.split / model / FOLDER.format(run_id=manifest.run_id)
    folder = RunFolder(path)
    write_text(folder.part(), archive.read(f"{task}/{model}/{PREDICTIONS}").decode())
    settings = manifest.settings.model_copy(update={"out": str(out)})
    write_json(folder.manifest, manifest.replace(settings=settings, run_id=path.name).to_json())
    return score_file(ScoreOptions(task=task, out=path, seed=seed), path)


def shipped_manifest(archive: ZipFile, task: str, model: str) -> Manifest:
    """Who gave the shipped answers, and how they were asked."""
    return manifest_of(json.loads(archive.read(f"{task}/{model}/{MANIFEST}")))


def packed(runs: list[Run]) -> bytes:
    """The archive of some runs.

    Args:
        runs: of `MODELS` on `TASKS`, scored or not.
    """
    with tempfile.TemporaryFile() as file:
        with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=9) as archive:
            for run in runs:
                name = f"{run.manifest.task}/{run.manifest.model.name}"
                # Neither a place nor a state of the machine that asked is of use elsewhere.
                settings = run.manifest.settings.model_copy(update={"out": "runs"})
                manifest = run.manifest.replace(settings=settings, git_commit=None)
                _add(archive, f"{name}/{MANIFEST}", json.dumps(manifest.to_json(), indent=1))
                _add(archive, f"{name}/{PREDICTIONS}", "".join(map(_line, read_json_lines(RunFolder(run.path).part()))))
        file.seek(0)
        return file.read()


def _line(answer: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in answer.items() if key != "seconds"}, separators=(",", ":")) + "\n"


def _add(archive: ZipFile, name: str, content: str) -> None:
    entry = ZipInfo(name, SAME_TIME)
    entry.compress_type = ZIP_DEFLATED
    archive.writestr(entry, content)


def main() -> None:
    """Ask, and write the archive."""
    with tempfile.TemporaryDirectory() as out:
        asked = [RunOptions(task=task, model=model, out=Path(out)) for task in TASKS for model in MODELS]
        content = packed(run_all(asked, scoring=False))
    write_bytes(ARCHIVE, content)
    sys.stdout.write(f"{ARCHIVE}: {len(content)} bytes\n")


if __name__ == "__main__":
    main()
