"""The hash of a checkpoint: of every file that can change an answer, computed once, never out of date."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.files import cache_folder
from samtok_eval.models import fingerprint
from samtok_eval.models.fingerprint import folder_sha256


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A folder whose files count as long unchanged."""
    monkeypatch.setattr(fingerprint, "SETTLED_NS", 0)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    time.sleep(0.02)
    return folder


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files whose bytes were hashed so far."""
    names: list[str] = []
    original = fingerprint._hashed

    def counting(paths):
        names.extend(path.name for path in paths)
        return original(paths)

    monkeypatch.setattr(fingerprint, "_hashed", counting)
    return names


def test_it_is_the_hash_of_names_and_bytes_in_order(checkpoint):
    expected = hashlib.sha256(b"config.json{}model.safetensorsweights").hexdigest()
    assert folder_sha256(checkpoint) == expected


def test_notes_about_training_are_no_part_of_it(checkpoint):
    before = folder_sha256(checkpoint)
    for name in ("training.json", "card.json", "training_log.jsonl"):
        (checkpoint / name).write_text("{}")
    assert folder_sha256(checkpoint) == before


def test_it_is_computed_once(checkpoint, hashed):
    assert folder_sha256(checkpoint) == folder_sha256(checkpoint)
    assert hashed == ["config.json", "model.safetensors"]


def test_another_file_of_the_same_size_and_time_is_seen(checkpoint, hashed):
    before, stat = folder_sha256(checkpoint), (checkpoint / "model.safetensors").stat()
    (checkpoint / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(checkpoint / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert folder_sha256(checkpoint) != before
    assert len(hashed) == 4


@pytest.mark.parametrize(
    "change", [lambda f: (f / "tokenizer.json").write_text("{}"), lambda f: (f / "config.json").unlink()]
)
def test_a_file_more_or_less_is_seen(checkpoint, change):
    before = folder_sha256(checkpoint)
    change(checkpoint)
    assert folder_sha256(checkpoint) != before


def test_a_file_that_has_just_changed_is_not_remembered_since_it_may_change_again_at_once(checkpoint, monkeypatch):
    monkeypatch.setattr(fingerprint, "SETTLED_NS", 10**12)
    folder_sha256(checkpoint)
    assert not cache_folder().exists()


@pytest.mark.parametrize("content", ["", "[]", '{"files": 1}'])
def test_a_broken_cache_is_no_error(checkpoint, content):
    before = folder_sha256(checkpoint)
    (kept,) = (cache_folder() / "fingerprints").iterdir()
    kept.write_text(content)
    assert folder_sha256(checkpoint) == before


def test_a_cache_that_cannot_be_written_is_no_error(checkpoint):
    cache_folder().parent.mkdir()
    cache_folder().write_text("a file where the folder should be")
    assert folder_sha256(checkpoint) == folder_sha256(checkpoint)


def test_nothing_is_written_beside_the_weights():
    before = sorted(DEMO_CHECKPOINT.rglob("*"))
    folder_sha256(DEMO_CHECKPOINT)
    assert sorted(DEMO_CHECKPOINT.rglob("*")) == before
