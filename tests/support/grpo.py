"""Small recipes, prompt files and runs of reinforcement."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

pytest.importorskip("trl")

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.training.corpus import DEVELOPMENT
from samtok_eval.demo.training.grpo import stages_of
from samtok_eval.demo.training.grpo_questions import scene_questions
from samtok_eval.training.grpo.recipe import GrpoJob, GrpoRecipe
from samtok_eval.training.grpo.trainer import train_grpo


def recipe(preset, changes=None):
    return stages_of(preset, changes)[preset]


WEIGHTS = {"gres": {"matched_answer": 1.0, "decoded_iou": 1.0}, **recipe("demo-gcg").weights}
TINY = GrpoRecipe(
    steps=4, prompts_per_step=2, samples=2, sequences_per_device=4, max_new_tokens=10, held_out_tokens=10,
    learning_rate=1e-3, weights=WEIGHTS, evaluate_every=2, save_every=2,
)  # fmt: skip
ROW = {"problem": " <image>\nSegment it. ", "answer": "No target.", "images": ["a.png"], "source": "thinking_gres"}


def write_rows(folder, rows, kind):
    Image.new("RGB", (8, 6), "red").save(folder / "a.png")
    path = folder / f"prompts.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        from datasets import Dataset

        content = (folder / "a.png").read_bytes()
        packed = [row | {"images": [{"bytes": content, "path": None}] * len(row["images"])} for row in rows]
        Dataset.from_list(packed).to_parquet(path)
    return path


def train(prompts, tokenizer, out, resume=False, around=None, **changes):
    job = GrpoJob(out, model=str(DEMO_CHECKPOINT), resume=resume, device="cpu", **(around or {}))
    return train_grpo(replace(TINY, **changes), job, tokenizer, prompts, scene_questions(DEVELOPMENT, 1))
