"""A judge that looks at pictures: what it is sent, what is kept, and judges that cannot look."""

from __future__ import annotations

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from samtok_eval.errors import DataError, UsageError
from samtok_eval.masks import empty
from samtok_eval.metrics.gar_caption import meant_verdict
from samtok_eval.metrics.judge import JudgePrompt, OpenAIJudge, Picture, Replayed
from samtok_eval.prediction import Prediction
from samtok_eval.regions import as_png
from samtok_eval.registry import load_tasks
from samtok_eval.run.score import score
from tests.support.command import command


@pytest.fixture(scope="module")
def task():
    return load_tasks()["region_caption"]


@pytest.fixture
def some(task, demo_root):
    """Three samples and captions of all three."""
    samples = task.read(demo_root, "gar-detail")[:3]
    return samples, [Prediction(id=s.id, text=f"thing number {i}") for i, s in enumerate(samples)]


def texts(content):
    """The texts of a message; a picture is a line of its own."""
    return content if isinstance(content, str) else "|".join(part.get("text", "PICTURE") for part in content)


def test_the_judge_sees_the_picture_and_of_each_region_a_view_and_a_mask(task, some, demo_root, endpoint):
    samples, answers = some
    endpoint.behave = lambda content: "True"
    found = score(task, samples[:1], answers[:1], protocols=["strict"], judge=f"openai:{endpoint.url}#j")
    (body,) = endpoint.seen
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("j", 0, 1000)
    (message,) = body["messages"]
    sent = texts(message["content"])
    assert sent.startswith("\n1. The original image:\n|PICTURE|\n2. <Prompt0>:\n|PICTURE|\n3. The mask of <Prompt0>:\n")
    assert sent.count("PICTURE") == 5 and "- model_output: thing number 0\n" in sent
    urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(urls[0].partition(",")[2]))))
    assert (first == np.asarray(Image.open(samples[0].image.path).convert("RGB"))).all()
    assert found.metrics["strict"]["judge_accuracy|j"]["value"] == 1


def test_replies_are_kept_under_names_of_pictures_and_replay_without_them(task, some, demo_root, endpoint, tmp_path):
    samples, answers = some
    endpoint.behave = lambda content: "True" if "thing number 1" in texts(content) else "False"
    record = tmp_path / "judge_replies.jsonl"
    first = score(task, samples, answers, judge=f"openai:{endpoint.url}#j", record=record)
    assert first.metrics["strict"]["judge_accuracy|j"]["value"] == pytest.approx(1 / 3)
    assert len(endpoint.seen) == 3, "protocols ask the same, once"
    prompt = json.loads(record.read_text().splitlines()[0])["prompt"]
    assert "<picture: images/caption_detailed_" in prompt and "base64" not in prompt
    blind = tmp_path / "blind"
    (blind / "gar_bench").mkdir(parents=True)
    shutil.copy(demo_root / "gar_bench" / "GAR-Bench-Caption-Detailed.json", blind / "gar_bench")
    unseen = task.read(blind, "gar-detail")[:3]
    assert not unseen[0].image.path.exists()
    assert score(task, unseen, answers, judge=f"replay:{record}").metrics == first.metrics
    with pytest.raises(DataError, match=r"caption_detailed_\d+\.png"):
        score(task, unseen, [Prediction(id=s.id, text="another") for s in unseen], judge=f"openai:{endpoint.url}#j")


def test_a_judge_that_takes_no_pictures_is_an_error_and_no_score(some, demo_root, endpoint, tmp_path):
    samples, answers = some
    endpoint.behave = lambda content: "yes" if isinstance(content, str) else 400
    with pytest.raises(UsageError, match=r"the judge blind at .* takes no pictures .*name a model that takes some"):
        score(load_tasks()["region_caption"], samples, answers, judge=f"openai:{endpoint.url}#blind")
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": a.id, "text": a.text}) + "\n" for a in answers))
    done = command("score", "--task", "region_caption:gar-detail", "--data-root", demo_root, "--predictions", path,
                   "--limit", 3, "--judge", f"openai:{endpoint.url}#blind", "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 1 and "takes no pictures" in done.stderr
    assert not (tmp_path / "out" / "metrics.json").exists()


def grey(name):
    return Picture(name, lambda: as_png(np.zeros((2, 2), dtype=np.uint8)))


def prompt_of(text):
    return JudgePrompt((grey("dot"), text), system="Be strict.", max_tokens=7, detail="high")


def test_one_refused_picture_is_an_open_prompt_where_the_judge_takes_others(endpoint):
    endpoint.behave = lambda content: 400 if "too large" in texts(content) else "yes"
    refused, fine = (JudgePrompt((grey("dot"), text)) for text in ("too large", "small"))
    judge = OpenAIJudge(endpoint.url, "j", None, retries=0)
    for _ in range(2):
        assert judge.replies([refused, fine]) == {fine.key: "yes"}
    asked = [texts(body["messages"][0]["content"]) for body in endpoint.seen]
    assert sum("Answer with the word yes." in text for text in asked) == 1, "looked into once"


def test_a_judge_that_refuses_everything_leaves_prompts_open(endpoint):
    endpoint.behave = lambda content: 401
    assert OpenAIJudge(endpoint.url, "j", None, retries=0).replies([prompt_of("a")]) == {}


def test_system_message_limit_and_detail_are_sent(endpoint):
    OpenAIJudge(endpoint.url, "j", None).replies([prompt_of("a"), JudgePrompt(("b", "c"), system="Be kind.")])
    plain, pictured = sorted(endpoint.seen, key=lambda body: isinstance(body["messages"][1]["content"], list))
    assert pictured["messages"][0] == {"role": "system", "content": "Be strict."} and pictured["max_tokens"] == 7
    assert pictured["messages"][1]["content"][0]["image_url"]["detail"] == "high"
    assert [message["content"] for message in plain["messages"]] == ["Be kind.", "bc"]


def test_prompts_that_show_other_pictures_or_set_another_tone_are_others():
    keys = {
        JudgePrompt((grey(name), "a"), system=system).key for name in ("dot", "line") for system in ("", "Be strict.")
    }
    assert len(keys) == 4


# ---- GAR-Bench ----


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("True", True), (" true.\n", True), ('"False"', False), ("**True**", True), ("FALSE", False), ("yes", None),
     ("", None), ("True or False", None)],
)  # fmt: skip
def test_a_verdict_is_read_as_it_is_meant(reply, verdict):
    assert meant_verdict(reply) is verdict


def test_strange_verdicts_are_wrong_and_counted(task, some, endpoint):
    samples, answers = some
    endpoint.behave = lambda content: "true." if "thing number 0" in texts(content) else "I cannot tell"
    found = score(task, samples, answers, judge=f"openai:{endpoint.url}#j")
    values = {p: found.metrics[p]["judge_accuracy|j"]["value"] for p in ("strict", "official")}
    assert values == {"strict": pytest.approx(1 / 3), "official": 0}
    assert [r.values["judge_unread"] for r in found.records if r.protocol == "strict"] == [0, 1, 1]


def test_no_caption_is_wrong_under_strict_and_official_looks_at_the_results_alone(task, some, endpoint):
    samples, answers = some
    endpoint.behave = lambda content: "True"
    given = [answers[0], Prediction(id=samples[1].id, text=" ")]
    strict = score(task, samples, given, protocols=["strict"], judge=f"openai:{endpoint.url}#j")
    assert len(endpoint.seen) == 1
    official = score(task, samples, given, protocols=["official"], judge=f"openai:{endpoint.url}#j")
    scores = [found.metrics[p]["judge_accuracy|j"] for p, found in (("strict", strict), ("official", official))]
    assert [(value["value"], value["n"]) for value in scores] == [(1 / 3, 3), (1, 2)]


def test_what_a_judge_alone_can_give_is_named_for_each_benchmark(task, some):
    samples, answers = some
    assert set(score(task, samples, answers).absent) == {"judge_accuracy"}


def test_the_recording_of_another_description_is_no_reply(task, some, tmp_path):
    samples, answers = some
    path = tmp_path / "x_eval.json"
    path.write_text(json.dumps([{"image": samples[0].id, "model_output": "other words", "eval_result": "True"}]))
    found = score(task, samples[:1], answers[:1], judge=f"replay:{path}")
    assert found.metrics["counters"]["open_prompts"] == 1
    path.write_text(json.dumps([{"image": samples[0].id, "model_output": "other words"}]))
    with pytest.raises(DataError, match="eval_result"):
        Replayed(path)


def test_each_split_is_asked_with_its_own_prompt(task, demo_root):
    named = task.asked_with(None, "gar-detail")
    assert named.prompt.id == "gar-detail" and task.prompt.id == "caption-region-zoom"
    theirs = task.asked_with("gar-detail-official", "gar-detail").read(demo_root, "gar-detail")[0]
    assert theirs.turns[0].text.startswith("Describe <mask ") and theirs.turns[0].text.count("<mask ") == 2
    usual = task.read(demo_root, "gar-detail")[0].turns[0].text
    assert usual.startswith("1. Describe <mask ") and usual.count("<mask ") == 3
    with pytest.raises(UsageError, match="region_caption:gar-detail has no prompt 'caption-region'"):
        task.asked_with("caption-region", "gar-detail")


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("gar-detail", lambda row: row["mask_rles"].pop(), "has one region; expected those of subject and object"),
        ("gar-detail", lambda row: row.pop("predicate_name"), "predicate_name"),
        ("gar-simple", lambda row: row.update(mask_rles=[]), "has no region"),
        ("gar-simple", lambda row: row["mask_rles"].insert(0, empty(128, 128).to_coco()), "is empty"),
        ("gar-simple", lambda row: row.update(question="What of <Prompt7>?"), "names <Prompt7> but has 2 regions"),
    ],
)
def test_entries_that_cannot_be_judged_are_refused(task, demo_root, tmp_path, split, change, message):
    name = {"gar-detail": "GAR-Bench-Caption-Detailed.json", "gar-simple": "GAR-Bench-Caption-Simple.json"}[split]
    rows = json.loads((demo_root / "gar_bench" / name).read_text())[:1]
    change(rows[0])
    (tmp_path / "gar_bench").mkdir()
    (tmp_path / "gar_bench" / name).write_text(json.dumps(rows))
    with pytest.raises(DataError, match=message):
        task.read(tmp_path, split)
