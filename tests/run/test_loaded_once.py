"""A command of several runs loads each model once and hashes its weights once."""

from __future__ import annotations

import pytest

from samtok_eval.models import fingerprint
from samtok_eval.models.transformers_backend import TransformersBackend
from samtok_eval.run.evaluate import run_all
from samtok_eval.run.settings import RunOptions
from samtok_eval.tokenizer import MaskTokenizer


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What was loaded and hashed, in order."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[str] = []

    def counted(owner, name, label):
        original = getattr(owner, name)

        def call(*arguments, **keywords):
            seen.append(label)
            return original(*arguments, **keywords)

        monkeypatch.setattr(owner, name, call)

    counted(TransformersBackend, "__init__", "model")
    counted(MaskTokenizer, "from_pretrained", "mask tokenizer")
    counted(fingerprint, "_hashed", "weights")
    return seen


def options(demo_root, out, task, model="demo", **further):
    return RunOptions(task=task, model=model, data_root=str(demo_root), out=out, limit=2, **further)


def test_two_tasks_and_two_splits_of_one_model_load_it_once(demo_root, tmp_path, calls):
    tasks = [("gres", "val"), ("gres", "testA"), ("refcoco", "val"), ("reconstruction", None)]
    runs = run_all([options(demo_root, tmp_path, task, split=split) for task, split in tasks])
    assert calls == ["mask tokenizer", "model", "weights"]
    assert [run.manifest.task for run in runs] == [task for task, _ in tasks]
    assert all(run.metrics.protocols for run in runs)


def test_runs_come_back_in_their_order_whichever_model_is_loaded_first(demo_root, tmp_path, calls):
    named = [("gres", "oracle"), ("gres", "random"), ("refcoco", "oracle"), ("refcoco", "random")]
    runs = run_all([options(demo_root, tmp_path, *pair) for pair in named])
    assert [(run.manifest.task, run.manifest.model.name) for run in runs] == named
    assert calls == ["mask tokenizer", "mask tokenizer"]
