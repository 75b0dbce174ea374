"""A manifest is read as data: checked, typed, frozen, and written back with all that it held."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from samtok_eval.errors import DataError
from samtok_eval.run.manifest import manifest_of, read_manifest
from tests.test_interface import frozen


@pytest.fixture
def content():
    return frozen("manifest_oracle")


def test_what_is_read_is_written_again(content):
    assert manifest_of(content).to_json() == content


def test_keys_of_another_version_are_kept(content):
    content["fleet"] = {"nodes": 3}
    content["settings"]["temperature"] = 0.5
    content["dataset"]["licence"] = "CC0"
    assert manifest_of(content).replace(state="predicted").to_json() == content | {"state": "predicted"}


def test_keys_that_did_not_exist_yet_read_as_the_behaviour_of_then_and_stay_unwritten(content):
    for name in ("history", "group_pictures", "judge", "tasks_dirs"):
        del content["settings"][name]
    for name in ("scoring", "template", "packages", "git_commit", "hardware", "run_id"):
        del content[name]
    manifest = manifest_of(content)
    settings = manifest.settings
    assert (settings.history, settings.group_pictures, settings.judge, settings.tasks_dirs) == ("gt", True, None, ())
    assert (manifest.scoring, manifest.packages) == (None, {})
    assert (manifest.scored_version, manifest.scored_by) == (content["task_version"], content["samtok_eval"])
    assert manifest.to_json() == content


def test_a_manifest_cannot_be_changed(content):
    manifest = manifest_of(content)
    with pytest.raises(ValidationError, match="frozen"):
        manifest.state = "complete"
    with pytest.raises(ValidationError, match="frozen"):
        manifest.settings.seed = 1


def test_protocols_that_were_asked_for_are_read(content):
    content["settings"]["protocols"] = ["strict", "samtok"]
    assert manifest_of(content).settings.protocols == ("strict", "samtok")
    assert manifest_of(content).to_json() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("dataset"), "dataset: Field required"),
        (lambda m: m["settings"].pop("data_root"), r"settings\.data_root: Field required"),
        (lambda m: m["settings"].update(limit="8"), r"settings\.limit: Input should be a valid integer"),
        (lambda m: m["settings"].update(seed=-1), r"settings\.seed: Input should be greater than or equal to 0"),
        (lambda m: m["settings"].update(history="both"), r"settings\.history: Input should be 'gt' or 'pred'"),
        (lambda m: m["settings"].update(tasks_dirs="x"), r"settings\.tasks_dirs: Input should be a valid"),
        (lambda m: m["times"].update(finished=3), r"times\.finished: Input should be a valid string"),
        (lambda m: m["model"].update(name="\ud800"), "cannot be|Input should|Invalid JSON"),
        (lambda m: m["counters"].update(scored=1.5), r"counters\.scored"),
    ],
)
def test_another_shape_is_one_line_that_names_the_place(content, tmp_path, change, message):
    change(content)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
