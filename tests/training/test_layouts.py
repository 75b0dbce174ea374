"""Codes of another layout than 256x2 in training: from conversations to a checkpoint that a run asks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest

from samtok_eval.conversations.recipe import ConversationJob, ConversationRecipe
from samtok_eval.conversations.tokenize import tokenize
from samtok_eval.datasets.sft import layout_of, read_sft, validate, written_layout
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT, build_scene
from samtok_eval.demo.training.grpo_questions import scene_questions
from samtok_eval.errors import CheckpointError, DataError, TooManyErrorsError, UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout, parse, render
from samtok_eval.registry import load_tasks
from samtok_eval.run.evaluate import evaluate
from samtok_eval.tokenizer import MaskTokenizer
from samtok_eval.training.grpo.prompts import GRES, GrpoPrompt, StoredPicture
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe
from samtok_eval.training.grpo.trainer import train_grpo
from samtok_eval.training.rewards import REWARDS, answer_matching_reward, rewards_of, span_grade
from samtok_eval.training.sft.export import adapter_layout
from samtok_eval.training.sft.recipe import FinetuneJob, FinetuneRecipe
from samtok_eval.training.sft.trainer import finetune
from samtok_eval.training.sft.vocabulary import write_with_mask_words
from tests.support.command import command
from tests.support.tiny_checkpoints import qwen3_without_words
from tests.test_layouts import DEEP, tokenizer_of

TINY = FinetuneRecipe(
    lora_rank=4, lora_alpha=8, learning_rate=1e-3, steps=2, global_batch=4, batch_size=4, max_length=400,
    checkpointing=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory):
    return tokenizer_of(DEEP, tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def written(deep_folder, demo_root, tmp_path_factory):
    """Conversations in words of the deep mask tokenizer, and their manifest."""
    job = ConversationJob(str(demo_root), tmp_path_factory.mktemp("conversations"))
    recipe = ConversationRecipe(answers="words", limit=8)
    return tokenize(load_tasks()["gres"], "val", MaskTokenizer.from_pretrained(deep_folder), recipe, job).path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A checkpoint without mask words."""
    return qwen3_without_words(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def worded(plain, deep_folder, tmp_path_factory):
    """The checkpoint with untrained words of the deep mask tokenizer."""
    out = tmp_path_factory.mktemp("words") / "model"
    write_with_mask_words(plain, out, layout=DEEP)
    return out


@pytest.fixture(scope="module")
def tuned(written, plain, demo_root, tmp_path_factory):
    return finetune(TINY, job(tmp_path_factory.mktemp("runs") / "tuned", written, demo_root, plain))


def job(out, data, demo_root, model=DEMO_CHECKPOINT, **more):
    return FinetuneJob(out, model=str(model), data=(str(data),), data_root=str(demo_root), device="cpu", **more)


# ---- conversations ----


def test_conversations_speak_the_words_of_the_mask_tokenizer_and_their_manifest_says_which(written, demo_root):
    assert written_layout(written) == DEEP
    assert json.loads((written.parent / "manifest.json").read_text())["layout"] == [64, 3]
    spans = [span for _, c in read_sft(written, DEEP) for t in c.conversations for span in parse(t.value, DEEP)]
    assert spans and {(span.status, len(span.codes)) for span in spans} == {("ok", 3)}
    assert validate(written, demo_root, DEEP).masks == len(spans)
    assert command("tokenize", "--validate", written, "--data-root", demo_root).returncode == 0


def test_words_of_another_layout_are_malformed(written):
    with pytest.raises(DataError, match=r"conversations\.json:\d+: .* malformed in layout 256x2"):
        validate(written)


def test_the_manifest_says_a_layout_before_the_named_mask_tokenizer_and_256x2_where_nothing_does(written, tmp_path):
    alone = tmp_path / "conversations.json"
    shutil.copy(written, alone)
    assert layout_of([written], None) == layout_of([written], DEEP) == layout_of([alone], DEEP) == DEEP
    assert layout_of([alone], None) == layout_of([], None) == DEFAULT_LAYOUT
    with pytest.raises(UsageError, match=r"holds mask words of layout 64x3, the mask tokenizer is of 64x4; take files"):
        layout_of([written], Layout(64, 4))
    with pytest.raises(UsageError, match=r"holds mask words of layout 256x2, .*json of 64x3; take files of one layout"):
        layout_of([written, alone], None)


@pytest.mark.parametrize("value", [[64], [64, 3, 1], [0, 2], ["x", 3], "64x3", 7, None])
def test_a_manifest_with_an_impossible_layout_is_refused(written, tmp_path, value):
    folder = tmp_path / "copy"
    shutil.copytree(written.parent, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"layout": value}))
    with pytest.raises(DataError, match=r"manifest\.json: layout"):
        written_layout(folder / written.name)


def test_a_folder_of_older_conversations_is_256x2_and_256x2_is_not_in_a_manifest(demo_root, demo_tokenizer, tmp_path):
    done = tokenize(load_tasks()["gres"], "val", demo_tokenizer, ConversationRecipe(limit=2),
                    ConversationJob(str(demo_root), tmp_path))  # fmt: skip
    assert "layout" not in json.loads((tmp_path / "manifest.json").read_text())
    assert written_layout(done.path) == DEFAULT_LAYOUT


def test_words_of_a_benchmarks_file_are_never_taken_for_words_of_another_layout(deep_folder, demo_root, tmp_path):
    """A multi-round file holds 256x2 words; without its earlier rounds nothing says which masks they mean."""
    task, tokenizer = load_tasks()["interactive"], MaskTokenizer.from_pretrained(deep_folder)
    samples = task.read(demo_root, "refcoco")
    first = sum(len(sample.turns) == 1 for sample in samples)
    root = tmp_path / "data"
    shutil.copytree(demo_root, root, symlinks=True)
    path = root / "segllm" / "mr_refcoco_val_sampled.json"
    rounds = json.loads(path.read_text())
    path.write_text(json.dumps({number: entries for number, entries in rounds.items() if number != "0"}))
    assert 0 < first < len(samples)
    options = ConversationJob(str(root), tmp_path / "out", max_errors=4)
    done = tokenize(task, "refcoco", tokenizer, ConversationRecipe(limit=4), options)
    assert done.skipped == 4
    assert (
        "an earlier turn holds mask words of layout 256x2, the mask tokenizer is of 64x3"
        in (tmp_path / "out" / "parts" / "part-0.jsonl").read_text()
    )


# ---- fine-tuning ----


def test_a_checkpoint_tuned_on_them_has_their_words_and_answers_a_run(tuned, deep_folder, demo_root, tmp_path):
    card = json.loads((tuned / "training.json").read_text())
    assert card["words_added"] == len(DEEP.words) and card["binding"]["layout"] == [64, 3]
    options = {"tokenizer": str(deep_folder), "data_root": str(demo_root), "out": tmp_path, "limit": 2}
    done = evaluate("gres", model=str(tuned), constrained=True, **options)
    assert done.manifest.code_layout == DEEP and done.manifest.counters["errored"] == 0
    with pytest.raises(CheckpointError, match="lacks 320 of the 514 mask words of layout 256x2"):
        evaluate("gres", model=str(tuned), **options | {"tokenizer": "demo"})


def test_its_adapter_is_merged_with_words_of_the_runs_layout(tuned, plain, deep_folder, tmp_path):
    adapter = tuned / "adapter"
    assert adapter_layout(adapter, None) == adapter_layout(adapter, DEEP) == DEEP
    words = ("train", "merge", "--model", plain, "--adapter", adapter, "--out", tmp_path / "merged")
    wrong = command(*words, "--tokenizer", "demo")
    assert wrong.returncode == 1
    assert "was trained on mask words of layout 64x3, the mask tokenizer is of 256x2" in wrong.stderr
    assert command(*words, "--tokenizer", deep_folder).returncode == 0
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()
    moved = shutil.copytree(adapter, tmp_path / "moved" / "adapter")
    assert (adapter_layout(moved, None), adapter_layout(moved, DEEP)) == (DEFAULT_LAYOUT, DEEP)


def test_data_and_checkpoint_of_different_layouts_are_refused(written, demo_root, tuned, tmp_path):
    alone = tmp_path / "data" / "conversations.json"
    alone.parent.mkdir()
    shutil.copy(written, alone)
    with pytest.raises(UsageError, match="of layout 64x3, the mask tokenizer is of 256x2"):
        finetune(TINY, job(tmp_path / "a", written, demo_root, tokenizer=DEMO_CHECKPOINT))
    with pytest.raises(TooManyErrorsError, match="malformed in layout 256x2"):
        finetune(TINY, job(tmp_path / "b", alone, demo_root))
    with pytest.raises(UsageError, match=r"holds mask words of layout 256x2, .* of 64x3"):
        finetune(TINY, job(tmp_path / "c", written, demo_root, held_out=str(alone)))
    with pytest.raises(CheckpointError, match=r"512 numbered mask words.*layout 64x3 has 192"):
        finetune(TINY, job(tmp_path / "d", written, demo_root))
    denied = tmp_path / "denied.jsonl"
    picture = next(c.images[0] for _, c in read_sft(written, DEEP))
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "No target."}]
    denied.write_text(json.dumps({"image": picture, "conversations": turns}) + "\n")
    with pytest.raises(CheckpointError, match=r"holds 194 of the 514 mask words of layout 256x2"):
        finetune(TINY, job(tmp_path / "e", denied, demo_root, tuned))


def test_a_run_does_not_go_on_under_another_layout(tuned, written, plain, demo_root, deep_folder, tmp_path):
    alone = tmp_path / "conversations.json"
    shutil.copy(written, alone)
    before = job(tuned, alone, demo_root, plain)
    with pytest.raises(TooManyErrorsError):
        finetune(TINY, before)
    with pytest.raises(UsageError, match="is finished"):
        finetune(TINY, replace(before, tokenizer=deep_folder))


# ---- rewards and reinforcement ----

RIGHT, FIRST_RIGHT, OTHER = (render([codes], DEEP) for codes in ((5, 6, 7), (5, 6, 9), (8, 6, 7)))
PHRASE = "<|object_ref_start|> a dog <|object_ref_end|>"


def graph(span):
    node = {"mask_2d": span, "label": "dog"}
    return json.dumps([{"subject": node, "predicate": "on", "object": node}])


@pytest.mark.parametrize(
    ("name", "written", "values"),
    [
        ("answer_matching", str, (1, 0.4, 0)),
        ("matched_answer", str, (1, 0.4, 0)),
        ("grounded_masks", PHRASE.__add__, (1, 0.4, 0)),
        ("grounded_phrases", PHRASE.__add__, (1, 1, 1)),
        ("closed_masks", PHRASE.__add__, (1, 0.4, 0)),
        ("closed_phrases", PHRASE.__add__, (1, 1, 1)),
        ("scene_graph", graph, (1, 0.7, 0.5)),
        ("final_answer_matching", "<answer>{}</answer>".format, (1, 0.4, 0)),
    ],
)
def test_rewards_read_words_of_their_layout(name, written, values):
    reference = RIGHT if name.startswith("final") else written(RIGHT)
    found = [rewards_of(DEEP)[name](written(span), reference) for span in (RIGHT, FIRST_RIGHT, OTHER)]
    assert found == pytest.approx(values)


def test_of_three_codes_the_first_alone_is_worth_as_much_as_of_two():
    assert span_grade(FIRST_RIGHT, RIGHT, DEEP) == span_grade(render([(5, 9, 9)], DEEP), RIGHT, DEEP) == 0.4
    assert [rewards_of(DEEP)["non_repetition"](RIGHT * count, "") for count in (3, 4)] == [1, 0]
    assert REWARDS["non_repetition"](RIGHT * 4, "") == 1
    deep = partial(answer_matching_reward, layout=DEEP)
    assert (deep(RIGHT, RIGHT), deep(RIGHT, "No target."), answer_matching_reward(RIGHT, "No target.")) == (1, 0, 1)
    long = render([(40000,)], Layout(65536, 1))
    assert rewards_of(Layout(65536, 1))["answer_matching"](long, "No target.") == 0


def test_codes_are_reinforced_in_their_layout_and_words_of_another_are_refused(
    worded, deep_folder, demo_tokenizer, demo_root, written, tmp_path
):
    rows = [conversation for _, conversation in read_sft(written, DEEP)]
    prompts = [
        GrpoPrompt(
            (StoredPicture(str(demo_root / row.images[0]), None),),
            row.conversations[0].value.removeprefix("<image>"),
            row.conversations[1].value,
            GRES,
        )
        for row in rows[:2]
    ]
    recipe = GrpoRecipe(
        steps=1, prompts_per_step=2, samples=2, sequences_per_device=4, max_new_tokens=6, held_out_tokens=6,
        weights={GRES: {"matched_answer": 1.0, "decoded_iou": 1.0}}, evaluate_every=1, save_every=1,
    )  # fmt: skip
    run, held_out = GrpoJob(tmp_path / "out", model=str(worded), device="cpu"), scene_questions(DEVELOPMENT, 1)
    deep = MaskTokenizer.from_pretrained(deep_folder)
    lines = train_grpo(recipe, run, deep, prompts, held_out)
    assert [line["step"] for line in lines] == [0, 1]
    assert {"rewards/matched_answer/mean", "rewards/decoded_iou/mean", "held_out/giou"} <= set(lines[1])
    with pytest.raises(DataError, match=r"none of the 2 masks in the prompts' right answers .* layout 256x2"):
        train_grpo(recipe, run, demo_tokenizer, prompts, held_out)
    with pytest.raises(CheckpointError, match=r"512 numbered mask words.*layout 64x3 has 192"):
        train_grpo(recipe, replace(run, model=str(DEMO_CHECKPOINT)), deep, prompts, held_out)


def test_drawn_scenes_teach_256x2_alone(deep_folder):
    with pytest.raises(UsageError, match="drawn scenes teach words of layout 256x2, the mask tokenizer is of 64x3"):
        build_scene(0, MaskTokenizer.from_pretrained(deep_folder))
