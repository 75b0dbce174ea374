"""Prompts: drawn from scenes, and read from files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl")

from samtok_eval.demo.training.grpo import _prompts
from samtok_eval.demo.training.grpo_questions import scene_prompts
from samtok_eval.errors import DataError, UsageError
from samtok_eval.training.grpo.prompts import GCG, GRES, GrpoPrompt, dataset_of, read_prompts
from samtok_eval.training.grpo.recipe import GrpoJob
from tests.support.grpo import ROW, recipe, write_rows


def test_scenes_give_the_asked_shares_of_captions_and_of_questions_without_target(scenes):
    found = scene_prompts(scenes, 200, 0.2, 0.25, 0)
    captions = [p for p in found if p.source == GCG]
    empty = [p for p in found if p.reference == "No target."]
    assert len(captions) / len(found) == pytest.approx(0.25, abs=0.05)
    assert len(empty) / (len(found) - len(captions)) == pytest.approx(0.2, abs=0.05)
    assert found == scene_prompts(scenes, 200, 0.2, 0.25, 0)
    assert {p.source for p in scene_prompts(scenes, 5, 0.0, 0.0, 0)} == {GRES}
    with pytest.raises(UsageError, match="--gcg-share must lie between 0 and 1, got 2"):
        scene_prompts(scenes, 1, 0.1, 2, 0)


def test_the_recipe_for_captions_asks_for_each_of_another_scene(demo_tokenizer):
    settings = recipe("demo-gcg", {"steps": 2, "prompts_per_step": 3})
    found = _prompts(settings, GrpoJob(Path("unused")), demo_tokenizer)
    assert [p.source for p in found] == [GCG] * 6
    assert len({p.images for p in found}) == 6


def test_every_epoch_has_its_own_order_and_thinking_is_asked_for_behind_the_text():
    rows = dataset_of([GrpoPrompt((), f"q{i}", "a", GRES) for i in range(9)], True, 2, 0)
    asked = [row[0]["content"] for row in rows["prompt"]]
    assert sorted(asked[:9]) == sorted(asked[9:]) != asked[:9]
    assert asked[:9] != asked[9:]
    assert asked[0][2:].startswith(" A conversation between User and Assistant.")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompt_files_have_the_released_columns(tmp_path, kind):
    (prompt,) = read_prompts(write_rows(tmp_path, [ROW], kind))
    assert (prompt.text, prompt.reference, prompt.source) == ("\nSegment it.", "No target.", "thinking_gres")
    assert prompt.images[0].opened().size == (8, 6)
    (row,) = dataset_of([prompt], False, 1, 0)
    assert row["images"][0].size == (8, 6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "x"}, "row 1 lacks answer, images, source"),
        (ROW | {"problem": "Segment <image> it."}, "expected as many <image> at the start"),
        (ROW | {"images": []}, "has 0 pictures"),
        (ROW | {"images": ["none.png"]}, r"picture 'none\.png' cannot be read"),
        (ROW | {"images": ["prompts.jsonl"]}, "cannot be read"),
        ([1], "must be a JSON object"),
    ],
)
def test_broken_rows_name_file_and_row(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_prompts(write_rows(tmp_path, [row], "jsonl"))


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", b"{"), ("a.parquet", b"no"), ("b.jsonl", b""), ("c.txt", None)]
)
def test_files_that_hold_no_prompts_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_prompts(tmp_path / name)
