"""The folder of a training run: when it begins, goes on, is refused or cleared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.setting import Setting
from samtok_eval.training.folder import FINISHED, TrainingFolder, start_of

SETTINGS = {"rate": 0.1, "every": 5, "data": {"count": 3}}


@dataclass(frozen=True)
class Recipe:
    rate: float
    every: Annotated[int, Setting("How often.", free=True)] = 5
    smooth: float = 0.0


def newest(out):
    return next(iter(sorted(out.glob("state-*"))), None)


@pytest.fixture(params=[None, "binding"], ids=["flat", "nested"])
def folder(request, tmp_path):
    return TrainingFolder(tmp_path / "run", newest, ("state-*", "log"), Recipe, key=request.param)


def stopped(folder):
    """A run that stopped after its first state."""
    folder.begin(SETTINGS, "new")
    (folder.out / "state-1").mkdir()
    (folder.out / "log").touch()
    return folder


def begun_with(folder):
    card = folder.read()
    return card[folder.key] if folder.key else card


@pytest.mark.parametrize("start", ["new", "either", "fresh"])
def test_a_run_begins_in_a_folder_that_does_not_exist(folder, start):
    assert folder.begin(SETTINGS, start) is None
    assert begun_with(folder) == SETTINGS


@pytest.mark.parametrize("start", ["resume", "either"])
def test_a_stopped_run_goes_on_from_its_state(folder, start):
    assert stopped(folder).begin(SETTINGS, start) == folder.out / "state-1"
    assert (folder.out / "log").exists()


def test_a_run_is_not_begun_over_another(folder):
    with pytest.raises(UsageError, match=r"holds a run already; give --resume .* --fresh .* another --out"):
        stopped(folder).begin(SETTINGS, "new")


def test_without_a_state_there_is_nothing_to_resume_and_nothing_to_lose(folder):
    folder.begin(SETTINGS, "new")
    with pytest.raises(UsageError, match="holds no run to resume"):
        folder.begin(SETTINGS, "resume")
    for start in ("new", "either"):
        assert folder.begin(SETTINGS | {"rate": 0.2}, start) is None
    assert begun_with(folder)["rate"] == 0.2


@pytest.mark.parametrize("start", ["resume", "either"])
def test_other_settings_are_named_with_both_values(folder, start):
    other = SETTINGS | {"rate": 0.2, "data": {"count": 4}, "new": None}
    with pytest.raises(UsageError, match=r"rate was 0\.1, now 0\.2; data\.count was 3, now 4; give the old ones"):
        stopped(folder).begin(other, start)


def test_a_free_setting_may_change_and_is_written_down(folder):
    stopped(folder).begin(SETTINGS | {"every": 9}, "resume")
    assert begun_with(folder)["every"] == 9
    folder.begin(SETTINGS | {"every": None}, "resume")
    assert begun_with(folder)["every"] == 9


def test_a_run_from_before_a_setting_existed_goes_on_under_its_default(folder):
    assert stopped(folder).begin(SETTINGS | {"smooth": 0.0}, "resume") == folder.out / "state-1"
    with pytest.raises(UsageError, match=r"smooth was 0\.0, now 0\.1"):
        folder.begin(SETTINGS | {"smooth": 0.1}, "resume")


def test_a_fresh_run_leaves_nothing_of_the_old_one_but_its_checkpoint(folder):
    (stopped(folder).out / "model.safetensors").touch()
    assert folder.begin(SETTINGS | {"rate": 0.2}, "fresh") is None
    assert {path.name for path in folder.out.iterdir()} == {"training.json", "model.safetensors"}
    assert begun_with(folder)["rate"] == 0.2


def test_a_finished_run_is_neither_gone_on_with_nor_begun_again(tmp_path):
    folder = TrainingFolder(tmp_path, newest, ("state-*",), Recipe, key="binding")
    folder.begin(SETTINGS, "new")
    folder.note(state=FINISHED)
    with pytest.raises(UsageError, match="is finished; give another --out, or --fresh"):
        folder.begin(SETTINGS, "either")
    assert folder.begin(SETTINGS, "fresh") is None


@pytest.mark.parametrize("start", ["either", "fresh"])
def test_a_folder_of_something_else_is_left_alone(folder, start):
    folder.out.mkdir()
    (folder.out / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds something else"):
        folder.begin(SETTINGS, start)
    other = {"rate": 1} if folder.key else {"binding": {}}
    folder.card.write_text(json.dumps(other))
    with pytest.raises(UsageError, match="holds something else"):
        folder.begin(SETTINGS, start)
    folder.card.unlink()
    (folder.out / "state-1").mkdir()
    with pytest.raises(UsageError, match="holds something else"):
        folder.begin(SETTINGS, start)
    assert (folder.out / "thesis.tex").exists()


def test_a_broken_card_is_named(folder):
    stopped(folder).card.write_text("{")
    with pytest.raises(DataError, match=r"training\.json"):
        folder.begin(SETTINGS, "resume")


def test_resuming_and_starting_anew_exclude_each_other():
    assert [start_of(False, False), start_of(True, False), start_of(False, True)] == ["new", "resume", "fresh"]
    with pytest.raises(UsageError, match="--resume and --fresh"):
        start_of(True, True)
