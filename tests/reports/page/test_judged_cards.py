"""Cards of judged captions say what the judge was asked and replied, whichever way its replies came."""

from __future__ import annotations

import json

import pytest

from samtok_eval.errors import DataError
from samtok_eval.metrics.judge import JUDGE_REPLIES, Replayed, key_of
from samtok_eval.registry import load_tasks
from samtok_eval.reports.page.cards import without
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.galleries import item_of
from samtok_eval.reports.page.page import write_report
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.samples.write import write_samples
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.folder import RunFolder
from samtok_eval.run.settings import RunOptions

REPLIES = {
    "dlc": "A. reply of the judge",
    "gar-detail": "True",
    "gar-simple": "False.",
    "ferret": "7 4\nreply of the judge",
    "ferret-reason": "6 5\nreply of the judge",
    "videorefer": "1. Subject Correspondence: 3\nreply of the judge",
    "videorefer-frames": "1. Subject Correspondence: 2\nreply of the judge",
    "mdvp": "8 4\nreply of the judge",
}
"""By split, each in the form that the benchmark asks for."""
LIMIT = 4
"""The first three regions of the demo's MDVP-Bench are in one picture."""


@pytest.fixture
def captions(tmp_path, demo_root):
    """Captions of a split in a file, the last one empty, and their samples."""

    def written(split):
        task = load_tasks()["region_caption"]
        samples = task.asked_with(None, split).read(demo_root, split)[:LIMIT]
        path = tmp_path / f"{split}.jsonl"
        texts = [f"thing number {number}" for number in range(LIMIT - 1)] + [""]
        rows = [{"id": sample.id, "text": text} for sample, text in zip(samples, texts, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return samples, path

    return written


def scored(split, captions, out, root, judge):
    """A run folder of the captions, judged."""
    options = RunOptions(
        task="region_caption", split=split, data_root=str(root), out=out, limit=LIMIT, judge=judge
    )  # fmt: skip
    return score_file(options, captions).path


def told(run):
    """What the cards of a run say of the judge, by sample."""
    answered = gather([read_scored(run)]).answered
    return {
        name: [
            (passage.title, ["".join(words.text for words in line) for line in passage.lines])
            for passage in item_of(answered, name).passages
            if passage.title.startswith("judge")
        ]
        for name in answered.records
    }


@pytest.mark.parametrize("split", REPLIES)
def test_a_replayed_judge_leaves_the_cards_of_the_one_that_was_asked(split, captions, demo_root, endpoint, tmp_path):
    samples, path = captions(split)
    endpoint.behave = lambda content: REPLIES[split]
    asked = scored(split, path, tmp_path / "asked", demo_root, f"openai:{endpoint.url}#j")
    count = len(endpoint.seen)
    replayed = scored(split, path, tmp_path / "replayed", demo_root, f"replay:{asked / JUDGE_REPLIES}")
    assert len(endpoint.seen) == count > 0
    cards = told(asked)
    assert cards == told(replayed)
    reply = f"reply: {REPLIES[split].splitlines()[0]}"
    for sample in samples[:-1]:
        assert cards[sample.id] and all(line[-1].startswith(reply) for _, line in cards[sample.id])
    if split == "mdvp":
        # One question about all regions of a picture stands on the card of each.
        assert cards[samples[0].id] == cards[samples[1].id]
        assert all(f"thing number {number}" in cards[samples[0].id][0][1][0] for number in (0, 1))

    report = gather([read_scored(replayed)])
    page = write_report(report, tmp_path / "report", write_samples(report, tmp_path / "report"))
    assert reply in page.read_text() and "thing number 1" in page.read_text()
    shards = [shard.read_text() for shard in (tmp_path / "report" / "samples").rglob("*.js")]
    assert any(json.dumps(reply)[1:-1] in shard for shard in shards)


def test_a_recording_without_prompts_leaves_them_with_its_replies(captions, demo_root, tmp_path):
    samples, path = captions("gar-detail")
    recorded = tmp_path / "detailed_eval.json"
    rows = [{"image": s.id, "model_output": f"thing number {i}", "eval_result": "True"} for i, s in enumerate(samples)]
    recorded.write_text(json.dumps(rows[:-1]))
    run = scored("gar-detail", path, tmp_path / "run", demo_root, f"replay:{recorded}")
    lines = [json.loads(line) for line in (run / JUDGE_REPLIES).read_text().splitlines()]
    assert [(line["judge"], line["reply"]) for line in lines] == [("replay:detailed_eval", "True")] * (LIMIT - 1)
    assert [len(cards) for cards in told(run).values()] == [1] * (LIMIT - 1) + [0]
    assert "- model_output: thing number 1\n" in lines[1]["prompt"]
    again = scored("gar-detail", path, run, demo_root, f"replay:{run / JUDGE_REPLIES}")
    assert len((again / JUDGE_REPLIES).read_text().splitlines()) == LIMIT - 1


def test_cards_show_the_judge_of_the_numbers_and_a_corrected_reply(captions, demo_root, endpoint, tmp_path):
    _, path = captions("gar-simple")
    endpoint.behave = lambda content: "True"
    run = scored("gar-simple", path, tmp_path / "run", demo_root, f"openai:{endpoint.url}#first")
    recording = tmp_path / "second.jsonl"
    rows = [json.loads(line) for line in (run / JUDGE_REPLIES).read_text().splitlines()]
    for reply in ("False", "False."):
        recording.write_text("".join(json.dumps({**row, "judge": "second", "reply": reply}) + "\n" for row in rows))
        scored("gar-simple", path, run, demo_root, f"replay:{recording}")
        assert {lines[1] for cards in told(run).values() for _, lines in cards} == {f"reply: {reply}"}
    with pytest.raises(DataError, match="2 judges, expected one: first, second; copy the lines of one"):
        Replayed(run / JUDGE_REPLIES)
    scored("gar-simple", path, run, demo_root, f"openai:{endpoint.url}#first")
    assert {lines[1] for cards in told(run).values() for _, lines in cards} == {"reply: True"}


@pytest.mark.parametrize(
    "task",
    ["region_caption:ferret", "region_caption:dlc", "region_caption:mdvp", "region_vqa:test", "region_vqa:videorefer"],
)
def test_words_that_were_scored_from_a_file_are_read_from_the_run(task, demo_root, tmp_path):
    name, split = task.split(":")
    samples = load_tasks()[name].asked_with(None, split).read(demo_root, split)[:3]
    texts = {samples[0].id: "thing 0", samples[1].id: ""}
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()))
    out = tmp_path / "run"
    score_file(RunOptions(task=name, split=split, data_root=str(demo_root), out=out, limit=3), path)
    path.unlink()
    RunFolder(out).official_format.joinpath("._captions.json").write_bytes(b"\0")
    report = gather([read_scored(out)])
    assert {key: answer.text for key, answer in report.answered.predictions.items()} == texts
    assert "thing 0" in write_report(report, tmp_path / "report").read_text()
    if name == "region_caption":
        RunFolder(out).official_format.joinpath("captions.json").write_text('[{"x": 1}]')
        with pytest.raises(DataError, match=r"captions\.json is not in the result format of region_caption"):
            gather([read_scored(out)])


def test_masks_that_were_scored_from_a_file_are_said_to_be_there(demo_root, tmp_path):
    samples = load_tasks()["reasonseg"].read(demo_root, "val", 2)
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": samples[0].id, "masks": [samples[0].target.masks[0].to_coco()]}) + "\n")
    out = tmp_path / "run"
    score_file(RunOptions(task="reasonseg", data_root=str(demo_root), out=out, limit=2), path)
    answered = gather([read_scored(out)]).answered
    said = [without(item_of(answered, sample.id)) for sample in samples]
    assert said == [["The answer was scored from a file, and is not in the run folder."], ["The answer is missing."]]


def test_every_prompt_that_is_asked_is_named_for_the_cards(demo_root, endpoint, tmp_path, captions):
    task = load_tasks()["region_caption"]
    samples, path = captions("mdvp")
    endpoint.behave = lambda content: REPLIES["mdvp"]
    run = scored("mdvp", path, tmp_path / "run", demo_root, f"openai:{endpoint.url}#j")
    answers = gather([read_scored(run)]).answered.predictions
    prompts = {
        key_of(prompt)
        for protocol in task.protocols
        for several in task.judge_prompts(samples, answers, protocol).values()
        for prompt in several
    }
    assert prompts == {json.loads(line)["prompt"] for line in (run / JUDGE_REPLIES).read_text().splitlines()}
