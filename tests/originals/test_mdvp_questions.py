"""MDVP-Bench's questions about marked regions: the judge sees what the original's sees, and replies count the same."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.masks import area, box
from samtok_eval.metrics.mdvp import COLUMNS
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import Region
from tests.support.originals import ORIGINALS, paint_pictures, write_json

GOLDEN = json.loads((ORIGINALS / "mdvp_questions.json").read_text())
SHARED = json.loads((ORIGINALS / "mdvp.json").read_text())
SPLITS = {"mdvp-qa": "QA", "mdvp-brief": "brief_caption", "mdvp-relations": "Inter_Relationship"}


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_caption"]


@pytest.fixture
def root(tmp_path):
    for name, rows in GOLDEN["boxes"].items():
        write_json(tmp_path / "mdvp_bench" / "data" / name / f"{name}_box.json", rows)
    paint_pictures(tmp_path / "mdvp_bench" / "data", GOLDEN["pictures"])
    return tmp_path


def read(task, root, split):
    samples = task.read(root, split)
    return samples, [Prediction(id=sample.id, text=GOLDEN["answers"][sample.id]) for sample in samples]


def test_the_judge_sees_what_the_originals_judge_sees(task, root):
    sent = []
    for split in SPLITS:
        for sample, answer in zip(*read(task, root, split), strict=True):
            (prompt,) = task.judgings[split].prompts(sample, answer.text)
            text, picture = prompt.parts
            assert text.endswith(SHARED["tail"])
            told = {"system": prompt.system, "detail": prompt.detail, "max_tokens": prompt.max_tokens}
            assert told == SHARED["settings"]
            pixels = hashlib.sha256(np.asarray(Image.open(io.BytesIO(picture.png()))).tobytes()).hexdigest()
            sent.append({"text": text.removesuffix(SHARED["tail"]), "pixels": pixels})
    assert sorted(sent, key=lambda row: row["text"]) == sorted(GOLDEN["asked"], key=lambda row: row["text"])


@pytest.mark.parametrize("split", SPLITS)
def test_recorded_replies_give_the_numbers_that_the_original_prints(task, root, split):
    recorded = root / "gpt_score.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in GOLDEN["review"]))
    found = score(task, *read(task, root, split), protocols=["official"], judge=f"replay:{recorded}")
    printed = {
        name.removesuffix(f"_{SPLITS[split]}_box"): value for name, value in GOLDEN["printed"][SPLITS[split]].items()
    }
    expected = {
        f"{name}|replay:gpt_score": sum(printed[domain] for domain in domains) / len(domains)
        for name, domains in COLUMNS.items()
        if set(domains) <= set(printed)
    }
    values = {name: entry["value"] * 100 for name, entry in found.metrics["official"].items() if name != "empty"}
    # The original rounds both means of ratings to three decimals.
    assert values == pytest.approx(expected, abs=0.06)
    assert len(values) == {"mdvp-qa": 4, "mdvp-brief": 1, "mdvp-relations": 2}[split]


def test_strict_reads_ratings_out_of_ten_and_leaves_out_what_it_cannot_read(task, root):
    recorded = root / "gpt_score.jsonl"
    recorded.write_text("".join(json.dumps(row | {"answer2": "a thing"}) + "\n" for row in GOLDEN["review"]))
    samples = task.read(root, "mdvp-qa")
    answers = [Prediction(id=sample.id, text="a <|mt_0001|> thing") for sample in samples]
    found = score(task, samples, answers, protocols=["strict"], judge=f"replay:{recorded}")
    values = {name: entry["value"] for name, entry in found.metrics["strict"].items() if name != "empty"}
    # Android 7 4, two of natural 9 9 9 (unreadable) and 5 10, OCR 8 3 and "no idea", web 6.5 3, multi-panel 8 6.
    assert values == pytest.approx(
        {
            "mdvp_natural|replay:gpt_score": 2.0,
            "mdvp_multipanel|replay:gpt_score": 6 / 8,
            "mdvp_screenshot|replay:gpt_score": (4 / 7 + 3 / 6.5) / 2,
        }
    )
    assert sum(record.values["judge_unread"] for record in found.records) == 2


def test_a_missing_answer_stops_the_original_and_is_rated_as_an_empty_one_under_strict(task, root, endpoint):
    samples, answers = read(task, root, "mdvp-brief")
    endpoint.behave = lambda content: "8 2"
    found = score(task, samples, answers[1:], judge=f"openai:{endpoint.url}#j")
    assert found.metrics["counters"]["reference_crashes"] == {"official": 1}
    assert found.metrics["strict"]["mdvp_natural|j"]["value"] == 0.25
    assert "[Assistant 2]\n\n" in endpoint.seen[0]["messages"][1]["content"][0]["text"]


def test_every_region_is_named_before_the_question_which_stays_as_it_is(task, root):
    (sample,) = task.read(root, "mdvp-brief")
    ((row,),) = [GOLDEN["boxes"]["natural_brief_caption"]]
    (turn,) = sample.turns
    said = "".join("M" if isinstance(part, Region) else part for part in turn.parts)
    named = "\n".join(f"<Region {number}>: M" for number in range(1, len(row["bbox"]) + 1))
    assert said == f"{named}\n{row['question']}"
    for part, (x, y, width, height) in zip(
        [part for part in turn.parts if isinstance(part, Region)], row["bbox"], strict=True
    ):
        x1, y1, x2, y2 = box(part.mask)
        assert (x1, y1) == (int(x), int(y)) and x2 < x + width <= x2 + 1 and y2 < y + height <= y2 + 1
        assert area(part.mask) == (x2 - x1 + 1) * (y2 - y1 + 1)


@pytest.mark.parametrize("split", SPLITS)
def test_results_are_read_as_the_original_writes_them(task, root, split):
    samples, answers = read(task, root, split)
    rows = task.export(samples, {answer.id: answer for answer in answers})["captions.json"]
    assert task.foreign(rows) == answers
    theirs = ("image_name", "question_id", "question", "prediction", "answer")
    assert task.foreign([{name: row[name] for name in theirs} for row in rows]) == answers
    assert task.answer(samples[0], []) == rows[0]["answer"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "What is <Region 9>?"}, "names region 9, but"),
        ({"question": "What is <Region 0>?"}, "names region 0, but"),
        ({"bbox": []}, "no region is marked"),
        ({"bbox": [[900, 0, 2, 2]]}, "covers no pixel"),
        ({"bbox": [[1, 2, 3]]}, "not MDVP-Bench's own file"),
        ({"bbox": [[1, 2, float("inf"), 3]]}, "not MDVP-Bench's own file"),
        ({"image_name": "../../x.png"}, "not MDVP-Bench's own file"),
        ({"image_name": "absent.png"}, r"absent\.png"),
        ({"gt_answers": None}, "not MDVP-Bench's own file"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(task, root, change, message):
    name = "natural_brief_caption"
    path = root / "mdvp_bench" / "data" / name / f"{name}_box.json"
    write_json(path, [GOLDEN["boxes"][name][0] | change])
    with pytest.raises(DataError, match=message):
        task.read(root, "mdvp-brief")


def test_two_questions_about_pictures_of_one_name_are_refused(task, root):
    name = "natural_brief_caption"
    write_json(root / "mdvp_bench" / "data" / name / f"{name}_box.json", GOLDEN["boxes"][name] * 2)
    with pytest.raises(DataError, match=r"two questions of brief_caption are about natural_brief_caption0\.png"):
        task.read(root, "mdvp-brief")
    assert len(task.read(root, "mdvp-brief", 1)) == 1
