"""Captions and their grounding in one update: what is asked, what it earns, how both halves weigh, and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("trl")

from transformers import TrainerCallback

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT, build_scene
from samtok_eval.demo.training.grpo import _prompts, stages_of
from samtok_eval.demo.training.grpo_questions import REGION, scene_prompts, scene_questions
from samtok_eval.errors import DataError, UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, masks_of, render
from samtok_eval.prompts import FIND_DESCRIBED, GROUND_CAPTION
from samtok_eval.training.cycle import cycle_of, cycle_sources, few_trigrams
from samtok_eval.training.grpo import trainer as grpo
from samtok_eval.training.grpo.cycle_trainer import CycleSettings, CycleTrainer
from samtok_eval.training.grpo.monitored import LastRows
from samtok_eval.training.grpo.prompts import GrpoPrompt, StoredPicture, read_prompts
from samtok_eval.training.grpo.recipe import GrpoJob
from samtok_eval.training.grpo.trainer import train_grpo
from samtok_eval.training.grpo.trl_settings import check_sources, trl_config

RECIPE = stages_of("demo-cycle")["demo-cycle"]
TINY = replace(
    RECIPE, steps=1, prompts_per_step=4, samples=2, groundings=3, sequences_per_device=4, max_new_tokens=16,
    held_out_tokens=4, clip_norm=1e9, warmup_steps=0, schedule="constant", learning_rate=1e-3,
    evaluate_every=9, save_every=1,
)  # fmt: skip
SPAN = render([(44, 186)])


@pytest.fixture(scope="module")
def prompts(demo_tokenizer):
    scenes = [build_scene(seed, demo_tokenizer) for seed in range(4)]
    return scene_prompts(scenes, 2, 1.0, 0.0, 0, region_share=0.75, no_target_source="gres_no_target")


def train(prompts, tokenizer, out, resume=False, **changes):
    job = GrpoJob(out, model=str(DEMO_CHECKPOINT), resume=resume, device="cpu")
    return train_grpo(replace(TINY, **changes), job, tokenizer, prompts, scene_questions(DEVELOPMENT, 1)[:1])


# ---- prompts ----


def test_drawn_prompts_ask_for_captions_of_regions_and_for_what_is_not_there(prompts, demo_tokenizer):
    assert {p.source for p in prompts} == {REGION, "gres_no_target"} == set(RECIPE.weights)
    for prompt in prompts:
        if prompt.source == REGION:
            assert masks_of(prompt.reference) == masks_of(prompt.text) != []
        else:
            assert prompt.reference == "No target."
    drawn = _prompts(replace(RECIPE, steps=2), GrpoJob(out=None), demo_tokenizer)
    assert {p.source for p in drawn} == set(RECIPE.weights)


def row(**changes):
    span, zoomed = render([(1, 2)]), render([(3, 4)])
    return {
        "images": ["a.png"], "cap_problem": f"<image>\nProvide a detailed description of this region {span}.",
        "cap_answer": None, "seg_problem": None, "seg_answer": f"<answer>{span}</answer>", "masks": None,
        "source": "denseworld_single", "zoomed": zoomed,
    } | changes  # fmt: skip


def read(tmp_path, *rows):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return read_prompts(tmp_path / "prompts.jsonl")


def test_files_of_cyclegrpo_are_read_with_one_region_and_one_picture_each(tmp_path):
    one, two = render([(1, 2)]), render([(3, 4)])
    zoom = f"{row()['cap_problem']} Zoom in with the perspective as <image>, {two}."
    several = f"<image>\nCould you please give me a detailed description of the following regions? {one}, {two}."
    nothing = {"cap_problem": "<image>\nPlease segment a cat in this image.", "source": "gres_no_target"}
    found = read(
        tmp_path,
        row(),
        row(cap_problem=zoom, images=["a.png", "missing.png"]),
        row(cap_problem=several, seg_answer=f"<answer>{one}, {two}</answer>", source="denseworld_multiple"),
        row(seg_answer="<answer>No target.</answer>", **nothing),
        row(source=None),
    )
    asked = "Could you please give me a detailed description of the following region? "
    assert [p.text for p in found] == [
        f"Provide a detailed description of this region {one}.",
        f"{asked}{one}.",
        f"{asked}{two}.",
        "Please segment a cat in this image.",
        f"Provide a detailed description of this region {one}.",
    ]
    assert [masks_of(p.reference) for p in found] == [[(1, 2)], [(1, 2)], [(3, 4)], [], [(1, 2)]]
    assert all(len(p.images) == 1 for p in found)
    check_sources(stages_of("paper-cyclegrpo")["paper-cyclegrpo"], found)


def test_what_cannot_be_cycled_is_refused():
    recipe, picture = stages_of("paper-closed-cycle")["paper-closed-cycle"], (StoredPicture("a.png", None),)
    with pytest.raises(DataError, match="asks for the caption of a region; expected a picture and the region's mask"):
        check_sources(recipe, [GrpoPrompt(picture, "Describe it.", "No target.", "denseworld_single")])
    with pytest.raises(DataError, match="expected a picture"):
        check_sources(recipe, [GrpoPrompt((), "Describe it.", SPAN, "dam_cyclegrpo")])
    with pytest.raises(UsageError, match="source 'psg' have no rewards"):
        check_sources(recipe, [GrpoPrompt(picture, "Describe it.", "[]", "psg")])
    both = replace(recipe, weights={"dam_cyclegrpo": {"cyclegrpo": 1.0, "closed_cycle": 1.0}})
    with pytest.raises(UsageError, match="cyclegrpo and closed_cycle reward prompts of the source 'dam_cyclegrpo'"):
        check_sources(both, [])


def test_the_paper_recipe_holds_the_papers_values(tmp_path):
    recipe = stages_of("paper-cyclegrpo")["paper-cyclegrpo"]
    config = trl_config(recipe, tmp_path, 8000, cpu=True)
    drawn = 128 * 8
    assert config.gradient_accumulation_steps * config.per_device_train_batch_size == drawn * (1 + 6)
    assert config.gradient_accumulation_steps == config.steps_per_generation
    assert (config.num_generations, config.learning_rate, config.beta, config.temperature) == (8, 1e-6, 0.01, 1.0)
    assert (recipe.thinking, recipe.epochs, recipe.grounding_prompt) == (False, 1, "ground-caption")
    assert recipe.weights == cycle_sources("cyclegrpo")
    assert stages_of("paper-closed-cycle")["paper-closed-cycle"].weights == cycle_sources("closed_cycle")


# ---- questions ----


def settings(name, prompt=GROUND_CAPTION):
    return CycleSettings({REGION: (name, 1.0)}, prompt, "", 2, True, 1, "".join, ["<|im_end|>", "<|object_ref_start|>"],
                         DEFAULT_LAYOUT)  # fmt: skip


@pytest.mark.parametrize(("name", "leaks"), [("cyclegrpo", True), ("closed_cycle", False)])
def test_a_grounding_question_shows_the_first_picture_and_as_released_the_mask_words_of_the_caption(name, leaks):
    asked = SimpleNamespace(cycle=settings(name), _variant=lambda row: CycleTrainer._variant(asked, row))
    given = {"source": REGION, "images": ["whole", "zoomed"], "reference": SPAN}
    drawn = ["A <|object_ref_start|>dog", f" {SPAN}.", "<|im_end|>"]
    found = CycleTrainer._question(asked, given, drawn)
    assert found["images"] == ["whole"]
    assert found["reference"] == SPAN
    caption = f"A dog {SPAN}." if leaks else "A dog ."
    assert found["prompt"] == [{"role": "user", "content": GROUND_CAPTION(caption=caption)}]


def test_rows_are_read_once_while_they_are_among_the_last():
    read = []

    class Rows(list):
        def __getitem__(self, number):
            read.append(number)
            return {"number": number}

    rows = LastRows(Rows(range(9)), 2)
    assert [rows[i]["number"] for i in (0, 0, 1, 0, 1, 2, 1, 0)] == [0, 0, 1, 0, 1, 2, 1, 0]
    assert read == [0, 1, 2, 0]
    rows[1]["number"] = 5
    assert rows[1]["number"] == 1
    assert len(rows) == 9


# ---- updates ----


class Spy(CycleTrainer):
    """Keeps what the trainer drew first, and the gradient before the first step of the optimizer."""

    last = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Spy.last, self.asked, self.answered, self.gradient, self.passes = self, [], [], {}, []
        spy = self

        class Gradient(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, model=None, **_):
                if state.global_step == 0:
                    spy.gradient = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
                    spy.expected = spy.halves()

        self.add_callback(Gradient())

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        found = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.state.global_step:
            return found
        rows = [row | {"answer": self.cycle.text(ids)} for row, ids in zip(inputs, completion_ids_list, strict=True)]
        (self.answered if self._questions is not None else self.asked).extend(
            zip(rows, found.nansum(1).tolist(), strict=True)
        )
        return found

    def halves(self):
        """The gradient of the mean over words of the answers, and those to the questions, in equal parts, by hand."""
        weights = [p for p in self.model.parameters() if p.requires_grad]
        losses, self.passes = [], self._waiting
        for passes in filter(None, (self.passes[: self.cycle.passes], self.passes[self.cycle.passes :])):
            words, total = 0, 0.0
            for one in passes:
                ids = torch.cat([one["prompt_ids"], one["completion_ids"]], 1)
                seen = torch.cat([one["prompt_mask"], one["completion_mask"]], 1)
                keys = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
                logps, *_ = self._get_per_token_logps_and_entropies(
                    self.model, ids, seen, one["completion_ids"].shape[1], **{k: one[k] for k in keys if k in one}
                )
                mask = one["completion_mask"]
                total = total - (logps * mask * one["advantages"][:, None]).sum()
                words += int(mask.sum())
            losses.append(total / words)
        found = torch.autograd.grad(sum(losses) / len(losses), weights, allow_unused=True)
        named = [n for n, p in self.model.named_parameters() if p.requires_grad]
        return {n: g for n, g in zip(named, found, strict=True) if g is not None}


@pytest.fixture(scope="module")
def spied(prompts, demo_tokenizer, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(grpo, "CycleTrainer", Spy)
    out = tmp_path_factory.mktemp("cycle")
    try:
        lines = train(prompts, demo_tokenizer, out, steps=2)
    finally:
        patch.undo()
    return Spy.last, lines, out


def test_every_caption_is_asked_back_as_often_as_set_and_earns_by_the_mean_of_the_grades(spied):
    trainer, lines, _ = spied
    captions = [(one, earned) for one, earned in trainer.asked if one["source"] == REGION]
    answers = [(one, earned) for one, earned in trainer.answered if one["source"] == REGION]
    assert len(answers) == 3 * len(captions) > 0
    for number, (caption, earned) in enumerate(captions):
        group = answers[3 * number : 3 * number + 3]
        question = FIND_DESCRIBED(caption=caption["answer"])
        assert {one["prompt"][0]["content"] for one, _ in group} == {question}
        region = masks_of(caption["reference"])[0]
        grades = []
        for one, _ in group:
            named = masks_of(one["answer"])
            assert len(named) == 1
            grades.append(1.0 if named == [region] else 0.4 if named[0].first == region.first else 0.0)
        mean = sum(grades) / 3
        assert earned == pytest.approx((few_trigrams(caption["answer"]) + 10 * mean) + 1)
        assert [e for _, e in group] == pytest.approx([10 * grade * mean + 2 for grade in grades])
    assert lines[1]["rewards/closed_cycle/mean"] == pytest.approx(sum(e for _, e in captions) / len(captions), rel=1e-4)
    assert lines[1]["grounding/reward"] == pytest.approx(sum(e for _, e in answers) / len(answers), rel=1e-4)
    assert lines[1]["rewards/closed_no_target/mean"] <= 1
    assert len({earned for _, earned in captions}) > 1


def test_both_halves_weigh_half_each_and_one_step_follows_both(spied):
    trainer, *_ = spied
    assert trainer.state.global_step == 2
    assert len(trainer.passes) == trainer.args.gradient_accumulation_steps == 2 + 2 * 3
    assert set(trainer.gradient) == set(trainer.expected)
    largest = max(float(g.abs().max()) for g in trainer.expected.values())
    assert largest > 1e-3
    for name, gradient in trainer.expected.items():
        assert torch.allclose(trainer.gradient[name], gradient, atol=1e-4 * largest), name


def test_answers_that_only_reward_captions_are_asked_for_and_not_trained_on(
    prompts, demo_tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(grpo, "CycleTrainer", Spy)
    lines = train(prompts, demo_tokenizer, tmp_path, train_groundings=False, samples=4, temperature=1.5)
    trainer = Spy.last
    assert len(trainer.passes) == trainer.args.gradient_accumulation_steps == trainer.cycle.passes == 4
    assert {one["source"] for one, _ in trainer.answered} >= {REGION}
    assert "grounding/reward" in lines[1]
    captions = [one["answer"] for one, _ in trainer.asked if one["source"] == REGION]
    leaks = sum("mt_" in caption for caption in captions) / len(captions)
    assert lines[1]["captions_with_mask_words"] == pytest.approx(leaks)
    assert 0 < leaks < 1
    largest = max(float(g.abs().max()) for g in trainer.expected.values())
    assert largest > 1e-3
    for name, gradient in trainer.expected.items():
        assert torch.allclose(trainer.gradient[name], gradient, atol=1e-4 * largest), name


def test_the_log_says_how_many_captions_hand_the_answer_over():
    texts = [f"A dog {SPAN}.", "A dog.", "A dog <|mt_0044|>", "A cat."]
    told = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu"), _metrics={"train": {"captions_with_mask_words": []}}
    )
    CycleTrainer._log_leaks(told, texts)
    CycleTrainer._log_leaks(told, [])
    assert told._metrics["train"]["captions_with_mask_words"] == [0.5]


def test_advantages_are_within_the_answers_to_one_question(spied):
    trainer, *_ = spied
    passes = trainer.passes[trainer.cycle.passes :]
    found = sorted(round(a, 3) for one in passes for a in one["advantages"].tolist())
    earned = torch.tensor([earned for _, earned in trainer.answered]).view(-1, 3)
    real = earned[: sum(one["source"] == REGION for one, _ in trainer.answered) // 3]
    centred = (real - real.mean(1, keepdim=True)) / (real.std() + 1e-4)
    rest = [0.0] * (earned.numel() - real.numel())
    assert found == pytest.approx(sorted([*(round(a, 3) for a in centred.flatten().tolist()), *rest]), abs=2e-3)


def test_questions_that_only_fill_up_weigh_nothing(prompts, demo_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(grpo, "CycleTrainer", Spy)
    nothing = [p for p in prompts if p.source == "gres_no_target"]
    lines = train(nothing * 4, demo_tokenizer, tmp_path, prompts_per_step=2, save_every=1)
    trainer = Spy.last
    passes = trainer.passes[trainer.cycle.passes :]
    assert len(passes) == 3
    assert all(int(one["completion_mask"].sum()) == 0 and not one["advantages"].any() for one in passes)
    assert {one["source"] for one, _ in trainer.answered} == {""}
    assert "grounding/reward" not in lines[1]


def test_a_resumed_run_ends_with_exactly_the_same_weights(spied, prompts, demo_tokenizer, tmp_path):
    _, whole, out = spied
    train(prompts, demo_tokenizer, tmp_path)
    lines = train(prompts, demo_tokenizer, tmp_path, resume=True, steps=2)
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert [line.get("grounding/reward") for line in lines] == [line.get("grounding/reward") for line in whole]
    before, expected, found = (load_file(f / "model.safetensors") for f in (DEMO_CHECKPOINT, out, tmp_path))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    moved = {name for name in before if not torch.equal(before[name].float(), found[name].float())}
    assert moved
    assert not any("visual" in name for name in moved)


def test_only_recipes_with_a_cycle_train_with_it():
    assert cycle_of(stages_of("demo-gres")["demo-gres"].weights) == {}
    assert cycle_of(RECIPE.weights) == {REGION: ("closed_cycle", 1.0)}
    released = stages_of("demo-cyclegrpo")["demo-cyclegrpo"]
    assert replace(released, weights=RECIPE.weights) == RECIPE
    assert cycle_of(released.weights) == {REGION: ("cyclegrpo", 1.0)}
