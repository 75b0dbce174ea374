"""Tokenizing: conversations of every task in the released format, the same bytes however the work is cut."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from samtok_eval import masks
from samtok_eval.cli import tokenize as cli_tokenize
from samtok_eval.conversations.recipe import ConversationJob, ConversationRecipe
from samtok_eval.conversations.tokenize import tokenize
from samtok_eval.datasets.sft import image_path, read_sft, validate
from samtok_eval.errors import DataError, TooManyErrorsError, UsageError
from samtok_eval.mask_tokens import Codes, parse, render
from samtok_eval.regions import as_jpeg, cut_mask, cut_picture
from samtok_eval.registry import load_tasks
from samtok_eval.sample import Crop, Region

LIMIT = 5
FAMILIES = {
    "gres": "val",
    "refcoco": "val",
    "refcoco+": "testA",
    "refcocog": "test",
    "gcg": "val",
    "region_caption": "refcocog-val",
    "region_vqa": "test",
    "scene_graph": "test",
    "interactive": "refcoco",
    "grounding_suite": "eval",
}
WORDS = re.compile(r"<\|mt_start\|><\|mt_\d{4}\|><\|mt_\d{4}\|><\|mt_end\|>")
SPAN = render([(44, 186)])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tiny tokenizer gains nothing from more, and loses much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(demo_root, demo_tokenizer, tmp_path_factory):
    """A function that tokenizes a family once and gives the folder, its samples and its conversations."""
    out, known = tmp_path_factory.mktemp("conversations"), {}

    def make(name):
        if name not in known:
            task = load_tasks()[name]
            done = tokenized(task, FAMILIES[name], demo_root, demo_tokenizer, out / name, limit=LIMIT, batch_size=3)
            samples = task.read(demo_root, FAMILIES[name])[:LIMIT]
            known[name] = (done.path.parent, task, samples, [c for _, c in read_sft(done.path)])
        return known[name]

    return make


def tokenized(task, split, root, tokenizer, out, rank=0, world_size=1, fresh=False, max_errors=0, **recipe):
    job = ConversationJob(str(root), out, max_errors=max_errors, rank=rank, world_size=world_size, fresh=fresh)
    return tokenize(task, split, tokenizer, ConversationRecipe(**recipe), job)


def values(conversation):
    """Turns with every mask written alike."""
    return [(turn.speaker, WORDS.sub("[mask]", turn.value)) for turn in conversation.conversations]


def linked(demo_root: Path, out: Path, *names: str) -> Path:
    """A data root of some folders whose files can be replaced one by one."""
    for name in names:
        shutil.copytree(demo_root / name, out / name, copy_function=os.link)
    return out


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


# ---- every task ----


@pytest.mark.parametrize("name", FAMILIES)
def test_every_sample_becomes_one_right_conversation(made, demo_root, name):
    folder, _, samples, conversations = made(name)
    counts = validate(folder / "conversations.json", demo_root)
    assert [c.id for c in conversations] == [s.id for s in samples]
    assert counts.conversations == LIMIT
    for conversation, sample in zip(conversations, samples, strict=True):
        assert demo_root / conversation.images[0] == sample.image.path
        assert len(conversation.conversations) == len(sample.turns) + 1
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["state"] == "complete"
    assert manifest["counters"]["conversations"] == LIMIT
    assert (manifest["task"], manifest["split"], manifest["skipped"]) == (name, FAMILIES[name], [])
    assert set(manifest["dataset"]) == {"samples", "images", "sha256", "images_sha256"}
    assert len(manifest["tokenizer_sha256"]) == 64


@pytest.mark.parametrize("name", FAMILIES)
def test_decoded_words_cover_the_masks_they_stand_for(made, demo_root, demo_tokenizer, name):
    folder, task, samples, conversations = made(name)
    overlaps = []
    for conversation, sample in zip(conversations, samples, strict=True):
        texts = [turn.value for turn in conversation.conversations]
        asked = [part for turn in sample.turns for part in turn.parts if isinstance(part, Region)]
        written = task.written(sample)
        if sample.target.triplets:
            written = [written[i] for t in sample.target.triplets for i in (t.subject, t.object)]
        spans = [span.codes for span in parse(texts[-1])]
        wanted = [(rle, None) for rle in written]
        if asked:
            spans = [span.codes for text in texts[:-1] for span in parse(text)] + spans
            wanted = [(region.mask, region.view) for region in asked] + wanted
        assert len(spans) == len(wanted)
        places = [image_path(image, folder / "conversations.json", demo_root) for image in conversation.images]
        for shown in {view for _, view in wanted}:
            members = [i for i, (_, view) in enumerate(wanted) if view == shown]
            picture = np.asarray(Image.open(places[1 if shown else 0]).convert("RGB"))
            decoded = demo_tokenizer.decode(picture, torch.tensor([spans[i] for i in members]))
            for i, found in zip(members, decoded, strict=True):
                truth = masks.decode(wanted[i][0])
                truth = cut_mask(truth, shown) if shown else truth
                overlaps.append((found & truth).sum() / (found | truth).sum())
    # Views are enlarged eight times beyond what the tiny tokenizer was trained on.
    assert np.mean(overlaps) > (0.7 if name == "region_caption" else 0.85)


def test_segmentation_is_answered_with_a_json_list_of_masks_and_labels(made):
    _, _, samples, conversations = made("refcoco")
    phrase = samples[0].phrase
    assert values(conversations[0]) == [
        ("human", f"<image>\nPlease segment {phrase} in this image."),
        ("gpt", f'```json\n[{{"mask_2d": "[mask]", "label": "{phrase}"}}]\n```'),
    ]
    assert isinstance(conversations[0].image, str)


def test_a_small_region_is_shown_again_and_its_view_is_what_a_model_gets(made, demo_root):
    folder, _, samples, conversations = made("region_caption")
    conversation, sample = conversations[0], samples[0]
    assert values(conversation) == [
        (
            "human",
            "<image>\nGiven a detailed description of this region [mask]. "
            "Zoom in with the perspective as <image>, [mask].",
        ),
        ("gpt", sample.target.texts[0]),
    ]
    crop = next(part for part in sample.turns[0].parts if isinstance(part, Crop))
    picture = np.asarray(Image.open(demo_root / conversation.images[0]).convert("RGB"))
    assert (np.asarray(Image.open(folder / conversation.images[1])) == as_jpeg(cut_picture(picture, crop))).all()


def test_grounded_captions_graphs_and_choices_are_the_tasks_own_answers(made):
    for name in ("gcg", "scene_graph", "region_vqa"):
        _, task, samples, conversations = made(name)
        for sample, conversation in zip(samples, conversations, strict=True):
            right = task.answer(sample, [Codes(44, 186)] * len(task.written(sample)))
            assert values(conversation)[-1] == ("gpt", WORDS.sub("[mask]", right))
    assert re.fullmatch(r"<image>\nQuestion: What is the \w+ of \[mask\]\?\n.*", values(conversations[0])[0][1], re.S)
    assert re.match(r"<\|object_ref_start\|> .+? <\|object_ref_end\|> \[mask\]", values(made("gcg")[3][0])[1][1][9:])


def test_earlier_rounds_speak_the_words_of_this_tokenizer(demo_root, demo_tokenizer, tmp_path):
    task = load_tasks()["interactive"]
    root = linked(demo_root, tmp_path / "data", "segllm")
    path = root / "segllm" / "mr_refcoco_val_sampled.json"
    rounds = json.loads(path.read_text())
    pictures = list(dict.fromkeys(entry["image"] for entry in rounds["0"]))[:3]
    rounds = {number: [e for e in entries if e["image"] in pictures] for number, entries in rounds.items()}
    replaced(path, json.dumps(rounds).encode())
    first = tokenized(task, "refcoco", root, demo_tokenizer, tmp_path / "a")
    several = next(c for _, c in read_sft(first.path) if len(c.conversations) == 4)
    assert [turn.speaker for turn in several.conversations] == ["human", "gpt", "human", "gpt"]
    assert several.conversations[0].value.startswith("<image>\n")
    # Another tokenizer's codes: every number is one higher, inside its book.
    other = re.sub(
        r"<\|mt_(\d{4})\|>",
        lambda m: f"<|mt_{int(m[1]) // 256 * 256 + (int(m[1]) + 1) % 256:04d}|>",
        path.read_text(),
    )
    assert other != path.read_text()
    replaced(path, other.encode())
    again = tokenized(task, "refcoco", root, demo_tokenizer, tmp_path / "b")
    assert again.path.read_bytes() == first.path.read_bytes()
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["counters"]["kept_answers"] == 0
    replaced(path, json.dumps({"1": json.loads(other)["1"]}).encode())
    alone = tokenized(task, "refcoco", root, demo_tokenizer, tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["counters"]["kept_answers"] == len(list(read_sft(alone.path)))


# ---- processes, kills, settings ----


def test_two_shares_make_the_bytes_of_one_process(made, demo_root, demo_tokenizer, tmp_path):
    for name in ("gres", "region_caption"):
        folder, task, _, _ = made(name)
        options = {"limit": LIMIT, "batch_size": 3, "world_size": 2}
        # The first share holds the first three pictures.
        first = tokenized(task, FAMILIES[name], demo_root, demo_tokenizer, tmp_path / name, rank=1, **options)
        assert not first.path.exists()
        assert first.written + first.waiting == LIMIT
        second = tokenized(task, FAMILIES[name], demo_root, demo_tokenizer, tmp_path / name, rank=0, **options)
        assert second.waiting == 0
        assert first.written + second.written == LIMIT
        for file in ("conversations.json", "manifest.json"):
            assert (tmp_path / name / file).read_bytes() == (folder / file).read_bytes()


def test_a_killed_run_goes_on_with_any_number_of_processes_to_the_same_bytes(demo_root, demo_tokenizer, tmp_path):
    task = load_tasks()["gres"]
    settings = {"limit": 30, "batch_size": 2}
    whole = tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "whole", **settings)
    code = (
        "import sys; from pathlib import Path; from samtok_eval.registry import load_tasks\n"
        "from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT\n"
        "from samtok_eval.tokenizer import MaskTokenizer\n"
        "from tests.conversations.test_tokenize import tokenized\n"
        "tokenized(load_tasks()['gres'], 'val', sys.argv[1], MaskTokenizer.from_pretrained(DEMO_CHECKPOINT), "
        "Path(sys.argv[2]), limit=30, batch_size=2)"
    )
    part = tmp_path / "cut" / "parts" / "part-0.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code, str(demo_root), str(part.parents[1])])
    while not part.exists() or part.read_bytes().count(b"\n") < 7:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = part.read_bytes()[: part.read_bytes().rfind(b"\n") + 1]
    # Seven lines: inside a group of two pictures, as six sentences belong to each.
    before = b"".join(before.splitlines(keepends=True)[:7])
    assert before.count(b"\n") == 7
    assert not (tmp_path / "cut" / "conversations.json").exists()
    part.write_bytes(before + b'{"id": "torn')
    for rank in (1, 0):
        again = tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "cut", rank=rank, world_size=2, **settings)
    assert part.read_bytes().startswith(before)
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "cut", **settings).written == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"limit": LIMIT + 1}, "limit was 5, now 6"),
        ({"batch_size": 2}, "batch_size was 3, now 2"),
        ({"answers": "words"}, "answers was json, now words"),
        ({"seed": 1}, "seed was null, now 1"),
    ],
)
def test_other_settings_are_refused_by_name(made, demo_root, demo_tokenizer, change, named):
    _, task, _, _ = made("refcoco")
    folder = made("refcoco")[0]
    options = {"limit": LIMIT, "batch_size": 3} | change
    with pytest.raises(UsageError, match=f"{re.escape(named)}.*another --out"):
        tokenized(task, "val", demo_root, demo_tokenizer, folder, **options)


def test_a_fresh_call_forgets_other_settings_and_is_one_process_alone(demo_root, demo_tokenizer, tmp_path):
    task = load_tasks()["gres"]
    for answers, fresh in (("json", False), ("words", True)):
        done = tokenized(
            task, "val", demo_root, demo_tokenizer, tmp_path / "out", limit=2, answers=answers, fresh=fresh
        )
    assert "```json" not in done.path.read_text()
    with pytest.raises(UsageError, match="each other's parts"):
        tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "out", limit=2, fresh=True, world_size=2)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="something else than conversations"):
        tokenized(task, "val", demo_root, demo_tokenizer, tmp_path, limit=2, fresh=True)


def test_another_task_split_prompt_or_tokenizer_is_refused(made, demo_root, tmp_path):
    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer import MaskTokenizer

    folder, task, _, _ = made("gcg")
    other = MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)
    options = {"limit": LIMIT, "batch_size": 3}
    with pytest.raises(UsageError, match="prompt was gcg-brief, now gcg-detailed"):
        tokenized(task, "val", demo_root, other, folder, prompt="gcg-detailed", **options)
    with pytest.raises(UsageError, match="split was val, now test"):
        tokenized(task, "test", demo_root, other, folder, **options)
    with torch.no_grad():
        other.quantizer.books[0].weight.add_(1)
    with pytest.raises(UsageError, match="tokenizer_sha256 was"):
        tokenized(task, "val", demo_root, other, folder, **options)


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("reconstruction", None, {}, "asks no question"),
        ("region_caption", "dlc", {}, "no right answers"),
        ("gres", "train2", {}, "no split"),
        ("gres", None, {"rank": 2, "world_size": 2}, "0 <= rank < world size"),
        ("gres", None, {"limit": 0}, "--limit 0"),
        ("gres", None, {"batch_size": 0}, "--batch-size 0"),
        ("gres", None, {"seed": 3}, "together with --limit"),
    ],
)
def test_what_cannot_be_is_refused(demo_root, demo_tokenizer, tmp_path, name, split, options, message):
    with pytest.raises(UsageError, match=message):
        tokenized(load_tasks()[name], split, demo_root, demo_tokenizer, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_seed_draws_samples_from_the_whole_split(demo_root, demo_tokenizer, tmp_path):
    task = load_tasks()["region_vqa"]
    drawn = [
        tokenized(task, None, demo_root, demo_tokenizer, tmp_path / str(i), limit=5, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    ]
    ids = [[c.id for _, c in read_sft(done.path)] for done in drawn]
    order = [sample.id for sample in task.read(demo_root, "test")]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == sorted(ids[0], key=order.index)
    assert ids[0] != order[:5]


# ---- broken data ----


@pytest.fixture
def broken_root(demo_root, tmp_path):
    """GroundingSuite with an unreadable picture, an empty mask and a caption that holds a picture's mark."""
    root = linked(demo_root, tmp_path / "data", "grounding_suite")
    path = root / "grounding_suite" / "GroundingSuite-Eval.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()][:20]
    pictures = list(dict.fromkeys(row["image_path"] for row in rows))
    replaced(root / "grounding_suite" / pictures[1], b"no picture")
    rows[0]["segmentation"] = masks.empty(128, 128).to_coco()
    rows[1]["caption"] = "the <image> on the wall"
    replaced(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return root, sum(row["image_path"] == pictures[1] for row in rows)


def test_broken_samples_are_skipped_counted_and_limited(broken_root, demo_tokenizer, tmp_path):
    root, unreadable = broken_root
    task = load_tasks()["grounding_suite"]
    out = tmp_path / "out"
    with pytest.raises(TooManyErrorsError, match="--max-errors allows 1"):
        tokenized(task, None, root, demo_tokenizer, out, max_errors=1)
    assert not (out / "conversations.json").exists()
    done = tokenized(task, None, root, demo_tokenizer, out, max_errors=20)
    assert done.skipped == unreadable + 2
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counters"]["skipped"] == done.skipped
    assert manifest["counters"]["conversations"] == 20 - done.skipped == validate(done.path, root).conversations
    reasons = {row["id"]: row["reason"] for row in manifest["skipped"]}
    assert "a mask is empty" in reasons["0"]
    assert "holds <image>" in reasons["1"]
    assert sum("cannot be read" in reason for reason in reasons.values()) == unreadable
    again = tokenized(task, None, root, demo_tokenizer, tmp_path / "more", max_errors=20, rank=0, world_size=1)
    assert again.path.read_bytes() == done.path.read_bytes()


def test_a_part_with_a_broken_or_repeated_line_names_it(made, demo_root, demo_tokenizer, tmp_path):
    folder, task, _, _ = made("gres")
    shutil.copytree(folder, tmp_path / "copy")
    part = tmp_path / "copy" / "parts" / "part-0.jsonl"
    lines = part.read_bytes().splitlines(keepends=True)
    options = {"limit": LIMIT, "batch_size": 3}
    part.write_bytes(b"".join([*lines[:2], lines[0], *lines[2:]]))
    with pytest.raises(DataError, match=r"part-0.jsonl:3: sample .* occurs twice"):
        tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "copy", **options)
    part.write_bytes(b"".join([lines[0], b'{"id": "x", "text": 1}\n']))
    with pytest.raises(DataError, match=r"part-0.jsonl:2: text"):
        tokenized(task, "val", demo_root, demo_tokenizer, tmp_path / "copy", **options)


# ---- command line ----


def test_the_command_writes_checks_and_takes_its_share_from_torchrun(demo_root, tmp_path, monkeypatch):
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_tokenize.register(app)

    def command(*words):
        return CliRunner().invoke(app, ["tokenize", *map(str, words), "--data-root", str(demo_root)])

    words = ("--task", "gres:testA", "--limit", 6, "--batch-size", 1, "--out", tmp_path)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = command(*words)
    assert first.exit_code == 0, first.output
    assert "left to other processes" in first.output
    second = command(*words, "--rank", 0, "--world-size", 2)
    assert "0 skipped in all" in second.output
    path = tmp_path / "gres" / "testA" / "conversations.json"
    checked = command("--validate", path)
    assert "6 conversations" in checked.output
    assert isinstance(command(*words, "--rank", 0).exception, UsageError)
    assert isinstance(command().exception, UsageError)
