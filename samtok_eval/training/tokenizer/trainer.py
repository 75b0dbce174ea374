"""Training of the mask tokenizer: pictures with masks -> a `MaskTokenizer` folder.

Three phases in one run: without quantizer, with books started by k-means and moved by running averages, with frozen
books; a recipe may leave any of them out. A step is the same whatever number of ranks and batches share it: losses are
summed per mask, gradients are summed over batches and ranks and divided by the number of masks once, and the vectors of
the whole step move the books.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from samtok_eval.device import memory_named
from samtok_eval.errors import DataError, TooManyErrorsError, UsageError
from samtok_eval.tokenizer.model import MaskTokenizer
from samtok_eval.training.folder import TrainingFolder, start_of
from samtok_eval.training.ranks import Ranks
from samtok_eval.training.schedule import one_cycle
from samtok_eval.training.tokenizer.codebooks import book_tensors, start_with_kmeans, update_books
from samtok_eval.training.tokenizer.forward import TokenizerForward, TrainingItem, TrainingItems
from samtok_eval.training.tokenizer.log import LEAVES, SUMS, TrainingLog, Window, sums_of
from samtok_eval.training.tokenizer.recipe import TokenizerJob, TokenizerRecipe
from samtok_eval.training.tokenizer.reconstruction import HeldOut, Reconstruction, reconstruct
from samtok_eval.training.tokenizer.state import CHECKPOINT, load_checkpoint, load_start, newest, save_checkpoint
from samtok_eval.training.tokenizer.streams import FunctionStream, MaskedPicture, PictureStream, Problem

__all__ = [
    "MaskedPicture",
    "Reconstruction",
    "TokenizerJob",
    "TokenizerRecipe",
    "TokenizerTrainer",
    "reconstruct",
    "train_tokenizer",
]

logger = logging.getLogger(__name__)

ERRORS_SHOWN = 3
"""In the message that ends a run."""
LOWER, ALSO = ("--batch-per-device", "--masks-per-picture", "--image-size"), "give --gradient-checkpointing"
"""What saves memory."""
SKIPS_SHOWN = 20
"""Broken things named on the console in one run; all are counted."""


def train_tokenizer(
    recipe: TokenizerRecipe,
    job: TokenizerJob,
    pictures: PictureStream | Callable[[int], MaskedPicture],
    held_out: HeldOut,
    data: dict[str, Any] | None = None,
) -> MaskTokenizer:
    """Train, saving the folder at every evaluation. Under `torchrun` all ranks call this.

    Args:
        recipe: settings.
        job: where and how; its folder gets `config.json`, `model.safetensors`, `training.json`, `training_log.jsonl`,
            `training_steps.jsonl`, `checkpoint.pt` and `tensorboard/`.
        pictures: a stream, or a function that gives the i-th training picture for any i from 0.
        held_out: pictures for the reported reconstruction, never trained on; None entries are skipped.
        data: what the stream consists of, ready for JSON; compared on resume.

    Raises:
        UsageError: settings that cannot go together, that changed since the run began, or that need more memory, or
            nothing to resume.
        CheckpointError: weights that do not fit.
        DataError: the data cannot be used.
        TooManyErrorsError: more broken pictures and masks than allowed.
    """
    stream = FunctionStream(pictures) if callable(pictures) else pictures
    return TokenizerTrainer(recipe, job, stream, held_out, data or {}).train()


class TokenizerTrainer:
    """One run on this rank."""

    def __init__(
        self, recipe: TokenizerRecipe, job: TokenizerJob, stream: PictureStream, held_out: HeldOut, data: dict[str, Any]
    ) -> None:
        self.ranks = Ranks(job.device)
        self.settings = recipe.resolved(stream.pictures, self.ranks.device.type == "cuda")
        self.stream, self.held_out, self.job, self.out = stream, held_out, job, job.out
        if not len(held_out):
            raise UsageError("training needs held-out pictures to report on; give --held-out or --held-out-pictures")
        self._at_once = self._batch_per_rank()
        torch.set_num_threads(job.threads)
        state = self._begin(data)
        torch.manual_seed(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.tokenizer = self._build(job.init if state is None else None)
        self.forward = TokenizerForward(self.tokenizer, self.settings, job.gradient_checkpointing)
        self.optimizer = torch.optim.AdamW(
            self.forward.trained,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            betas=recipe.betas,
        )
        self.window = self._new_window()
        self.recent: list[Tensor] = []
        self.problems: dict[str, bool] = {}
        self.done, self._minutes_before = 0, 0.0
        if state is not None:
            self._load(load_checkpoint(state))
        self.log = TrainingLog(self.out, self.settings.count, self.done, self.ranks.first, job.tensorboard)

    def train(self) -> MaskTokenizer:
        """Every step that is left; the tokenizer comes back in evaluation mode."""
        started, batches = time.process_time(), self._batches()
        for step in range(self.done, self.settings.count):
            if step == self.settings.books_start:
                self._start_books()
            sums, rate = self._step(step, batches)
            self.done = step + 1
            if self.done % self.job.log_every == 0 or self.done == self.settings.count:
                self.log.step(self.done, self.window, {"rate": rate, **self._skipped()})
                self.window = self._new_window()
            minutes = self._minutes_before + (time.process_time() - started) / 60
            evaluated = self.done % self.settings.evaluate_every == 0 or self.done == self.settings.count
            if evaluated:
                self._evaluate(float(sums[1] / sums[0]), minutes)
            if (self.done % self.job.save_every == 0) if self.job.save_every else evaluated:
                self._save(minutes)
        if self.job.save_every and self.done % self.job.save_every:
            self._save(self._minutes_before + (time.process_time() - started) / 60)
        self.log.close()
        self.ranks.wait()
        return self.tokenizer.eval()

    def _step(self, step: int, batches: Iterator[list[TrainingItem]]) -> tuple[Tensor, float]:
        """One optimizer step; sums over all ranks and the learning rate."""
        settings, quantized = self.settings, step >= self.settings.books_start
        rate = settings.learning_rate * one_cycle(step, settings.count, settings.warmup_steps, settings.final_rate)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self.ranks.device)
        vectors, codes, problems = [], [], []
        for batch in islice(batches, settings.pictures_per_step // (self.ranks.world * self._at_once)):
            with self._memory(len(batch)):
                found = self.forward(batch, quantized)
                found.total.sum().backward()
            sums += sums_of(found)
            # Joined per batch, so that rows stand in the order of the stream whatever the number of ranks.
            vectors.append(self.ranks.rows(found.vectors))
            if found.codes is not None:
                codes.append(self.ranks.rows(found.codes))
            problems += [problem for item in batch for problem in item.problems]
        self.ranks.add_up(sums)
        if not sums.isfinite().all():
            raise UsageError(
                f"the loss of step {step + 1} is not finite; give a lower --learning-rate, or --dtype float32, with "
                "another --out"
            )
        self.ranks.add_up_gradients(self.forward.trained)
        for parameter in self.forward.trained:
            if parameter.grad is not None:
                parameter.grad /= sums[0].to(parameter.grad.dtype)
        torch.nn.utils.clip_grad_norm_(self.forward.trained, settings.clip_norm)
        self.optimizer.step()
        self._count(problems)
        restarted = self._move_books(step, torch.cat(vectors))
        self.window.add(sums, torch.cat(codes) if codes else None, restarted)
        return sums, rate

    def _memory(self, pictures: int) -> AbstractContextManager[None]:
        return memory_named(
            f"{pictures} pictures at once of {self.settings.model.image_size} pixels and up to "
            f"{self.settings.masks_per_picture} masks each",
            LOWER,
            ALSO,
        )

    def _move_books(self, step: int, vectors: Tensor) -> int:
        """Collect vectors for the start of the books, or move the books; entries placed anew."""
        settings = self.settings
        if step < settings.books_start:
            kept = settings.kmeans_vectors // max(len(vectors), 1) + 1
            self.recent = [*self.recent, vectors][-kept:]
            return 0
        if step >= settings.books_stop:
            return 0
        restarted = update_books(
            self.tokenizer.quantizer, vectors, settings.ema_decay, settings.restart_below, self.generator,
            settings.restart_count,
        )  # fmt: skip
        self.ranks.align(book_tensors(self.tokenizer.quantizer))
        return restarted

    def _start_books(self) -> None:
        if self.settings.book_start == "normal":
            return
        collected = sum(map(len, self.recent))
        if collected < self.settings.model.codebook_size:
            raise UsageError(
                f"{self.settings.count} steps collect {collected} masks before the codebooks start, which need "
                f"{self.settings.model.codebook_size}; train for more steps"
            )
        start_with_kmeans(self.tokenizer.quantizer, torch.cat(self.recent), self.generator)
        self.ranks.align(book_tensors(self.tokenizer.quantizer))
        self.recent = []

    def _batches(self) -> Iterator[list[TrainingItem]]:
        """This rank's batches from the current step on, without end.

        Raises:
            DataError: the stream gives up.
        """
        loader = DataLoader(
            TrainingItems(self.stream, self.settings),
            batch_sampler=_Positions(
                self.done * self.settings.pictures_per_step, self.ranks.rank, self.ranks.world, self._at_once,
                self.settings.count * self.settings.pictures_per_step,
            ),
            collate_fn=list,
            num_workers=self.job.workers,
            # Readers inherit the opened collections instead of copying them.
            multiprocessing_context="fork" if self.job.workers else None,
        )  # fmt: skip
        for batch in loader:
            for item in batch:
                if isinstance(item, DataError):
                    raise item
            yield batch

    def _count(self, mine: list[Problem]) -> None:
        """Note what was skipped on any rank.

        Raises:
            TooManyErrorsError: more is broken than allowed.
        """
        new = [problem for problem in mine if problem.key not in self.problems]
        if not int(self.ranks.add_up(torch.tensor(len(new), device=self.ranks.device))):
            return
        before = sum(self.problems.values())
        met = list({problem.key: problem for problem in self.ranks.objects(new)}.values())
        self.problems |= {problem.key: problem.broken for problem in met}
        broken = sum(self.problems.values())
        if self.ranks.first:
            for message in [p.message for p in met if p.broken][: max(SKIPS_SHOWN - before, 0)]:
                logger.warning("skipped: %s", message)
        if broken > self.job.max_errors:
            shown = "; ".join([p.message for p in met if p.broken][:ERRORS_SHOWN])
            raise TooManyErrorsError(
                f"{broken} broken pictures and masks, --max-errors allows {self.job.max_errors}: {shown}"
            )

    def _skipped(self) -> dict[str, int]:
        broken = sum(self.problems.values())
        return {"skipped_broken": broken, "skipped_empty": len(self.problems) - broken}

    def _evaluate(self, loss: float, minutes: float) -> None:
        quality = reconstruct(self.tokenizer, self.held_out, self.ranks)
        line = {"step": self.done, "cpu_minutes": round(minutes, 2), "loss": round(loss, 4)}
        self.log.evaluation({**line, **quality._asdict(), **self._skipped()})
        if self.ranks.first:
            self.tokenizer.save_pretrained(self.out)

    def _save(self, minutes: float) -> None:
        if self.ranks.first:
            state = {
                "step": self.done,
                "cpu_minutes": minutes,
                "model": self.tokenizer.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "recent": self.recent,
                "window": self.window.state(),
                "problems": self.problems,
            }
            save_checkpoint(self.out / CHECKPOINT, state)

    def _load(self, state: dict[str, Any]) -> None:
        self.done, self._minutes_before = int(state["step"]), float(state["cpu_minutes"])
        self.tokenizer.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.recent = [vectors.to(self.ranks.device) for vectors in state["recent"]]
        self.window.load(state["window"])
        self.problems = dict(state["problems"])

    def _begin(self, data: dict[str, Any]) -> Path | None:
        """Begin or go on in the run's folder; the checkpoint to load."""
        folder = TrainingFolder(self.out, newest, (CHECKPOINT, *LEAVES), TokenizerRecipe, free=("init",))
        init = self.job.init and str(self.job.init)
        start = start_of(self.job.resume, self.job.fresh)
        return folder.begin({**self.settings.to_json(), "data": data, "init": init}, start)

    def _build(self, init: Path | None) -> MaskTokenizer:
        dtype = torch.bfloat16 if self.settings.dtype == "bfloat16" else torch.float32
        tokenizer = MaskTokenizer(self.settings.model, autocast_dtype=dtype)
        if init is not None:
            load_start(tokenizer, init)
        return tokenizer.to(self.ranks.device).train()

    def _new_window(self) -> Window:
        return Window(self.settings.model.codebook_depth, self.settings.model.codebook_size)

    def _batch_per_rank(self) -> int:
        share, rest = divmod(self.settings.pictures_per_step, self.ranks.world)
        at_once = min(self.job.pictures_at_once or share, max(share, 1))
        if rest or at_once < 1 or share % at_once:
            raise UsageError(
                f"{self.settings.pictures_per_step} pictures per step cannot be shared evenly by {self.ranks.world} "
                f"ranks with {at_once} pictures at once; change --batch-size or --batch-per-device"
            )
        if self.settings.show_elsewhere and at_once < 2:
            raise UsageError(
                "this recipe shows masks on other pictures of a batch and needs 2 pictures at once per rank; raise "
                "--batch-size or --batch-per-device, or use fewer ranks"
            )
        return at_once


class _Positions:
    """Positions in the stream of one rank's batches: ranks take turns, batch by batch."""

    def __init__(self, first: int, rank: int, world: int, at_once: int, end: int) -> None:
        self._starts = range(first + rank * at_once, end, world * at_once)
        self._at_once = at_once

    def __iter__(self) -> Iterator[list[int]]:
        return ([*range(start, start + self._at_once)] for start in self._starts)

    def __len__(self) -> int:
        return len(self._starts)
