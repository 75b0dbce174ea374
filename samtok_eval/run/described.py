"""Manifests before anything is known of the answers: of a run that is about to be asked, and of a file of predictions.

In: what is asked, of whom, and how. Out: a `Manifest`, with its run key where the answers will be ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import samtok_eval
from samtok_eval.files import write_json
from samtok_eval.run.fingerprints import (
    files_sha256,
    git_commit,
    hardware,
    images_sha256,
    now,
    samples_sha256,
    versions,
)
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.manifest import FOREIGN, SCHEMA_VERSION, Dataset, Manifest, Model, Settings, Times
from samtok_eval.run.prepared import Prepared
from samtok_eval.run.settings import RunOptions, recorded
from samtok_eval.run.signature import run_key
from samtok_eval.sample import Sample
from samtok_eval.task import Task


def manifest_of_run(ready: Prepared) -> Manifest:
    """The description of a run before anything is asked, with its key."""
    options, task, samples, chosen = ready.options, ready.task, ready.samples, ready.chosen
    dataset = Dataset(
        root=options.data_root,
        samples=len(samples),
        images=len({sample.image.id for sample in samples}),
        sha256=samples_sha256(samples),
        images_sha256=images_sha256(samples),
    )
    effective = {
        "device": chosen.device_name(),
        "dtype": str(chosen.torch_dtype()).removeprefix("torch."),
        "max_new_tokens": options.max_new_tokens or task.max_new_tokens,
    }
    if chosen.mask_dtype() != chosen.torch_dtype() and options.mask_dtype is None:
        effective["mask_dtype"] = "fp32"
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        state="predicting",
        task=task.metadata.name,
        task_version=task.metadata.version,
        split=ready.split,
        model=Model(name=ready.name, identity=ready.backend.identity()),
        tokenizer_sha256=ready.tokenizer_sha256,
        prompt=task.prompt.id if task.prompt else "none",
        template=task.prompt.template if task.prompt else "",
        dataset=dataset,
        settings=Settings(**recorded(options) | effective),
        passed=tuple(sorted(options.model_fields_set)),
        packages=versions(),
        samtok_eval=samtok_eval.__version__,
        git_commit=git_commit(),
        hardware=hardware(chosen.device_name(), ready.threads),
        times=Times(started=now()),
        counters={},
    )
    manifest = manifest.of_layout(task.layout)
    return manifest.replace(run_key=run_key(manifest))


def foreign_manifest(
    task: Task, split: str, samples: Sequence[Sample], options: RunOptions, given: Path, paths: Sequence[Path]
) -> Manifest:
    """The description of predictions that do not stand in a run folder of ours.

    Args:
        task: by whose rules they will be scored.
        split: that they answer.
        samples: everything that was to be answered.
        options: of the scoring.
        given: what the user named.
        paths: its files.
    """
    return Manifest(
        schema_version=SCHEMA_VERSION,
        state="predicted",
        task=task.metadata.name,
        task_version=task.metadata.version,
        split=split,
        model=Model(name=given.stem, identity={"predictions_sha256": files_sha256(paths)}),
        tokenizer_sha256=None,
        prompt=FOREIGN,
        predictions=str(given),
        dataset=Dataset(root=options.data_root, samples=len(samples), sha256=samples_sha256(samples)),
        settings=Settings(**recorded(options)),
        passed=tuple(sorted(options.model_fields_set)),
        samtok_eval=samtok_eval.__version__,
        times=Times(started=now()),
        counters={},
    ).of_layout(task.layout)


def saved(folder: RunFolder, manifest: Manifest) -> Manifest:
    """A manifest, which the folder now holds."""
    write_json(folder.manifest, manifest.to_json())
    return manifest
