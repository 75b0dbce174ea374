"""The format of fine-tuning conversations: what a right file is, and the line that a wrong one is refused by."""

from __future__ import annotations

import json
import re

import pytest

from samtok_eval.conversations.samples import right_answer
from samtok_eval.datasets.sft import image_path, read_sft, validate
from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.registry import load_tasks
from samtok_eval.sample import ImageRef, Sample, Target, Turn

SPAN = render([(44, 186)])
HUMAN = {"from": "human", "value": f"<image>\nWhat is {SPAN}?"}
GPT = {"from": "gpt", "value": "A cat."}


@pytest.mark.parametrize(
    ("images", "turns", "message"),
    [
        ("a.png", [HUMAN], "must alternate"),
        ("a.png", [], "must alternate"),
        ("a.png", [HUMAN, HUMAN], "must alternate"),
        ("a.png", [GPT, HUMAN], "must alternate"),
        ("a.png", [{"from": "user", "value": "<image>\nx"}, GPT], "human"),
        (["a.png", "b.png"], [HUMAN, GPT], "2 pictures but 1 <image> marks"),
        ("a.png", [{"from": "human", "value": "What?"}, GPT], "1 pictures but 0"),
        ("a.png", [{"from": "human", "value": "What? <image>"}, GPT], "must begin with <image>"),
        ("a.png", [{"from": "human", "value": "<image>\n "}, GPT], "human turn is empty"),
        ("a.png", [HUMAN, {"from": "gpt", "value": ""}], "gpt turn is empty"),
        ("a.png", [HUMAN, {"from": "gpt", "value": "An <image>."}], "gpt turn holds <image>"),
        ("a.png", [HUMAN, {"from": "gpt", "value": SPAN.replace("<|mt_end|>", "")}], "no_end"),
        ("a.png", [HUMAN, {"from": "gpt", "value": SPAN.replace("0442", "0142")}], "bad_range"),
        ("a.png", [HUMAN, {"from": "gpt", "value": "<|mt_44|>"}], "outside of a whole mask span"),
        ("a.png", [HUMAN, {"from": "gpt", "value": f'```json\n[{{"mask_2d": {SPAN}}}]\n```'}], "fenced JSON"),
        ("a.png", [HUMAN, {**GPT, "weight": 1}], "weight"),
    ],
)
def test_validate_names_file_and_line_of_a_wrong_conversation(tmp_path, images, turns, message):
    path = tmp_path / "some.json"
    right = json.dumps({"id": "1", "image": "a.png", "conversations": [HUMAN, GPT]})
    wrong = json.dumps({"id": "2", "image": images, "conversations": turns})
    path.write_text(f"[\n{right},\n{wrong}\n]\n")
    with pytest.raises(DataError, match=rf"some\.json:3: .*{re.escape(message)}"):
        validate(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[\n%s,\n%s\n]", "some.json:3: the id '1' occurs twice"),
        ("[\n%s\n%s\n]", "some.json:3: expected ',' or the ']'"),
        ("[\n%s\n", "some.json:3: expected ',' or the ']'"),
        ("[\n%s,\n]", "some.json:3: "),
        ("[\n%s\n]]", "some.json:3: expected"),
        ("[\n%s,\n{", "some.json:3: "),
        ("7", "some.json:1: "),
    ],
)
def test_validate_refuses_other_files(tmp_path, text, message):
    path = tmp_path / "some.json"
    right = json.dumps({"id": "1", "image": "a.png", "conversations": [HUMAN, GPT]})
    path.write_text(text.replace("%s", right))
    with pytest.raises(DataError, match=re.escape(message)):
        validate(path)
    path.write_text(right.replace('"id": "1", ', "") + "\n")
    assert validate(path).masks == 1
    with pytest.raises(DataError, match=r"some.json:1: picture .*a.png is missing"):
        validate(path, tmp_path)


def test_the_released_examples_are_right(tmp_path):
    """One of each answer that the released training documentation shows; files from elsewhere have no ids."""
    answers = [
        f'```json\n[{{"mask_2d": "{SPAN}", "label": "the left cat"}}]\n```',
        "No target.",
        f"<|object_ref_start|> A man <|object_ref_end|> {SPAN} rides.",
        f'```json\n[{{"subject": {{"mask_2d": "{SPAN}", "label": "man"}}, "predicate": "rides", '
        f'"object": {{"mask_2d": "{SPAN}", "label": "horse"}}}}]\n```',
    ]
    rows = [
        {"image": "a.png", "conversations": [{"from": "human", "value": "<image>\nx"}, {"from": "gpt", "value": text}]}
        for text in answers
    ]
    zoom = (
        f"<image>\nGiven a detailed description of this region {SPAN}. Zoom in with the perspective as <image>, {SPAN}."
    )
    rows.append({"image": ["a.png", "crop.jpg"], "conversations": [{"from": "human", "value": zoom}, GPT]})
    path = tmp_path / "some.json"
    path.write_text(json.dumps(rows, indent=2))
    assert [line for line, _ in read_sft(path)][:2] == [2, 15]
    counts = validate(path)
    assert (counts.conversations, counts.pictures, counts.views, counts.masks) == (5, 2, 0, 6)


def test_views_lie_beside_the_file_and_pictures_under_the_data_root(tmp_path):
    file = tmp_path / "out" / "conversations.json"
    assert image_path("region_views/a.jpg", file, tmp_path / "data") == tmp_path / "out" / "region_views" / "a.jpg"
    assert image_path("coco/a.jpg", file, tmp_path / "data") == tmp_path / "data" / "coco" / "a.jpg"


def test_several_targets_are_several_entries_and_none_is_said_in_words(demo_root):
    gres = load_tasks()["gres"]
    samples = gres.read(demo_root, "val")
    several = next(s for s in samples if len(s.target.masks) == 2)
    none = next(s for s in samples if s.target.no_target)
    text = right_answer(gres, several, [Codes(44, 186), Codes(1, 2)], "json")
    assert json.loads(text.removeprefix("```json\n").removesuffix("\n```")) == [
        {"mask_2d": SPAN, "label": several.phrase},
        {"mask_2d": render([(1, 2)]), "label": several.phrase},
    ]
    assert right_answer(gres, none, [], "json") == "No target."
    assert right_answer(gres, several, [Codes(44, 186), Codes(1, 2)], "words") == SPAN + render([(1, 2)])


def test_labels_are_escaped_as_json_needs_it(tmp_path):
    turns = (Turn("user", ('Please segment the "étoile" in this image.',)),)
    sample = Sample("1", ImageRef("1", tmp_path / "a.png", 2, 2), turns, Target(), phrase='the "étoile"')
    text = right_answer(load_tasks()["gres"], sample, [Codes(44, 186)], "json")
    assert text == f'```json\n[{{"mask_2d": "{SPAN}", "label": "the \\"étoile\\""}}]\n```'
