"""MDVP-Bench's own scorer: the judge sees the same pictures and texts, and its replies count the same."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.datasets.mdvp import DOMAINS
from samtok_eval.errors import DataError
from samtok_eval.masks import encode
from samtok_eval.metrics.judge import JudgePrompt, Picture
from samtok_eval.metrics.mdvp import COLUMNS, CONTEXTS
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from tests.support.originals import ORIGINALS, paint_pictures, write_json

GOLDEN = json.loads((ORIGINALS / "mdvp.json").read_text())


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_caption"]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "mdvp_bench"
    rows = []
    for row in GOLDEN["regions"]:
        mask = np.zeros(row["size"], dtype=bool)
        x, y, width, height = row["box"]
        mask[y : y + height, x : x + width] = True
        kept = {name: row[name] for name in ("image_path", "dataset_name", "question", "caption")}
        rows.append({**kept, "mask_rle": encode(mask).to_coco()})
    write_json(folder / "mdvp_caption_mask.json", rows)
    for domain, pictures in GOLDEN["boxes"].items():
        write_json(folder / "data" / domain / f"{domain}_box.json", pictures)
    paint_pictures(folder / "data", GOLDEN["pictures"])
    return tmp_path


def asked(task, samples, answers, original):
    """What the judge is asked, each prompt once."""
    judging = task.judgings["mdvp"]
    captions = [answer.text for answer in answers]
    judgings = judging.together(samples, captions, original=original)
    prompts = [p for how, s, c in zip(judgings, samples, captions, strict=True) for p in how.prompts(s, c)]
    return list({prompt.key: prompt for prompt in prompts}.values())


def sent(prompt: JudgePrompt):
    text, picture = prompt.parts
    assert isinstance(picture, Picture)
    pixels = np.asarray(Image.open(io.BytesIO(picture.png())))
    return {"text": text.removesuffix(GOLDEN["tail"]), "pixels": hashlib.sha256(pixels.tobytes()).hexdigest()}


def read(task, root):
    samples = task.read(root, "mdvp")
    return samples, [Prediction(id=s.id, text=text) for s, text in zip(samples, GOLDEN["answers"], strict=True)]


def in_order(rows):
    return sorted(rows, key=lambda row: row["text"])


@pytest.mark.parametrize(("part", "original"), [("official", True), ("by_picture", False)])
def test_the_judge_sees_what_the_originals_judge_sees(task, root, part, original):
    samples, answers = read(task, root)
    prompts = asked(task, samples, answers, original)
    assert in_order(map(sent, prompts)) == in_order(GOLDEN[part]["asked"])
    for prompt in prompts:
        assert {"system": prompt.system, "detail": prompt.detail, "max_tokens": prompt.max_tokens} == GOLDEN["settings"]
        assert prompt.parts[0].endswith(GOLDEN["tail"])


def test_recorded_replies_give_the_numbers_that_the_original_prints(task, root):
    samples, answers = read(task, root)
    recorded = root / "gpt_score.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in GOLDEN["official"]["review"]))
    found = score(task, samples, answers, protocols=["official"], judge=f"replay:{recorded}").metrics["official"]
    printed = GOLDEN["official"]["printed"]
    for name, domains in COLUMNS.items():
        means = [printed[f"{domain}_detailed_caption_box"] for domain in domains]
        # The original rounds both means of ratings to three decimals.
        assert found[f"{name}|replay:gpt_score"]["value"] * 100 == pytest.approx(sum(means) / len(means), abs=0.06)


def test_a_picture_is_rated_once_and_what_cannot_be_read_is_left_out_under_strict(task, root):
    samples = task.read(root, "mdvp")
    answers = [Prediction(id=sample.id, text=f"thing {sample.id}") for sample in samples]
    rated = {"natural0.png": "8 4", "natural1.png": "no idea", "web": "5 10"}
    keys = [prompt.key for prompt in asked(task, samples, answers, original=False)]
    assert len(keys) == len(GOLDEN["pictures"]) < len(samples)
    replies = [next((reply for part, reply in rated.items() if part in key), "6 3") for key in keys]
    recorded = root / "judge_replies.jsonl"
    lines = [{"judge": "j", "prompt": key, "reply": reply} for key, reply in zip(keys, replies, strict=True)]
    recorded.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = score(task, samples, answers, protocols=["strict"], judge=f"replay:{recorded}")
    values = {name: found.metrics["strict"][f"{name}|j"]["value"] for name in COLUMNS}
    assert values == pytest.approx(
        {"mdvp_natural": 0.5, "mdvp_ocr": 0.5, "mdvp_multipanel": 0.5, "mdvp_screenshot": (0.5 + 2) / 2}
    )
    unread = [record.values["judge_unread"] for record in found.records]
    assert sum(unread) == 1 == sum("natural1" in sample.image.id for sample in samples)


def test_the_official_scorer_stops_where_a_line_is_missing_and_strict_rates_an_empty_caption(task, root, endpoint):
    samples, answers = read(task, root)
    endpoint.behave = lambda content: "6 3"
    found = score(task, samples, answers[:3] + answers[4:], judge=f"openai:{endpoint.url}#j")
    assert found.metrics["counters"]["reference_crashes"] == {"official": 1}
    assert set(found.metrics["official"]) == {"empty"}
    assert found.metrics["strict"]["mdvp_ocr|j"]["value"] == pytest.approx(0.5)
    assert any("<Region 1>: \n" in body["messages"][1]["content"][0]["text"] for body in endpoint.seen)


def test_results_come_back_by_number_and_the_originals_by_place(task, root):
    samples, answers = read(task, root)
    some = answers[1:4]
    rows = task.export(samples, {answer.id: answer for answer in some})["captions.json"]
    assert task.foreign(rows) == some
    theirs = [
        {"image_path": f"x/{s.image.id}", "caption": a.text, "gt": "?"} for s, a in zip(samples, answers, strict=True)
    ]
    assert task.foreign(theirs) == answers


def test_files_that_do_not_name_the_same_regions_are_refused(task, root):
    domain = "natural_detailed_caption"
    path = root / "mdvp_bench" / "data" / domain / f"{domain}_box.json"
    whole = json.loads(path.read_text())
    write_json(path, whole[:1])
    with pytest.raises(DataError, match="of another release, has no further box"):
        task.read(root, "mdvp")
    write_json(path, [{**whole[0], "image_name": "other.png"}, whole[1]])
    with pytest.raises(DataError, match=r"has a box in other\.png"):
        task.read(root, "mdvp")
    write_json(path, [{**whole[0], "bbox": [[1, 2, 3]]}, whole[1]])
    with pytest.raises(DataError, match="not MDVP-Bench's own file"):
        task.read(root, "mdvp")


def test_every_domain_is_in_one_column():
    assert sorted(domain for domains in COLUMNS.values() for domain in domains) == sorted(CONTEXTS) == sorted(DOMAINS)
