"""Region captions: DLC-Bench's published judgement, judges that fail, RefCOCOg references, and the zoomed question."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samtok_eval.datasets.dlc import read_dlc
from samtok_eval.datasets.visual_genome import read_visual_genome
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_json
from samtok_eval.mask_tokens import Codes, render
from samtok_eval.masks import decode
from samtok_eval.metrics.dlc import asked, meant_choice, official_points, points, read_choice, recognition, stops_at
from samtok_eval.metrics.judge import Replayed, open_judge
from samtok_eval.metrics.judges import Judges
from samtok_eval.passages import Answer, Exchange
from samtok_eval.prediction import Prediction
from samtok_eval.prompts import CAPTION_REGION, CAPTION_REGION_ZOOM
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from samtok_eval.sample import Crop, Graded, Region
from tests.conftest import shared

QUESTIONS = (
    Graded("What about the color?", (("It is not mentioned.", 0.0), ("It is red.", 1.0), ("Other.", -1.0)), "positive"),
    Graded("Does it name blue?", (("It says blue.", -1.0), ("It does not say blue.", 1.0)), "negative"),
)


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_caption"]


def honest(prompt):
    """Says yes, then reads the description word by word."""
    said = prompt.partition("The description is:\n")[2].partition("\n")[0]
    if "A. Yes" in prompt:
        return "A. Yes"
    if "blue" in prompt.partition("with one of the choices:")[2]:
        return "A" if "blue" in said else "B"
    return "B. It is red." if "red" in said else "A."


# ---- the published judgement ----


def test_the_published_replies_give_the_published_scores(task):
    root = shared("data", "dlc_bench").parent
    recorded = root / "dlc_bench" / "gar_1b_eval.json"
    samples = task.read(root, "dlc")
    assert (len(samples), sum(len(s.target.questions) for s in samples)) == (100, 892)
    answers = task.foreign(read_json(root / "dlc_bench" / "gar_1b.json"))
    found = score(task, samples, answers, judge=f"replay:{recorded}").metrics["official"]
    assert found["dlc_pos|replay:gar_1b_eval"]["value"] == pytest.approx(0.48891666666666667, abs=1e-12)
    assert found["dlc_neg|replay:gar_1b_eval"]["value"] == pytest.approx(0.87, abs=1e-12)
    assert found["dlc_avg|replay:gar_1b_eval"]["value"] == pytest.approx((0.48891666666666667 + 0.87) / 2)


def test_every_published_question_is_asked_word_for_word():
    folder = shared("data", "dlc_bench")
    recorded = read_json(folder / "gar_1b_eval.json")
    for region in read_dlc(folder):
        row = recorded[region.id]
        assert asked(row["pred"], region.name, region.questions) == row["prompt"]
        worth = official_points(row["response"], region.questions)
        assert worth == points(row["response"], region.questions)
        assert worth.recognised == row["recognition_result"]
        assert worth.positive == pytest.approx(row["score_pos"])
        assert worth.negative == pytest.approx(row["score_neg"])


def test_a_card_shows_what_the_judge_was_asked_and_replied(task, demo_root):
    sample = task.asked_with(None, "dlc").read(demo_root, "dlc")[0]
    prompts = asked("a red thing", sample.target.labels[0], sample.target.questions)
    exchanges = [Exchange(prompt, honest(prompt)) for prompt in prompts]
    answer = Answer("prediction", Prediction(id=sample.id, text="a red thing"), judged=exchanges)
    found = task.passages(sample, [answer], task.score(sample, answer.prediction, task.protocols[0]), task.protocols[0])
    told = {passage.title: ["".join(words.text for words in line) for line in passage.lines] for passage in found}
    assert told["answer"] == ["a red thing"]
    assert told["judge, question 1"] == ["whether the object was recognized", "reply: A. Yes"]
    first = sample.target.questions[0]
    assert first.question in told["judge, question 2"][0] and told["judge, question 2"][1].startswith("reply: ")
    assert len([title for title in told if title.startswith("judge")]) == 1 + len(sample.target.questions)
    silent = [Answer("prediction", answer.prediction, judged=[Exchange(prompt, None) for prompt in prompts])]
    record = task.score(sample, answer.prediction, task.protocols[0])
    told = {passage.title: passage.lines for passage in task.passages(sample, silent, record, task.protocols[0])}
    assert told["judge, question 1"][1][0].text == "no reply is kept"


# ---- reading replies ----


COLORS = ("It is not mentioned.", "It is red.", "Other.")


@pytest.mark.parametrize(
    ("reply", "choices", "official", "meant"),
    [
        # A choice, with or without its letter.
        ("B. It is red.", COLORS, 1, 1),
        (" it is red.\n", COLORS, 1, 1),
        ("b", COLORS, 1, 1),
        ("B.", COLORS, 1, 1),
        # The only choice that occurs goes before the letter.
        ("A. It is red.", COLORS, 1, 1),
        ("I think that it is red. Clearly.", COLORS, 1, 1),
        ("B. none of them", COLORS, 1, 1),
        ("Not: other. But it is red. Yes", COLORS, 1, 1),
        # Of several choices the last: to the scorer the one whose first occurrence begins last.
        ("I say yes and no", ("Yes", "No"), 1, 1),
        ("no, yes, no", ("Yes", "No"), 0, 1),
        ("so: large red ball", ("red ball", "large red ball", "blue"), 0, 1),
        ("red ball it is", ("red", "red ball"), 1, 1),
        # Part of a choice: to the scorer of the longest.
        ("mentioned", COLORS, 0, 0),
        ("is mentioned", ("It is mentioned.", "It is mentioned and red."), 1, None),
        ("Ye", ("Yes", "No"), 0, None),
        # A letter before something else.
        ("B\nbecause", COLORS, 1, 1),
        ("C) perhaps", COLORS, None, 2),
        ("(c)", COLORS, None, 2),
        ("b probably", COLORS, None, 1),
        ("A dark ladder", COLORS, None, None),
        ("a-frame", COLORS, None, None),
        # Words inside words.
        ("A noticeable ladder", ("Yes", "No"), 1, None),
        ("because", COLORS, None, None),
        ("The answer is D.", COLORS, None, None),
        ("?!", COLORS, None, None),
        ("Z", COLORS, None, None),
        ("f. it", COLORS, None, None),
    ],
)
def test_a_reply_is_read_as_the_official_scorer_does_or_as_it_is_meant(reply, choices, official, meant):
    assert read_choice(reply, choices) == official
    assert not stops_at(reply, choices)
    assert meant_choice(reply, choices) == meant


@pytest.mark.parametrize("reply", ["", " \n", "E", "e.", "D. something", "d\nsomething"])
def test_the_official_scorer_stops_at_an_empty_reply_and_at_a_letter_of_no_choice(reply):
    assert stops_at(reply, COLORS)
    assert read_choice(reply, COLORS) is None
    assert meant_choice(reply, COLORS) is None


def test_the_official_scorer_has_letters_for_five_choices():
    six = tuple(f"It is {color}." for color in ("red", "blue", "green", "white", "black", "grey"))
    assert not stops_at("E", six[:5])
    assert stops_at("It is red.", six)
    assert meant_choice("F", six) == 5


def test_an_unrecognised_description_earns_nothing_but_loses():
    assert points(["A. Yes", "B", "B"], QUESTIONS)[:3] == (1, 1, True)
    assert points(["B. No", "B", "B"], QUESTIONS)[:3] == (0, 0, False)
    assert points(["B. No", "C", "A"], QUESTIONS)[:3] == (-1, -1, False)
    assert points(["what?", "B", "hm"], QUESTIONS) == (0, 0, False, 2)
    assert points(["A", "B"], QUESTIONS[:1]).negative is None
    assert points(["A", "B"], QUESTIONS[1:]).positive is None


def test_the_official_scorer_gives_0_for_an_unread_reply_but_stops_without_a_recognition():
    assert official_points(["A", "hm", "B"], QUESTIONS) == (0, 1, True, 1)
    assert official_points(["A dark ladder", "B", "B"], QUESTIONS) is None
    assert official_points(["A", "", "B"], QUESTIONS) is None
    assert official_points(["A", "B"], QUESTIONS[1:]) is None


def test_a_class_that_ends_in_s_is_asked_about_as_several_but_for_a_bus():
    assert "objects in the description are scissors" in recognition("scissors").question
    assert "object in the description is a bus" in recognition("bus").question
    assert "object in the description is an owl" in recognition("owl").question


# ---- judges ----


def described(task, demo_root, count=3):
    return task.read(demo_root, "dlc")[:count]


def test_an_endpoint_judges_once_and_its_replies_can_be_replayed(task, demo_root, endpoint, tmp_path):
    samples = described(task, demo_root)
    answers = [Prediction(id=s.id, text=task.answer(s, [])) for s in samples]
    endpoint.behave = lambda prompt: "A. Yes" if "A. Yes" in prompt else "B"
    name, record = f"openai:{endpoint.url}#tiny-judge", tmp_path / "judge_replies.jsonl"
    first = score(task, samples, answers, judge=name, record=record)
    assert "dlc_avg|tiny-judge" in first.metrics["strict"]
    body = endpoint.seen[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-judge", 0, 300)
    # The texts of both protocols differ in nothing here, so that nothing is asked twice.
    prompts = [body["messages"][0]["content"] for body in endpoint.seen]
    assert len(prompts) == len(set(prompts)) == sum(1 + len(s.target.questions) for s in samples)
    again = score(task, samples, answers, judge=name, record=record)
    replayed = score(task, samples, answers, judge=f"replay:{record}")
    assert len(endpoint.seen) == len(prompts)
    assert first.metrics == again.metrics == replayed.metrics


def test_as_long_as_a_judge_owes_a_reply_there_are_no_points(task, demo_root, endpoint, tmp_path, caplog):
    samples = described(task, demo_root)
    answers = [Prediction(id=s.id, text=f"thing number {i}") for i, s in enumerate(samples)]
    endpoint.behave = lambda prompt: 400 if "thing number 1" in prompt else "A"
    found = score(task, samples, answers, judge=f"openai:{endpoint.url}#j", record=tmp_path / "r.jsonl")
    owed = 1 + len(samples[1].target.questions)
    assert set(found.metrics["strict"]) == set(found.metrics["official"]) == {"empty"}
    assert found.records[1].values["open_prompts"] == found.metrics["counters"]["open_prompts"] == owed
    assert f"left {owed} of" in caplog.text
    endpoint.behave = lambda prompt: "A"
    endpoint.seen.clear()
    whole = score(task, samples, answers, judge=f"openai:{endpoint.url}#j", record=tmp_path / "r.jsonl")
    assert len(endpoint.seen) == owed
    assert whole.metrics["strict"]["dlc_pos|j"]["n"] == 3
    assert whole.metrics["counters"]["open_prompts"] == 0


def test_nonsense_is_worth_nothing_and_counted(task, demo_root, endpoint):
    samples = described(task, demo_root, 1)
    endpoint.behave = lambda prompt: "\N{SNOWMAN} as an AI" if "A. Yes" not in prompt else "A. Yes"
    found = score(task, samples, [Prediction(id=samples[0].id, text="a thing")], judge=f"openai:{endpoint.url}#j")
    assert found.metrics["strict"]["dlc_pos|j"]["value"] == 0
    assert found.records[0].values["judge_unread"] == len(samples[0].target.questions)


def test_empty_captions_are_worth_nothing_and_only_official_asks_about_them(task, demo_root, endpoint):
    samples = described(task, demo_root, 1)
    endpoint.behave = honest
    answers = [Prediction(id=samples[0].id, text=" ")]
    strict = score(task, samples, answers, protocols=["strict"], judge=f"openai:{endpoint.url}#j")
    assert endpoint.seen == []
    assert [strict.metrics["strict"][m]["value"] for m in ("dlc_pos|j", "dlc_neg|j", "empty")] == [0, 0, 1]
    official = score(task, samples, answers, protocols=["official"], judge=f"openai:{endpoint.url}#j")
    assert "description is:\n \n" in endpoint.seen[0]["messages"][0]["content"]
    assert official.metrics["official"]["empty"]["value"] == 1


def test_official_asks_about_the_caption_as_it_came(task, demo_root, endpoint):
    samples = described(task, demo_root, 1)
    endpoint.behave = honest
    caption = "  A <b>red</b>  thing.\n<|im_end|> "
    score(task, samples, [Prediction(id=samples[0].id, text=caption)], protocols=["official"],
          judge=f"openai:{endpoint.url}#j")  # fmt: skip
    assert f"description is:\n{caption}\n" in endpoint.seen[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"text": "Error: the server is busy"},
        {"status": "error", "error": "out of memory"},
        {"text": "a thing to which no reply is read"},
    ],
)
def test_official_gives_no_points_where_the_scorer_stops_at_one_region(task, demo_root, endpoint, answer):
    samples = described(task, demo_root, 3)

    endpoint.behave = lambda prompt: "Maybe." if "no reply is read" in prompt else "A"
    answers = [Prediction(id=s.id, text="a thing") for s in samples[:2]]
    answers += [Prediction(id=samples[2].id, **answer)] if answer else []
    found = score(task, samples, answers, judge=f"openai:{endpoint.url}#j")
    assert found.metrics["counters"]["reference_crashes"] == {"official": 1}
    assert set(found.metrics["official"]) == {"empty"}
    assert "dlc_avg|j" in found.metrics["strict"]
    records = [record for record in found.records if record.protocol == "official"]
    assert [record.crashed for record in records] == [False, False, True]
    assert task.stopped(records, "official").endswith(f"stops at 1 of 3 regions, {samples[2].id} first")


def test_a_scorer_that_comes_to_its_end_stops_nowhere(task, demo_root, endpoint):
    samples = described(task, demo_root, 2)
    found = score(task, samples, [Prediction(id=s.id, text="a thing") for s in samples], protocols=["official"],
                  judge=f"openai:{endpoint.url}#j")  # fmt: skip
    assert found.metrics["counters"]["reference_crashes"] == {}
    assert "dlc_avg|j" in found.metrics["official"]
    assert task.stopped(found.records, "official") is None


@pytest.mark.parametrize("judge", ["openai:http://x", "llama", "replay:", "openai:#x"])
def test_judges_are_named_in_two_ways(task, judge):
    with pytest.raises(UsageError, match="replay:FILE"):
        task.check_judge(judge)


def test_recordings_are_checked(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"judge": "a", "prompt": "p", "reply": "A"}\n{"judge": "b", "prompt": "p", "reply": "B"}\n')
    with pytest.raises(DataError, match="2 judges"):
        Replayed(path)
    path.write_text('{"judge": "a", "prompt": "p", "reply": "A"}\n{"judge": "a", "pro')
    assert Replayed(path).replies(["p", "q"]) == {"p": "A"}
    path.write_text('{"prompt": "p"}\n{"judge": "a", "prompt": "p", "reply": "A"}\n')
    with pytest.raises(DataError, match=r"r\.jsonl:1"):
        Replayed(path)
    other = tmp_path / "x_eval.json"
    other.write_text('{"1": {"pred": "a dog"}}')
    with pytest.raises(DataError, match="prompt"):
        open_judge(f"replay:{other}", None)


# ---- questions, references, files ----


def test_small_regions_are_shown_again_with_words_of_their_own(task, demo_root):
    turn = task.read(demo_root, "dlc")[0].turns[0]
    text = "".join({Region: "M", Crop: "V"}.get(type(part), part) for part in turn.parts)
    assert text == CAPTION_REGION_ZOOM(region="M", view="V", region_in_view="M")
    masks = [part for part in turn.parts if isinstance(part, Region)]
    assert masks[0].view is None
    assert masks[1].view is not None
    plain = task.asked_with(CAPTION_REGION.id).read(demo_root, "dlc")[0].turns[0]
    assert not any(isinstance(part, Crop) for part in plain.parts)


def test_references_are_grouped_by_object(task, demo_root):
    samples = task.read(demo_root, "refcocog-val")
    sentences = load_tasks()["refcocog"].read(demo_root, "val")
    assert sum(len(s.target.texts) for s in samples) == len(sentences)
    assert len({s.id for s in samples}) == len(samples) < len(sentences)


def test_captions_are_cleaned_only_under_strict(task, demo_root, monkeypatch):
    seen = []

    class Scorer:
        def score(self, captions, references):
            from samtok_eval.metrics.captions import CaptionScores

            seen.append(list(captions))
            return CaptionScores([[1.0] * 23] * len(captions), [1.0] * len(captions))

    monkeypatch.setattr(Judges, "captions", Scorer())
    samples = task.read(demo_root, "refcocog-val")[:2]
    text = f"<think>hm</think><answer>A dog {render([Codes(1, 2)])}.</answer>"
    found = score(task, samples, [Prediction(id=samples[0].id, text=text)])
    assert seen == [["A dog .", ""], [text]], "GLaMM's scorer looks at the regions of the results alone"
    assert found.metrics["counters"]["missing"] == 1
    assert found.metrics["strict"]["empty"]["value"] == 0.5
    assert found.exports["captions.json"] == {samples[0].id: text}
    assert [p.id for p in task.foreign(found.exports["captions.json"])] == [samples[0].id]


def test_captions_of_others_are_read_but_for_the_question_that_dam_keeps_among_them(task):
    found = task.foreign({"7": "a dog", "8": None, "query": "<image>\nDescribe the masked region in detail."})
    assert found == [Prediction(id="7", text="a dog")]
    assert task.foreign([1]) is None
    for content in ({}, {"query": "Describe."}, {"7": None}):
        with pytest.raises(DataError, match="expected one caption per sample, got none"):
            task.foreign(content)
    with pytest.raises(DataError, match=r"sample 7: caption must be text or null, got \['a'\]"):
        task.foreign({"7": ["a"]})


# ---- Visual Genome ----


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([1, 2, 3, 1], [2], [1, 2, 3]),
        ([0.5, 0, 1, 1], [0], [0, 1]),
        ([-2, -1, 4, 3], [0, 1], [0, 1]),
        ([4, 3, 9, 9], [3], [4]),
        ([2, 2, 0, 0], [2], [2]),
    ],
)
def test_a_box_is_a_mask_of_all_pixels_that_it_touches(tmp_path, box, rows, columns):
    write_vg(tmp_path, bbox=box)
    found = np.argwhere(decode(read_visual_genome(tmp_path)[0].region))
    assert [sorted(set(axis)) for axis in found.T.tolist()] == [rows, columns]
    assert len(found) == len(rows) * len(columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [5, 0, 2, 2]}, "covers no pixel"),
        ({"bbox": [0, 0, 2]}, "not GLaMM's file"),
        ({"bbox": [0, 0, "2", 2]}, "not GLaMM's file"),
        ({"image_id": 8}, "not GLaMM's file"),
        ({"caption": None}, "not GLaMM's file"),
    ],
)
def test_regions_that_cannot_be_shown_are_named(tmp_path, change, message):
    write_vg(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        read_visual_genome(tmp_path)


def test_a_file_without_a_region_is_refused(tmp_path):
    (tmp_path / "test_caption.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="has no region"):
        read_visual_genome(tmp_path)


def write_vg(folder, **change):
    row = {"id": 7, "image_id": 7, "bbox": [0, 0, 1, 1], "caption": "a dog"} | change
    images = [{"id": 7, "file_name": "1.jpg", "height": 4, "width": 5}]
    (folder / "test_caption.json").write_text(json.dumps({"images": images, "annotations": [row]}))


def test_results_of_visual_genome_are_glamms_rows_and_come_back(task, demo_root):
    samples = task.read(demo_root, "vg")[:2]
    assert [s.id for s in samples] == ["1", "2"] and samples[0].image == samples[1].image
    answers = {samples[1].id: Prediction(id="2", text=" a dog ")}
    rows = task.export(samples, answers)["captions.json"]
    assert rows == [{"image_id": 2, "caption": " a dog "}]
    assert task.foreign(rows) == [Prediction(id="2", text=" a dog ")]


def test_errors_are_no_captions_to_hand_on(task, demo_root):
    samples = described(task, demo_root, 2)
    answers = {samples[0].id: Prediction(id=samples[0].id, status="error", error="boom", text=""),
               samples[1].id: Prediction(id=samples[1].id, text=" a dog ")}  # fmt: skip
    assert task.export(samples, answers) == {"captions.json": {samples[1].id: " a dog "}}


def test_broken_dlc_files_are_named(tmp_path, demo_root):
    import shutil

    with pytest.raises(DataError, match=r"annotations\.json"):
        read_dlc(tmp_path)
    folder = tmp_path / "dlc"
    shutil.copytree(demo_root / "dlc_bench", folder)
    names = json.loads((folder / "class_names.json").read_text())
    first = next(iter(names))
    (folder / "class_names.json").write_text(json.dumps({k: v for k, v in names.items() if k != first}))
    with pytest.raises(DataError, match=rf"class_names\.json has no region {first}"):
        read_dlc(folder)
    (folder / "class_names.json").write_text(json.dumps(names))
    questions = json.loads((folder / "qa.json").read_text())
    questions[first][0]["type"] = "neutral"
    (folder / "qa.json").write_text(json.dumps(questions))
    with pytest.raises(DataError, match="neutral"):
        read_dlc(folder)
