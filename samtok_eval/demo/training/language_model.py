"""Supervised fine-tuning of a small Qwen3-VL on scenes: dense warm-up of the vision tower, then questions.

In: training scenes, a model and its processor. Out: the trained model, saved as any `transformers` checkpoint.

Several questions share one picture: they follow the picture in one sequence, but each sees only the picture and
itself, and its positions start right behind the picture. Every token's loss is therefore exactly that of separate
samples, at a fraction of the cost, and no answer can be copied from an earlier one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samtok_eval.demo.training.corpus import NO_OBJECT, OUTLINE, CorpusScene, draw_dialogues
from samtok_eval.demo.training.sft import SceneRecipe
from samtok_eval.demo.training.tiny_vlm import MERGE, PATCH
from samtok_eval.demo.world.language import VIEW, Dialogue
from samtok_eval.demo.world.scenes import COLORS, SHAPES, SIZES
from samtok_eval.files import write_json
from samtok_eval.mask_tokens import CODEBOOK_SIZE, WORDS
from samtok_eval.models.shared_prefix import repeat_pictures
from samtok_eval.training.checkpoint_files import checkpoint_into
from samtok_eval.training.schedule import one_cycle
from samtok_eval.training.step_log import append_line

if TYPE_CHECKING:
    from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

logger = logging.getLogger(__name__)

IGNORED = -100
LENGTH_EXPONENT = -0.25
MOST_LETTERS = 4
"""Choice questions of one kind that are asked about one scene in reports."""
DENSE_WEIGHTS = (0.5, 2.0, 0.5, 1.0, 1.0, 0.5, 2.0, 1.0)
"""Colour, shape, size, first code, second code, presence, outline, box."""
EARLY_DENSE_WEIGHTS = (0.5, 2.0, 0.5, 0.2, 0.2, 0.5, 2.0, 1.0)
"""The same in the first half of the warm-up, where code losses are largest and shapes have yet to be learned."""


class Packed(NamedTuple):
    """One batch: every row is a picture with several questions behind it."""

    input_ids: Tensor
    """int64 (B, L)"""
    labels: Tensor
    """int64 (B, L), the token itself where it is to be predicted, else -100"""
    weights: Tensor
    """float32 (B, L), weight of each token's loss, falling with the length of its dialogue's answers"""
    position_ids: Tensor
    """int64 (3, B, L)"""
    attention_mask: Tensor
    """bool (B, 1, L, L), True where a query may look"""
    pictures: list[int]
    """The row that each picture in the sequences belongs to, in order; a row shows its picture again for each view"""


class QuestionPacker:
    """Turns pictures and their questions into one batch of token sequences."""

    def __init__(self, processor: Qwen3VLProcessor, grid: int, budget: int | None = None) -> None:
        """Prepare the shared prefix.

        Args:
            processor: tokenizer and chat template.
            grid: visual tokens per side.
            budget: tokens behind the picture in one row; dialogues that do not fit are left out. None takes all.
        """
        self.grid, self.budget = grid, budget
        self.tokenizer = processor.tokenizer
        self.processor = processor
        ids = self.tokenizer.convert_tokens_to_ids
        text = self._chat([("", None)])
        before, image, _ = text.partition("<|image_pad|>")
        head = self._encode(before)
        end = ids("<|vision_end|>")
        self.prefix = [*head, *[ids(image)] * grid**2, end]
        rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        first = len(head)
        picture = torch.stack([torch.zeros(grid**2, dtype=torch.int64), rows.reshape(-1), columns.reshape(-1)]) + first
        start = torch.arange(first).expand(3, -1)
        self.next_position = first + grid + 1
        self.prefix_positions = torch.cat([start, picture, torch.full((3, 1), first + grid)], dim=1)

    def tokens(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        """Token ids of everything behind the picture, and their labels: answers with their end words."""
        rest = self._chat(dialogue.turns).partition("<|vision_end|>")[2].removesuffix("\n")
        ids: list[int] = []
        labels: list[int] = []
        mark = "<|im_start|>assistant\n"
        for i, part in enumerate(rest.split(mark)):
            answered, end, asked = part.partition("<|im_end|>") if i else ("", "", part)
            target, context = self._encode(answered + end), self._encode(asked + (mark if i < rest.count(mark) else ""))
            ids += target + context
            labels += target + [IGNORED] * len(context)
        return self._with_views(ids, labels)

    def pack(self, batch: list[list[Dialogue]]) -> Packed:
        """One row per picture, its dialogues side by side; short rows are padded at the end."""
        rows = [self._fitting([self.tokens(dialogue) for dialogue in dialogues]) for dialogues in batch]
        length = len(self.prefix) + max(sum(len(ids) for ids, _ in row) for row in rows)
        size = len(rows)
        input_ids = torch.full((size, length), self.tokenizer.pad_token_id)
        labels = torch.full((size, length), IGNORED)
        weights = torch.zeros(size, length)
        positions = torch.zeros(3, size, length, dtype=torch.int64)
        segment = torch.full((size, length), -1)
        p = len(self.prefix)
        input_ids[:, :p] = torch.tensor(self.prefix)
        positions[:, :, :p] = self.prefix_positions[:, None]
        segment[:, :p] = 0
        for i, row in enumerate(rows):
            at = p
            for number, (ids, targets) in enumerate(row, start=1):
                here = slice(at, at + len(ids))
                input_ids[i, here], labels[i, here] = torch.tensor(ids), torch.tensor(targets)
                # A letter must not drown beside a scene graph of 160 tokens, nor a graph count as little as a letter.
                weights[i, here] = sum(label != IGNORED for label in targets) ** LENGTH_EXPONENT
                positions[:, i, here] = self._positions(ids)
                segment[i, here] = number
                at += len(ids)
        same = segment[:, :, None] == segment[:, None, :]
        shared = (segment == 0)[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        starts = input_ids == self.tokenizer.convert_tokens_to_ids("<|vision_start|>")
        pictures = torch.repeat_interleave(torch.arange(size), starts.sum(1)).tolist()
        return Packed(input_ids, labels, weights, positions, ((same | shared) & causal)[:, None], pictures)

    def _fitting(self, several: list[tuple[list[int], list[int]]]) -> list[tuple[list[int], list[int]]]:
        kept, used = several[:1], len(several[0][0])
        for ids, labels in several[1:]:
            if self.budget is None or used + len(ids) <= self.budget:
                kept.append((ids, labels))
                used += len(ids)
        return kept

    def _with_views(self, ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
        pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        counts = [self.grid**2 if token == pad else 1 for token in ids]
        return (
            [token for token, count in zip(ids, counts, strict=True) for _ in range(count)],
            [label for label, count in zip(labels, counts, strict=True) for _ in range(count)],
        )

    def _positions(self, ids: list[int]) -> Tensor:
        """Multimodal positions behind the first picture, int64 (3, L): a view is a square of rows and columns."""
        pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        at, blocks, i = self.next_position, [], 0
        while i < len(ids):
            if ids[i] == pad:
                rows, columns = torch.meshgrid(torch.arange(self.grid), torch.arange(self.grid), indexing="ij")
                square = torch.stack([torch.zeros(self.grid**2, dtype=torch.int64), rows.flatten(), columns.flatten()])
                blocks.append(square + at)
                at += self.grid
                i += self.grid**2
            else:
                blocks.append(torch.full((3, 1), at))
                at += 1
                i += 1
        return torch.cat(blocks, dim=1)

    def _chat(self, turns: Sequence[tuple[str, str | None]]) -> str:
        messages: list[dict[str, Any]] = []
        for question, answer in turns:
            content: list[dict[str, Any]] = [] if messages else [{"type": "image"}]
            for i, text in enumerate(question.split(VIEW)):
                content += ([{"type": "image"}] if i else []) + [{"type": "text", "text": text}]
            messages.append({"role": "user", "content": content})
            if answer is not None:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        waiting = messages[-1]["role"] == "user"
        return str(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=waiting))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def patches(images: NDArray[np.uint8]) -> Tensor:
    """Square pictures -> what `Qwen2VLImageProcessor` makes of them, without its per-picture cost.

    Args:
        images: uint8 (B, S, S, 3), S a multiple of the visual token's side.

    Returns:
        float32 (B * (S/PATCH)^2, 3 * 2 * PATCH^2), values -1..1; a still picture is repeated as two frames.
    """
    size, side = len(images), images.shape[1] // (PATCH * MERGE)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    cut = pixels.reshape(size, 3, side, MERGE, PATCH, side, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return cut[:, :, :, :, :, :, None].expand(-1, -1, -1, -1, -1, -1, 2, -1, -1).reshape(size * (side * MERGE) ** 2, -1)


class DenseTargets(torch.nn.Module):
    """What each visual token should say: the words and codes of the object under it, its box, its piece of outline.

    Words are read out through the language model's own embedding rows, which puts visual tokens into the space that
    the language model searches with its question words. Box and outline have a head of their own that is thrown away
    after training; they give the tower a local way to shapes, which words alone do not.
    """

    def __init__(self, tokenizer: Any, width: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(width, OUTLINE**2 + 4)

        def rows(words: list[str]) -> Tensor:
            ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
            if any(len(i) != 1 for i in ids):
                raise ValueError(f"each of {words} must be one token; retrain the text tokenizer with them")
            return torch.tensor([i[0] for i in ids])

        mask_words = torch.tensor(tokenizer.convert_tokens_to_ids(list(WORDS[1:-1])))
        self.groups = [
            rows([f" {color}" for color in COLORS]),
            rows([f" {shape}" for shape in SHAPES]),
            rows([f" {size}" for size in SIZES]),
            mask_words[:CODEBOOK_SIZE],
            mask_words[CODEBOOK_SIZE:],
        ]
        self.presence = rows([" object", " image"])

    def forward(
        self,
        tokens: Tensor,
        embedding: Tensor,
        scenes: list[CorpusScene],
        weights: tuple[float, ...] = DENSE_WEIGHTS,
    ) -> tuple[Tensor, list[float]]:
        """Weighted sum of the losses, and accuracies of the word groups on object tokens.

        Args:
            tokens: (B * cells, D) visual tokens.
            embedding: (V, D) word embedding.
            scenes: B scenes.
            weights: of the eight losses.

        Returns:
            The loss, and accuracies of colour, shape, size, first code, second code, presence.
        """
        cells = torch.from_numpy(np.stack([s.cells for s in scenes]).reshape(-1).astype(np.int64))
        here = cells != NO_OBJECT
        offsets = np.cumsum([0, *[len(s.labels) for s in scenes[:-1]]])
        picture = torch.from_numpy(np.repeat(offsets, scenes[0].cells.size))
        labels = torch.from_numpy(np.concatenate([s.labels for s in scenes]))[(cells + picture)[here]]
        seen = F.rms_norm(tokens, (tokens.shape[-1],))
        losses, accuracies = [], []
        for group, label in zip(self.groups, labels.unbind(1), strict=True):
            logits = seen[here] @ embedding[group].T
            losses.append(F.cross_entropy(logits, label))
            accuracies.append(float((logits.argmax(1) == label).float().mean()))
        logits = seen @ embedding[self.presence].T
        losses.append(F.cross_entropy(logits, (~here).long()))
        accuracies.append(float((logits.argmax(1) == (~here).long()).float().mean()))
        drawn = self.head(seen[here])
        outlines = torch.from_numpy(np.stack([s.outlines for s in scenes]).reshape(-1, OUTLINE**2))[here].float()
        boxes = torch.from_numpy(np.concatenate([s.boxes for s in scenes]))[(cells + picture)[here]]
        losses.append(F.binary_cross_entropy_with_logits(drawn[:, :-4], outlines))
        losses.append(10 * F.smooth_l1_loss(drawn[:, -4:], boxes, beta=0.1))
        return (torch.stack(losses) * torch.tensor(weights)).sum(), accuracies


class Trainer:
    """One model in training."""

    def __init__(
        self,
        settings: SceneRecipe,
        model: Qwen3VLForConditionalGeneration,
        processor: Qwen3VLProcessor,
        scene: Callable[[int], CorpusScene],
        held_out: list[CorpusScene],
        out: Path,
    ) -> None:
        """Prepare.

        Args:
            settings: the recipe.
            model: changed in place.
            processor: saved beside it.
            scene: the i-th training scene, for any i from 0.
            held_out: scenes for the reported losses, never trained on.
            out: folder of the checkpoint and of `training_log.jsonl`.
        """
        self.settings, self.model, self.processor = settings, model, processor
        self.scene, self.held_out, self.out = scene, held_out, out
        side = held_out[0].image.shape[0] // (PATCH * MERGE)
        self.packer = QuestionPacker(processor, side, settings.row_tokens)
        self.dense = DenseTargets(processor.tokenizer, model.config.text_config.hidden_size)
        self.grid = torch.tensor([[1, side * MERGE, side * MERGE]])
        self.rng = np.random.default_rng(settings.seed)
        self.started = time.process_time()
        self.used = 0
        out.mkdir(parents=True, exist_ok=True)
        (out / "training_log.jsonl").unlink(missing_ok=True)
        write_json(out / "training.json", asdict(settings))

    def run(self) -> None:
        """Warm the tower up, ask questions, save at every evaluation."""
        self.model.train()
        self.warm_up_tower()
        self.ask_questions()
        self.model.eval()
        self.save()

    def warm_up_tower(self) -> None:
        """Dense supervision of the vision tower and the word embedding."""
        visual, embedding = self.model.model.visual, self.model.get_input_embeddings().weight
        parameters = [*visual.parameters(), *self.dense.parameters(), embedding]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.settings.tower_rate, betas=self.settings.betas, weight_decay=0.01
        )
        steps = self.settings.warmup_tower_steps
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = self.settings.tower_rate * one_cycle(step, steps, self.settings.warmup_steps)
            scenes = self._next(self.settings.tower_pictures)
            output = visual(patches(np.stack([s.image for s in scenes])), grid_thw=self.grid.expand(len(scenes), -1))
            weights = EARLY_DENSE_WEIGHTS if step < steps // 2 else DENSE_WEIGHTS
            loss, accuracies = self.dense(output.pooler_output, embedding, scenes, weights)
            loss = loss + self._pull(output.pooler_output)
            self._step(optimizer, loss, parameters)
            if (step + 1) % self.settings.evaluate_every == 0 or step + 1 == steps:
                names = ("color", "shape", "size", "code1", "code2", "presence")
                shares = {name: round(value, 3) for name, value in zip(names, accuracies, strict=True)}
                self._log({"stage": "tower", "step": step + 1, "loss": round(float(loss.detach()), 4), **shares})

    def ask_questions(self) -> None:
        """Next-token prediction on packed questions, the dense loss kept on."""
        tower = [*self.model.model.visual.parameters(), *self.dense.parameters()]
        rest = list(self.model.model.language_model.parameters())
        optimizer = torch.optim.AdamW(
            [
                {"params": rest, "factor": 1.0},
                {"params": tower, "factor": self.settings.tower_rate_factor},
            ],
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        steps = self.settings.stop_after or self.settings.steps
        for step in range(steps):
            for group in optimizer.param_groups:
                cycle = one_cycle(step, self.settings.steps, self.settings.warmup_steps)
                group["lr"] = self.settings.learning_rate * group["factor"] * cycle
            scenes = self._next(self.settings.pictures)
            drawn = [draw_dialogues(s, self.settings.dialogues, self.rng, self.settings.choice_factor) for s in scenes]
            batch = self.packer.pack(drawn)
            vision = self._see(scenes)
            loss = self._question_loss(batch, vision)
            tokens = torch.cat(vision.pooler_output)
            dense, _ = self.dense(tokens, self.model.get_input_embeddings().weight, scenes)
            self._step(optimizer, loss + self.settings.dense_weight * dense + self._pull(tokens), [*rest, *tower])
            if (step + 1) % self.settings.evaluate_every == 0 or step + 1 == steps:
                line = {"stage": "questions", "step": step + 1, "loss": round(float(loss.detach()), 4)}
                self._log(line | held_out_report(self, self.held_out))
                self.save()

    def save(self) -> None:
        """Write the checkpoint in bfloat16, as published ones are."""
        with checkpoint_into(self.out) as content:
            deepcopy(self.model).bfloat16().save_pretrained(content)
            self.processor.save_pretrained(content)

    def first_code_loss(self, scenes: list[CorpusScene], roll: int) -> tuple[float, float]:
        """Mean loss of the first codes and of all answer tokens, the pictures rolled by `roll` places."""
        rng = np.random.default_rng(0)
        batch = self.packer.pack([draw_dialogues(s, self.settings.dialogues, rng) for s in scenes])
        with torch.no_grad():
            vision = self._see([*scenes[roll:], *scenes[:roll]])
            logits, labels = self._answer_logits(batch, vision)
            losses = F.cross_entropy(logits, labels, reduction="none")
        group = self.dense.groups[3]
        first_codes = (labels >= group[0]) & (labels <= group[-1])
        return float(losses[first_codes].mean()), float(losses.mean())

    def right_letters(self, scenes: list[CorpusScene]) -> dict[str, float]:
        """Share of choice questions whose letter is the most likely next token, by kind of question."""
        kinds = ["lookup", *sorted({d.kind for s in scenes for d in s.dialogues if d.kind.startswith("choice ")})]
        packer = QuestionPacker(self.processor, self.packer.grid)
        shares = {}
        for kind in kinds:
            asked = [s for s in scenes if any(d.kind == kind for d in s.dialogues)]
            batch = packer.pack([[d for d in s.dialogues if d.kind == kind][:MOST_LETTERS] for s in asked])
            with torch.no_grad():
                logits, labels = self._answer_logits(batch, self._see(asked))
            # Every answer is a letter and the end of the turn.
            shares[kind] = float((logits.argmax(1) == labels)[::2].float().mean())
        return shares

    def _see(self, scenes: list[CorpusScene]) -> Any:
        images = patches(np.stack([s.image for s in scenes]))
        return self.model.model.get_image_features(images, self.grid.expand(len(scenes), -1), return_dict=True)

    def _answer_logits(self, batch: Packed, vision: Any) -> tuple[Tensor, Tensor]:
        hidden = self.model.model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            mm_encoder_outputs={"image": repeat_pictures(vision, batch.pictures)},
            use_cache=False,
        ).last_hidden_state
        wanted = batch.labels[:, 1:] != IGNORED
        return self.model.lm_head(hidden[:, :-1][wanted]), batch.labels[:, 1:][wanted]

    def _question_loss(self, batch: Packed, vision: Any) -> Tensor:
        losses = F.cross_entropy(*self._answer_logits(batch, vision), reduction="none")
        weights = batch.weights[batch.labels != IGNORED]
        return (losses * weights).sum() / weights.sum()

    def _pull(self, tokens: Tensor) -> Tensor:
        return 0.1 * (tokens.pow(2).mean().sqrt() - self.settings.token_rms).pow(2)

    def _next(self, count: int) -> list[CorpusScene]:
        scenes = [self.scene(self.used + i) for i in range(count)]
        self.used += count
        return scenes

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        optimizer.step()

    def _log(self, line: dict[str, Any]) -> None:
        line["cpu_minutes"] = round((time.process_time() - self.started) / 60, 2)
        append_line(self.out / "training_log.jsonl", line)
        logger.info("sft %s", line)


def held_out_report(trainer: Trainer, scenes: list[CorpusScene]) -> dict[str, float]:
    """Held-out losses with the right pictures and with pictures swapped between samples, and choice accuracy.

    A model that does not look has equal losses; training loss and token accuracy do not reveal that.
    """
    trainer.model.eval()
    true_code, true_all = trainer.first_code_loss(scenes, roll=0)
    rolled_code, rolled_all = trainer.first_code_loss(scenes, roll=1)
    letters = trainer.right_letters(scenes)
    trainer.model.train()
    values = {
        "first_code": true_code,
        "first_code_rolled": rolled_code,
        "answer": true_all,
        "answer_rolled": rolled_all,
        **letters,
    }
    return {name: round(value, 4) for name, value in values.items()}
