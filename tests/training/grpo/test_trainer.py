"""Runs of reinforcement of a few steps."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("trl")

from samtok_eval import evaluate
from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT
from samtok_eval.demo.training.grpo_questions import scene_questions
from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.training.grpo import trainer as grpo
from samtok_eval.training.grpo.from_data import train_from_data
from samtok_eval.training.grpo.recipe import GrpoJob
from tests.models.test_transformers_backend import qwen25
from tests.support.grpo import ROW, recipe, train, write_rows


@pytest.fixture(scope="module")
def trained(prompts, demo_tokenizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("grpo")
    return out, train(prompts, demo_tokenizer, out)


def test_training_moves_words_and_leaves_the_vision_tower(trained):
    out, _ = trained
    before, after = (load_file(folder / "model.safetensors") for folder in (DEMO_CHECKPOINT, out))
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved
    assert not any("visual" in name for name in moved)
    assert (
        json.loads((out / "generation_config.json").read_text())["eos_token_id"]
        == json.loads((DEMO_CHECKPOINT / "generation_config.json").read_text())["eos_token_id"]
    )


def test_reward_and_held_out_masks_stand_in_one_log(trained):
    out, lines = trained
    written = [json.loads(line) for line in (out / "training_log.jsonl").open()]
    assert written == lines
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["step"] for line in lines if "held_out/giou" in line] == [0, 2, 4]
    assert all("reward" in line and "kl" in line for line in lines[1:])
    assert {"held_out/false_no_target", "held_out/distinct_codes", "held_out/gcg_ap50"} <= set(lines[0])
    assert list((out / "runs").rglob("events.out.tfevents.*"))


def test_a_resumed_run_ends_with_exactly_the_same_weights(trained, prompts, demo_tokenizer, tmp_path):
    train(prompts, demo_tokenizer, tmp_path, steps=2)
    # What was logged after the last save is not part of the resumed run, nor is a line that was cut off.
    with (tmp_path / "training_log.jsonl").open("a") as log:
        log.write('{"step": 3}\n{"step": 4, "rewa')
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, now 0\.1; give the old ones"):
        train(prompts, demo_tokenizer, tmp_path, resume=True, learning_rate=0.1)
    with pytest.raises(UsageError, match="holds a run already; give --resume"):
        train(prompts, demo_tokenizer, tmp_path)
    lines = train(prompts, demo_tokenizer, tmp_path, resume=True)
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (trained[0], tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line.get("reward") for line in lines] == [line.get("reward") for line in trained[1]]


def test_tasks_are_evaluated_beside_the_reward_and_the_training_does_not_notice(
    trained, prompts, demo_tokenizer, tmp_path
):
    out = tmp_path / "out"
    asked = {"eval_tasks": "gres:val", "eval_every": 2, "eval_limit": 4}
    lines = train(prompts, demo_tokenizer, out, around=asked)
    straight, same = (load_file(folder / "model.safetensors") for folder in (trained[0], out))
    assert all(torch.equal(straight[name], same[name]) for name in straight)
    names = {"eval_gres:val_giou"}
    for line, plain in zip(lines, trained[1], strict=True):
        assert set(line) - set(plain) == (names if line["step"] in (2, 4) else set())
        assert line.get("reward") == plain.get("reward")
    assert json.loads((out / "training_log.jsonl").read_text().splitlines()[-1]) == lines[-1]
    # At the last step it is the checkpoint that is written.
    options = {"tokenizer": str(DEMO_CHECKPOINT), "limit": 4, "out": tmp_path / "runs", "dtype": "fp32"}
    run = evaluate("gres", model=str(out), **options)
    assert lines[-1]["eval_gres:val_giou"] == run.metrics.protocols["strict"]["giou"].value
    assert len(list((out / "evaluations").rglob("metrics.json"))) == 2
    with pytest.raises(UsageError, match="did you mean gres"):
        train(prompts, demo_tokenizer, tmp_path / "other", around={**asked, "eval_tasks": "gress"})


def test_too_little_memory_names_the_knobs(prompts, demo_tokenizer, tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(grpo.MonitoredTrainer, "train", no_memory)
    with pytest.raises(UsageError, match=r"4 answers per pass and 4 drawn at once .* lower --sequences-per-device"):
        train(prompts, demo_tokenizer, tmp_path)


def test_nothing_to_resume_and_no_checkpoint_say_so(prompts, demo_tokenizer, tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume"):
        train(prompts, demo_tokenizer, tmp_path, resume=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded as a vision-language model"):
        grpo.load_policy(tmp_path)


def test_a_qwen25_checkpoint_trains_on_a_prompt_file_by_a_paper_recipe(tmp_path, demo_tokenizer):
    model = tmp_path / "model"
    model.mkdir()
    qwen25(model)
    data = write_rows(tmp_path, [ROW, ROW | {"source": "gres"}], "jsonl")
    small = {"prompts_per_step": 2, "samples": 2, "updates_per_rollout": 1, "max_new_tokens": 4, "held_out_tokens": 4}
    job = GrpoJob(tmp_path / "out", model=str(model), tokenizer=str(DEMO_CHECKPOINT), data=data, device="cpu")
    held_out = scene_questions(DEVELOPMENT, 1)
    lines = train_from_data(recipe("paper-gres", small | {"epochs": 1, "max_pixels": 112 * 112}), job, held_out)
    assert [line["step"] for line in lines] == [0, 1]
    assert "rewards/format/mean" in lines[1]
    sizes = [json.loads((folder / "processor_config.json").read_text())["image_processor"]["size"]
             for folder in (tmp_path / "model", tmp_path / "out")]  # fmt: skip
    assert sizes[0] == sizes[1]
