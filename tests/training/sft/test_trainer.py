"""Fine-tuning on conversations: what is learned, what is refused, and that the result loads everywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from PIL import Image
from safetensors.torch import load_file

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import build_scene
from samtok_eval.errors import CheckpointError, TooManyErrorsError, UsageError
from samtok_eval.messages import Message
from samtok_eval.models.backend import request_of
from samtok_eval.reports.watch.checkpoints import whole_checkpoints
from samtok_eval.run.settings import RunSettings
from samtok_eval.training.sft import trainer as finetuning
from samtok_eval.training.sft.batches import IGNORED, ChatBatches, as_rows, survey
from samtok_eval.training.sft.data import Skipped, Source, read_conversations, refuse_above
from samtok_eval.training.sft.export import merge_adapter
from samtok_eval.training.sft.log import LogFile
from samtok_eval.training.sft.recipe import FinetuneJob, FinetuneRecipe
from samtok_eval.training.sft.trainer import finetune
from samtok_eval.training.sft.vocabulary import load_checkpoint
from tests.cli.test_train_sft import command
from tests.support.serving import started, transformers_serve
from tests.support.tiny_checkpoints import qwen2_5
from tests.training.sft.test_data import sample, written

SCENES = 8
FULL = FinetuneRecipe(
    lora_rank=None, learning_rate=5e-4, steps=4, global_batch=8, max_length=400, warmup=0, checkpointing=False
)
LORA = replace(FULL, lora_rank=8, lora_alpha=16, lora_dropout=0.3, learning_rate=2e-3, order="by_length")
MASK = "<|mt_start|><|mt_0044|><|mt_0442|><|mt_end|>"


@pytest.fixture(scope="module")
def data(demo_tokenizer, tmp_path_factory):
    """Conversations about demo scenes, as a JSON list with pictures beside it."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for seed in range(SCENES):
        scene = build_scene(5_000_000 + seed, demo_tokenizer)
        Image.fromarray(scene.image).save(folder / f"{seed}.png")
        for dialogue in [d for d in scene.dialogues if d.kind in ("attribute", "rounds", "caption")][:4]:
            turns = [{"from": "human", "value": "<image>\n" + dialogue.turns[0][0]}]
            for question, answer in dialogue.turns:
                turns += [{"from": "human", "value": question}] if len(turns) > 1 else []
                turns += [{"from": "gpt", "value": answer}]
            rows.append({"image": f"{seed}.png", "conversations": turns, "segmentation": [], "source": "demo"})
    file = folder / "conversations.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture(scope="module")
def demo():
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(DEMO_CHECKPOINT)


def job(data, out, **more):
    options = {"model": str(DEMO_CHECKPOINT), "device": "cpu", "log_every": 1, "save_every": 2, **more}
    return FinetuneJob(out, data=(str(data),), **options)


def losses(out):
    lines = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


# ---- what is learned ----


def template(family):
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{family}.jinja").read_text()


@pytest.mark.parametrize("family", ["demo", "qwen2_5_vl", "qwen3_vl"])
def test_only_answers_with_their_end_words_are_learned(data, demo, family, tmp_path):
    processor = demo if family == "demo" else ChatBatches(demo, None, None).processor
    processor.chat_template = processor.chat_template if family == "demo" else template(family)
    batches = ChatBatches(processor, None, None)
    rows = [
        sample("<image>\nOne?", "Yes.", "Which?", f"It is {MASK}."),
        sample("<image>\nTwo and <image>, three?", "  No target.\n", image=["0.png", "1.png"]),
    ]
    read, _ = read_conversations([Source(written(tmp_path, rows), 100)], data.parent, 0)
    batch = batches(as_rows(read, [0, 0]))
    assert batch["labels"].shape == batch["input_ids"].shape
    learned = [row[row != IGNORED] for row in batch["labels"]]
    texts = [processor.tokenizer.decode(row, skip_special_tokens=False) for row in learned]
    assert texts == [f"Yes.<|im_end|>\nIt is {MASK}.<|im_end|>\n", "No target.<|im_end|>\n"]
    assert batch["image_grid_thw"].shape[0] == 3
    kept = batch["labels"] != IGNORED
    assert torch.equal(batch["labels"][kept], batch["input_ids"][kept])
    lengths = survey(read, batches, 400, decode=False)[1]
    assert lengths == batch["attention_mask"].sum(1).tolist()


def test_what_stands_before_an_answer_is_what_the_harness_asks(data, demo, tmp_path):
    from samtok_eval.models.transformers_backend import TransformersBackend

    file = written(tmp_path, [sample("<image>\nPlease segment it in this image.", "No target.")])
    read, _ = read_conversations([Source(file, 100)], data.parent, 0)
    batch = ChatBatches(demo, None, None)(as_rows(read, [0]))
    backend = TransformersBackend(
        str(DEMO_CHECKPOINT), "demo", "cpu", torch.float32, settings=RunSettings(group_pictures=False)
    )
    picture = np.asarray(Image.open(data.parent / "0.png"))
    asked = backend.inputs(
        [request_of("1", picture, (Message("user", (picture, "Please segment it in this image.")),))]
    )
    first = int((batch["labels"][0] != IGNORED).nonzero()[0])
    assert batch["input_ids"][0, :first].tolist() == asked["input_ids"][0].tolist()
    assert torch.equal(batch["pixel_values"], asked["pixel_values"])


def test_a_template_that_writes_answers_otherwise_is_refused(demo):
    other = ChatBatches(demo, None, None).processor
    other.chat_template = other.chat_template.replace("<|im_end|>", "<|endoftext|>")
    with pytest.raises(CheckpointError, match="template must write each answer as"):
        ChatBatches(other, None, None)


def test_bounds_of_pixels_that_exclude_each_other_are_refused(demo):
    with pytest.raises(UsageError, match="at least 16384 and at most 100 pixels"):
        ChatBatches(demo, None, 100)


# ---- data ----

BROKEN = [
    (["no object"], "expected an object"),
    (sample("<image>\nOne?"), "turns must alternate"),
    (sample("One?", "Yes."), "1 pictures but 0 <image> marks"),
    (sample("<image>\nOne?", "It is <|mt_start|><|mt_0044|><|mt_end|>."), "malformed"),
    (sample("<image>\nOne<|im_end|>?", "Yes."), r"control word <\|im_end\|>"),
    (sample("<image>\nOne?", "Yes.", image="missing.png"), "missing.png"),
    (sample("<image>\nOne?", "Yes.", image="cut.jpg"), "cut.jpg"),
    (sample("<image>\nOne?", "Yes. " * 400), r"tokens, --max-length allows 400"),
]


@pytest.mark.parametrize("row, reason", BROKEN)
def test_unusable_samples_are_refused_or_left_out_and_named(data, demo, tmp_path, row, reason):
    shutil.copy(data.parent / "0.png", tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1500])
    file = written(tmp_path, [sample("<image>\nOne?", "Yes."), row])
    read, skipped = read_conversations([Source(file, 100)], None, 0)
    kept, _, unusable = survey(read, ChatBatches(demo, None, None), 400, decode=True)
    assert len(kept) == 1
    assert [item.where for item in skipped + unusable] == [f"{file}#1"]
    with pytest.raises(TooManyErrorsError, match=f"1 samples cannot be trained on(?s:.*){reason}"):
        refuse_above(skipped + unusable, 0)
    refuse_above(skipped + unusable, 1)


# ---- training ----


@pytest.fixture(scope="module")
def full(data, tmp_path_factory):
    """A model trained without interruption, the picture-blind test beside it."""
    out = tmp_path_factory.mktemp("full") / "out"
    held_out = f"{data}%30"
    assert finetune(FULL, job(data, out, held_out=held_out, evaluate_every=4, dtype="fp32")) == out
    return out


def test_the_loss_falls_and_only_the_language_model_moves(full):
    assert losses(full)[-1] < 0.9 * losses(full)[0]
    base, trained = (load_checkpoint(folder, torch.float32)[0].state_dict() for folder in (DEMO_CHECKPOINT, full))
    moved = {name for name, weight in base.items() if not torch.equal(weight, trained[name])}
    assert not [name for name in moved if ".visual." in name]
    assert {"lm_head.weight", "model.language_model.embed_tokens.weight"} < moved


def test_pictures_of_other_samples_make_held_out_answers_less_likely(full):
    lines = [json.loads(line) for line in (full / "training_log.jsonl").read_text().splitlines()]
    own = next(line["eval_held_out_loss"] for line in lines if "eval_held_out_loss" in line)
    rolled = next(line["eval_rolled_loss"] for line in lines if "eval_rolled_loss" in line)
    assert rolled > 2 * own


def test_the_folder_has_what_servers_read_and_nothing_to_go_on_from(full):
    names = {path.name for path in full.iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "processor_config.json", "chat_template.jinja", "training.json", "training_log.jsonl", "skipped.jsonl",
    }  # fmt: skip
    stops = [json.loads((f / "generation_config.json").read_text())["eos_token_id"] for f in (DEMO_CHECKPOINT, full)]
    assert stops[0] == stops[1]
    card = json.loads((full / "training.json").read_text())
    assert card["counts"]["samples"] == 4 * SCENES
    assert card["words_added"] == 0


def test_the_checkpoint_answers_in_the_harness_with_masks_that_decode(full, data, demo_tokenizer):
    from samtok_eval.mask_tokens import masks_of
    from samtok_eval.models.transformers_backend import TransformersBackend

    backend = TransformersBackend(str(full), "tuned", "cpu", torch.float32)
    row = json.loads(data.read_text())[0]
    picture = np.asarray(Image.open(data.parent / row["image"]))
    question = row["conversations"][0]["value"].removeprefix("<image>\n")
    (answer,) = backend.generate([request_of("1", picture, (Message("user", (picture, question)),))], 40)
    codes = masks_of(answer.text)
    assert codes
    assert demo_tokenizer.decode(picture, np.array(codes)).any()


def test_the_folder_is_served_without_edits_and_says_there_what_it_says_here(full, data):
    pytest.importorskip("fastapi", reason="transformers serve needs the extra serving")
    from samtok_eval.models.openai.address import Address
    from samtok_eval.models.openai.backend import OpenAIBackend
    from samtok_eval.models.transformers_backend import TransformersBackend

    row = json.loads(data.read_text())[0]
    picture = np.asarray(Image.open(data.parent / row["image"]))
    question = row["conversations"][0]["value"].removeprefix("<image>\n")
    asked = [request_of("1", picture, (Message("user", (picture, question)),))]
    (here,) = TransformersBackend(str(full), "tuned", "cpu", torch.float32).generate(asked, 40)
    with started(transformers_serve(full)) as server:
        (there,) = OpenAIBackend(Address(server.url, str(full))).generate(asked, 40)
    assert there.text == here.text
    assert "<|mt_start|>" in here.text


class Interruption(LogFile):
    """Stops as a user does, once the state of step 2 is on disk."""

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["full", "adapters"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(data, kind, tmp_path, monkeypatch, request):
    straight, settings = request.getfixturevalue(kind), {"full": FULL, "adapters": LORA}[kind]
    this = job(data, tmp_path / "out", dtype="fp32", merge=kind == "full")
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "LogFile", Interruption)
        with pytest.raises(KeyboardInterrupt):
            finetune(settings, this)
    assert len(losses(this.out)) == 2
    # A run that is killed while it writes leaves a part of a line.
    with (this.out / "training_log.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')
    with pytest.raises(UsageError, match=r"learning_rate was \S+, now 0\.1; .* --fresh"):
        finetune(replace(settings, learning_rate=0.1), this)
    written = finetune(settings, this)
    assert losses(this.out) == losses(straight)
    name = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    expected, found = (load_file(next(folder.rglob(name))) for folder in (straight, written))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_finished_run_is_not_overwritten(data, full, tmp_path):
    with pytest.raises(UsageError, match="is finished"):
        finetune(FULL, job(data, full))
    with pytest.raises(UsageError, match="something else than a run of this command"):
        finetune(FULL, job(data, data.parent, fresh=True))


EVALUATED = {"eval_tasks": "gres:val", "eval_every": 2, "eval_limit": 6, "tokenizer": DEMO_CHECKPOINT}


def logged(out):
    return [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]


def evaluated(out):
    return {line["step"]: line["eval_gres:val_giou"] for line in logged(out) if "eval_gres:val_giou" in line}


def giou_of(checkpoint, out):
    run = evaluate("gres", model=str(checkpoint), tokenizer=str(DEMO_CHECKPOINT), limit=6, out=out, dtype="fp32")
    return run.metrics.protocols["strict"]["giou"].value


@pytest.mark.parametrize("kind", ["full", "adapters"])
def test_tasks_are_evaluated_with_the_model_as_it_is_and_the_training_does_not_notice(data, kind, tmp_path, request):
    straight, settings = request.getfixturevalue(kind), {"full": FULL, "adapters": LORA}[kind]
    out = finetune(settings, job(data, tmp_path / "out", dtype="fp32", **EVALUATED))
    assert losses(out) == losses(straight)
    accuracies = ([line["mean_token_accuracy"] for line in logged(x) if "loss" in line] for x in (out, straight))
    assert next(accuracies) == next(accuracies)
    place = "model.safetensors" if kind == "full" else "adapter/adapter_model.safetensors"
    trained, expected = (load_file(folder / place) for folder in (out, straight))
    assert all(torch.equal(trained[name], expected[name]) for name in expected)
    assert list(evaluated(out)) == [2, 4]
    # At the last step it is the checkpoint that is written, adapters merged into it.
    assert evaluated(out)[4] == giou_of(out, tmp_path / "runs")
    assert len(list((out / "evaluations").rglob("metrics.json"))) == 2


def test_two_processes_train_alike_whether_the_first_one_is_asked_or_not(data, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}

    def rank(number):
        os.environ |= {**place, "RANK": str(number), "LOCAL_RANK": str(number)}
        torch.set_num_threads(1)
        # What this process knows of being alone is forgotten.
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        for name, asked in (("plain", {}), ("asked", {**EVALUATED, "eval_every": 1})):
            finetune(replace(FULL, steps=2), job(data, tmp_path / name, dtype="fp32", **asked))

    processes = [get_context("fork").Process(target=rank, args=(number,)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    plain, asked = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "asked"))
    assert all(torch.equal(plain[name], asked[name]) for name in plain)
    assert '"processes": 2' in (tmp_path / "asked" / "training.json").read_text()
    # One process asks: a line per evaluation, and a run.
    assert [line["step"] for line in logged(tmp_path / "asked") if "eval_gres:val_giou" in line] == [1, 2]
    assert len(list((tmp_path / "asked" / "evaluations").rglob("metrics.json"))) == 2
    assert evaluated(tmp_path / "asked")[2] == giou_of(tmp_path / "asked", tmp_path / "runs")


def test_an_unknown_log_is_refused_before_anything_is_loaded(data, tmp_path):
    with pytest.raises(UsageError, match="--report-to tensorbord: expected one of all, none, "):
        finetune(FULL, job(data, tmp_path / "out", report_to=("tensorbord",)))


def test_tasks_that_cannot_be_evaluated_are_refused_before_the_training(data, tmp_path):
    asked = EVALUATED
    with pytest.raises(UsageError, match="did you mean gres"):
        finetune(FULL, job(data, tmp_path / "other", **asked | {"eval_tasks": "gress"}))
    with pytest.raises(UsageError, match="give --tokenizer"):
        finetune(FULL, job(data, tmp_path / "other", eval_tasks="gres"))


def test_how_a_step_is_cut_into_parts_changes_nothing(data, full, tmp_path):
    out = finetune(replace(FULL, batch_size=2, checkpointing=True), job(data, tmp_path / "out", keep_steps=True))
    assert losses(out) == pytest.approx(losses(full), rel=1e-3)
    # States of the steps stay where that is asked for, as whole checkpoints.
    assert [found.step for found in whole_checkpoints(out / "steps")] == [2, 4]
    assert not (out / "steps" / "trained").exists()
    assert not (full / "steps").exists()


@pytest.fixture(scope="module")
def adapters(data, tmp_path_factory):
    """Adapters trained without interruption and not merged."""
    out = tmp_path_factory.mktemp("adapters") / "out"
    assert finetune(LORA, job(data, out, merge=False)) == out / "adapter"
    return out


def test_adapters_train_embeddings_too_and_reload_exactly(adapters, tmp_path):
    from peft import PeftModel

    out = adapters / "adapter"
    assert losses(adapters)[-1] < 0.9 * losses(adapters)[0]
    assert not (adapters / "config.json").exists()
    assert not list(adapters.rglob("*.bin"))
    base, processor = load_checkpoint(DEMO_CHECKPOINT, torch.float32)
    ids = processor.tokenizer(f"It is {MASK}.", return_tensors="pt")["input_ids"]
    before = base.get_input_embeddings().weight.detach().clone()
    adapted = PeftModel.from_pretrained(base, out).eval()
    merge_adapter(DEMO_CHECKPOINT, out, tmp_path / "merged", "fp32")
    merged, _ = load_checkpoint(tmp_path / "merged", torch.float32)
    with torch.no_grad():
        difference = adapted(input_ids=ids).logits - merged.eval()(input_ids=ids).logits
    assert difference.abs().max() < 1e-3
    rows = merged.get_input_embeddings().weight
    assert not torch.equal(rows, before)
    assert merged.get_output_embeddings().weight is rows
    with pytest.raises(CheckpointError, match=r"no adapter_config.json"):
        merge_adapter(DEMO_CHECKPOINT, tmp_path, tmp_path / "x")


@pytest.mark.parametrize("settings", [FULL, LORA], ids=["full", "adapters"])
def test_a_checkpoint_without_mask_words_learns_them(data, tmp_path, settings):
    """Qwen2.5-VL with a head of its own and the vision tower trained; its generation settings survive."""
    base = qwen2_5(tmp_path / "base")
    if settings.lora_rank:
        with pytest.raises(UsageError, match="rows must be trained"):
            finetune(replace(settings, embeddings="frozen"), job(data, tmp_path / "no", model=str(base)))
    recipe = replace(settings, vision="trained", steps=2)
    out = finetune(recipe, job(data, tmp_path / "out", model=str(base), dtype="fp32"))
    assert json.loads((out / "training.json").read_text())["words_added"] == 514
    model, processor = load_checkpoint(out, torch.float32)
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    assert model.generation_config.repetition_penalty == 1.05
    before = load_checkpoint(base, torch.float32)[0]
    name = "blocks.0.mlp.up_proj.weight"
    assert not torch.equal(model.model.visual.state_dict()[name], before.model.visual.state_dict()[name])


def test_weights_that_are_trained_are_float32_over_a_smaller_base(tmp_path):
    model, _ = load_checkpoint(DEMO_CHECKPOINT, torch.bfloat16)
    arguments = finetuning._arguments(LORA, job("x", tmp_path), on_cuda=False)
    adapted = finetuning._trainable(model, LORA, arguments)
    trained = {name: p.dtype for name, p in adapted.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.float32}
    assert any("embed_tokens" in name for name in trained)
    assert {p.dtype for name, p in adapted.named_parameters() if name not in trained} == {torch.bfloat16}


def test_too_little_memory_names_what_to_lower(data, tmp_path, monkeypatch):
    def train(self, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(finetuning.AnswerTrainer, "train", train)
    with pytest.raises(UsageError, match=r"--batch-size .*--max-pixels .*zero3"):
        finetune(FULL, job(data, tmp_path / "out"))


def test_a_loss_that_is_no_number_stops(tmp_path):
    class State:
        is_world_process_zero, global_step = True, 7

    with pytest.raises(UsageError, match="nan at step 7; lower --learning-rate"):
        LogFile(tmp_path / "log").on_log(None, State, None, {"loss": float("nan")})


# ---- the command ----


def test_the_command_trains_with_a_preset_and_what_overrides_it(data, tmp_path):
    out = tmp_path / "out"
    done = command(
        "sft", "--model", DEMO_CHECKPOINT, "--data", data, "--preset", "paper-4b", "--lora-rank", 4, "--steps", 1,
        "--global-batch", 2, "--batch-size", 2, "--device", "cpu", "--max-pixels", 128 * 128, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    assert f"checkpoint in {out}" in done.output
    binding = json.loads((out / "training.json").read_text())["binding"]
    assert (binding["lora_rank"], binding["lora_alpha"], binding["max_pixels"]) == (4, 256, 128 * 128)
    again = command("merge", "--model", DEMO_CHECKPOINT, "--adapter", out / "adapter", "--out", tmp_path / "merged")
    assert again.exit_code == 0, again.exception
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_skipped_samples_are_written_down(data, tmp_path):
    bad = sample("<image>\nOne?", "Yes.", image="missing.png")
    file = data.parent / "some.json"
    file.write_text(json.dumps([*json.loads(data.read_text())[:4], bad]))
    with pytest.raises(TooManyErrorsError):
        finetune(FULL, job(file, tmp_path / "out"))
    # Nothing was learned there yet, so that other settings may begin in the same folder.
    out = finetune(replace(FULL, steps=1, global_batch=4), job(file, tmp_path / "out", max_errors=1, workers=2))
    (line,) = (out / "skipped.jsonl").read_text().splitlines()
    assert Skipped(**json.loads(line)).where == f"{file}#4"
    assert json.loads((out / "training.json").read_text())["counts"]["skipped"] == 1
    file.unlink()
