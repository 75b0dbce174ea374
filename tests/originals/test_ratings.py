"""Ferret-Bench's and VideoRefer-Bench-D's own scorers: the judge is asked the same, and its replies count the same."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError
from samtok_eval.masks import area, empty, encode
from samtok_eval.metrics.ratings import meant_aspects, meant_pair, original_pair
from samtok_eval.prediction import Prediction
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import Frame, Region
from tests.support.originals import ORIGINALS, cases

FERRET = json.loads((ORIGINALS / "ferret.json").read_text())
REASON = json.loads((ORIGINALS / "ferret_reason.json").read_text())
KEPT = "replay:theirs"


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_caption"]


def write_ferret(root, file="box_refer_caption.json", part="refer_desc"):
    given = root / "ferret_bench" / "ferret_gpt4_data" / part
    given.mkdir(parents=True)
    (root / "ferret_bench" / file).write_text(json.dumps(FERRET["annotations"]))
    for name in ("question", "answer", "context"):
        (given / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in FERRET[name]))
    (root / "coco" / "val2017").mkdir(parents=True)
    for row in FERRET["annotations"]:
        Image.new("RGB", (12, 9)).save(root / "coco" / "val2017" / row["image"])


def test_ferret_bench_is_asked_and_scored_as_by_the_original(task, tmp_path):
    write_ferret(tmp_path)
    samples = task.read(tmp_path, "ferret")
    answers = [Prediction(id=s.id, text=text) for s, text in zip(samples, FERRET["answers"], strict=True)]
    prompts = [p for s, a in zip(samples, answers, strict=True) for p in task.judgings["ferret"].prompts(s, a.text)]
    assert [[prompt.system, *prompt.parts] for prompt in prompts] == FERRET["asked"]
    assert {prompt.max_tokens for prompt in prompts} == {1024}
    recorded = tmp_path / "theirs.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in FERRET["review"]))
    found = score(task, samples, answers, protocols=["official"], judge=f"replay:{recorded}").metrics["official"]
    assert found[f"relative_score|{KEPT}"]["value"] * 100 == pytest.approx(FERRET["printed"], abs=0.06)
    pairs = [list(original_pair(row["content"])) for row in FERRET["review"]]
    assert pairs == [row["tuple"] for row in FERRET["review"]]


def test_questions_of_reasoning_are_scored_as_by_ferrets_own_script(task, tmp_path):
    write_ferret(tmp_path, "box_refer_reason.json", "refer_reason")
    samples = task.read(tmp_path, "ferret-reason")
    answers = [Prediction(id=s.id, text=text) for s, text in zip(samples, FERRET["answers"], strict=True)]
    judging = task.judgings["ferret-reason"]
    prompts = [p for s, a in zip(samples, answers, strict=True) for p in judging.prompts(s, a.text)]
    assert [[prompt.system, *prompt.parts] for prompt in prompts] == FERRET["asked"]
    pairs = [list(original_pair(row["content"], alone=True)) for row in FERRET["review"]]
    assert pairs == REASON["tuples"] != [row["tuple"] for row in FERRET["review"]]
    recorded = tmp_path / "theirs.jsonl"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in FERRET["review"]))
    found = score(task, samples, answers, protocols=["official"], judge=f"replay:{recorded}").metrics["official"]
    assert found[f"relative_score|{KEPT}"]["value"] * 100 == pytest.approx(REASON["printed"], abs=0.06)
    assert samples[0].turns[0].text.startswith("What of <mask ")


@pytest.mark.parametrize(
    ("reply", "pair"),
    [("7 4\nBecause.", (7, 4)), ("\n 8, 6", (8, 6)), ("Assistant: 7.5/10 and 3/10", (7.5, 3)), ("9  5", (9, 5)),
     ("7", None), ("", None), ("0 5", None), ("7 40", None), ("1 2 3", None), ("good\n7 4", None)],
)  # fmt: skip
def test_two_ratings_are_read_as_they_are_meant(reply, pair):
    assert meant_pair(reply) == pair


def test_an_unreadable_rating_is_left_out_under_strict(task, tmp_path):
    write_ferret(tmp_path)
    samples = task.read(tmp_path, "ferret")[:2]
    recorded = tmp_path / "theirs.jsonl"
    rows = [{"question_id": 0, "answer2": "a", "content": "8 4"}, {"question_id": 1, "answer2": "b", "content": "?"}]
    recorded.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [Prediction(id="0", text="a"), Prediction(id="1", text="b")]
    found = score(task, samples, answers, judge=f"replay:{recorded}")
    values = {p: (m[f"relative_score|{KEPT}"]["value"], m[f"relative_score|{KEPT}"]["n"])
              for p, m in found.metrics.protocols.items() for m in [found.metrics[p]]}  # fmt: skip
    assert values == {"strict": (0.5, 1), "official": (3 / 7, 2)}
    assert found.records[1].values["judge_unread"] == 1


@pytest.mark.parametrize("case", cases("videorefer"), ids=lambda case: case["name"])
def test_points_of_videorefer_bench_are_those_of_the_original(task, tmp_path, case):
    mask = encode(np.ones((3, 4), dtype=bool)).to_coco()
    folder = tmp_path / "videorefer_bench"
    folder.mkdir()
    marked = [{"2": {"segmentation": mask}}]
    rows = [
        {"video": row["video"], "caption": row["caption"], "frame_idx": "2", "annotation": marked}
        for row in case["rows"]
    ]
    (folder / "VideoRefer-Bench-D.json").write_text(json.dumps(rows))
    recorded = tmp_path / "theirs.json"
    recorded.write_text(json.dumps(case["rows"]))
    samples = task.read(tmp_path, "videorefer")
    answers = [Prediction(id=s.id, text=row["pred"]) for s, row in zip(samples, case["rows"], strict=True)]
    found = score(task, samples, answers, protocols=["official"], judge=f"replay:{recorded}").metrics["official"]
    for name, value in case["means"].items():
        entry = found[f"videorefer_{name}|{KEPT}"]
        assert (entry["value"], entry["n"]) == (pytest.approx(value, abs=1e-12), case["n"][name])
    assert found[f"videorefer_avg|{KEPT}"]["value"] == pytest.approx(case["avg"], abs=1e-12)


@pytest.mark.parametrize(
    ("reply", "points"),
    [("1. **Subject Correspondence**: 4\n2. Appearance description - 3/5", {"sc": 4, "ad": 3}),
     ("4. Hallucination Detection: 7", {}), ("Temporal Description: 2.5.", {"td": 2.5}), ("5 5 5 5", {}),
     ("Subject Correspondence is fine", {})],
)  # fmt: skip
def test_points_are_read_as_they_are_meant(reply, points):
    assert meant_aspects(reply) == {f"videorefer_{name}": value for name, value in points.items()}


def test_an_empty_description_has_no_points_and_a_missing_one_is_left_out_by_the_original(task, demo_root, endpoint):
    samples = task.read(demo_root, "videorefer")[:2]
    endpoint.behave = lambda system: "\n".join(f"{i}. {name}: 4" for i, name in enumerate(NAMES, 1))
    found = score(task, samples, [Prediction(id=samples[0].id, text="a ball")], judge=f"openai:{endpoint.url}#j")
    values = {p: found.metrics[p]["videorefer_avg|j"]["value"] for p in ("strict", "official")}
    assert values == {"strict": 2, "official": 4}
    (body,) = endpoint.seen
    assert [m["role"] for m in body["messages"]] == ["system", "user"] and body["max_tokens"] == 800
    right = samples[0].target.words["caption"]
    assert body["messages"][1]["content"] == f"##Correct answer: {right}\n##Predicted answer: a ball\n"


NAMES = ("Subject Correspondence", "Appearance Description", "Temporal Description", "Hallucination Detection")


def test_both_wordings_of_ferret_bench_hold_the_region(task, demo_root):
    usual = task.read(demo_root, "ferret")[0].turns[0]
    theirs = task.asked_with("ferret-question", "ferret").read(demo_root, "ferret")[0].turns[0]
    assert usual.parts == theirs.parts and usual.text.startswith("What is the interaction between the object <mask ")


def test_objects_that_are_not_marked_in_their_frame_are_refused(task, demo_root, tmp_path):
    (tmp_path / "videorefer_bench").mkdir()
    row = json.loads((demo_root / "videorefer_bench" / "VideoRefer-Bench-D.json").read_text())[0]
    frame = row["frame_idx"]
    for change in (
        {"frame_idx": "99"},
        {"frame_idx": "-1"},
        {"annotation": [{frame: {"segmentation": None}}]},
        {"annotation": [{frame: {"segmentation": empty(4, 4).to_coco()}}]},
    ):
        (tmp_path / "videorefer_bench" / "VideoRefer-Bench-D.json").write_text(json.dumps([row | change]))
        with pytest.raises(DataError, match="VideoRefer-Bench-D"):
            task.read(tmp_path, "videorefer")


def video(tmp_path, marked, frame="2"):
    (tmp_path / "videorefer_bench").mkdir(exist_ok=True)
    row = {"video": "a.mp4", "caption": "A dog.", "frame_idx": frame, "annotation": [marked]}
    (tmp_path / "videorefer_bench" / "VideoRefer-Bench-D.json").write_text(json.dumps([row]))
    return tmp_path


def mark(width=1):
    mask = np.zeros((6, 8), dtype=bool)
    mask[:2, :width] = True
    return {"segmentation": encode(mask).to_coco()}


def test_marked_frames_are_shown_in_the_order_of_time(task, tmp_path):
    root = video(tmp_path, {"10": mark(3), "2": mark(1), "7": {"segmentation": None}, "5": mark(2)})
    (sample,) = task.read(root, "videorefer-frames")
    assert [image.path.stem for image in sample.pictures] == ["2", "5", "10"]
    assert sample.image.id == "a.mp4" and {image.path.parent.name for image in sample.pictures} == {"a"}
    (turn,) = sample.turns
    assert [part.image.path.stem for part in turn.parts if isinstance(part, Frame)] == ["5", "10"]
    regions = [part for part in turn.parts if isinstance(part, Region)]
    assert [area(region.mask) for region in regions] == [2, 4, 6]
    assert [region.view and region.view.image for region in regions] == [None, *sample.pictures[1:]]
    said = "".join({Region: "M", Frame: ""}.get(type(part), part) for part in turn.parts)
    assert said == "Please give a detailed description of the highlighted object M, M, M in the video."
    assert sample.target.words == {"caption": "A dog."}
    (alone,) = task.read(root, "videorefer")
    assert [image.path.stem for image in alone.pictures] == ["2"]


def test_of_many_marked_frames_sixteen_are_shown_evenly_spread(task, tmp_path):
    root = video(tmp_path, {str(number): mark() for number in range(0, 310, 10)})
    (sample,) = task.read(root, "videorefer-frames")
    shown = [int(image.path.stem) for image in sample.pictures]
    assert len(shown) == 16 and (shown[0], shown[-1]) == (0, 300)
    assert {b - a for a, b in itertools.pairwise(shown)} == {20}


def test_an_object_that_is_marked_nowhere_is_refused(task, tmp_path):
    with pytest.raises(DataError, match="is not marked in any frame"):
        task.read(video(tmp_path, {"2": {"segmentation": None}}), "videorefer-frames")


def test_a_question_without_context_is_refused(task, tmp_path):
    write_ferret(tmp_path)
    (tmp_path / "ferret_bench" / "ferret_gpt4_data" / "refer_desc" / "context.jsonl").write_text("")
    with pytest.raises(DataError, match=r"context\.jsonl"):
        task.read(tmp_path, "ferret")


@pytest.mark.parametrize("split", ["ferret", "ferret-reason", "videorefer", "videorefer-frames"])
def test_results_come_back_under_the_same_ids(task, demo_root, split):
    samples = task.read(demo_root, split)[:2]
    answers = {s.id: Prediction(id=s.id, text=f"thing {s.id}") for s in samples}
    rows = task.export(samples, answers)["captions.json"]
    assert task.foreign(rows) == list(answers.values())
