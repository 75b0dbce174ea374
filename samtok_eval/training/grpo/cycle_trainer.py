"""Captions and their grounding in one update: CycleGRPO (arXiv 2607.11581) on `trl`'s trainer.

Every caption that is drawn is put into a grounding question, which the model as it is answers several times. How far
these answers agree with the region rewards the caption, and the answers are trained on as well. Answers to prompts
(captions and whatever else the prompts ask for) and answers to grounding questions are the two halves of an update:
each has its own advantages and half of the loss, a mean over tokens, and one step of the optimizer follows both.
Where the answers to grounding questions only reward captions, the answers to prompts are the whole of an update.

A rollout of a device is split into passes, first those of the prompts, then those of the grounding questions; all
devices have as many. Where a device drew fewer captions, questions of no weight fill up its passes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate.utils import gather, gather_object
from trl.trainer.utils import (
    shuffle_sequence_dict,
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from samtok_eval.mask_tokens import Layout
from samtok_eval.prompts import Prompt
from samtok_eval.training.cycle import CYCLES, Cycle, grades
from samtok_eval.training.grpo.monitored import MonitoredTrainer
from samtok_eval.training.rewards import has_mask_word

Item = TypeVar("Item")

LEAKS = "captions_with_mask_words"
"""What is logged of captions: the share that writes a mask word, which as released hands the answer over."""
GROUNDING = "grounding/"
"""Before the names of all that is logged of answers to grounding questions."""
AGREEMENT = "agreement"
"""Column of a row: mean grade of the answers to its grounding question; None where it is no caption."""

Passes = list[dict[str, Any]]
"""What is given to the loss, pass by pass."""


class CycleSettings(NamedTuple):
    """What a trainer has to know of the cycle."""

    weights: Mapping[str, tuple[str, float]]
    """Variant and weight of its rewards, by the source of prompts that ask for captions."""
    prompt: Prompt
    """The grounding question, with a place for the caption."""
    suffix: str
    """Behind the question."""
    answers: int
    """Drawn per question."""
    trained: bool
    """Whether they are trained on, too."""
    passes: int
    """Of the prompts in one update, on a device."""
    text: Callable[[list[int]], str]
    """Ids of an answer -> its text."""
    special: Sequence[str]
    """Words of the checkpoint that a caption must not hand on to the question."""
    layout: Layout
    """Of the mask words."""


class CycleTrainer(MonitoredTrainer):
    """GRPO on the answers to prompts and on those to the grounding questions that captions among them lead to."""

    def __init__(self, cycle: CycleSettings, *arguments: Any) -> None:
        """Prepare.

        Args:
            cycle: its settings.
            *arguments: those of `MonitoredTrainer`.
        """
        super().__init__(*arguments)
        self.cycle = cycle
        self._questions: list[dict[str, Any]] | None = None
        """Those that are being answered."""
        self._grounded: dict[str, Any] = {}
        """Answers to the questions of the last rollout, as the loss takes them."""
        self._waiting: Passes = []
        """The passes of the last rollout."""
        self._agreements: list[float] = []
        """Mean grades of the answers to these questions, those without weight left out."""

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """The pass that is due; a rollout before the first one."""
        steps = self.args.steps_per_generation
        if self._step % steps == 0 or not self._waiting:
            self._waiting = self._passes(generation_batch)
        found: dict[str, Any] = self._waiting[self._step % steps]
        return found

    def _passes(self, rows: list[dict[str, Any]]) -> Passes:
        """A rollout, its passes in the order in which updates take them."""
        drawn = self._generate_and_score_completions(rows)
        updates = self.args.steps_per_generation // self.args.gradient_accumulation_steps
        own = self.cycle.passes
        parts = [(drawn, own)]
        if self.cycle.trained:
            parts.append((self._grounded, own * self.cycle.answers))
        split = [_in_groups(_shared(answers, updates * count, len(parts)), count) for answers, count in parts]
        self._grounded = {}
        return [one for update in zip(*split, strict=True) for part in update for one in part]

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        """Of captions once their questions are answered; of the answers to these while that goes on."""
        if self._questions is not None:
            return self._grounding_rewards(completion_ids_list)
        agreements = self._ground(inputs, completion_ids_list)
        for row, agreement in zip(inputs, agreements, strict=True):
            row[AGREEMENT] = agreement
        found: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return found

    def _ground(self, rows: Sequence[dict[str, Any]], drawn: Sequence[list[int]]) -> list[float | None]:
        """Ask the grounding questions of the captions among the answers, and keep the answers for training.

        Returns:
            Mean grade of the answers to each caption's question; None where an answer is no caption.
        """
        captions = [i for i, row in enumerate(rows) if row["source"] in self.cycle.weights]
        own = [self._question(rows[i], drawn[i]) for i in captions]
        self._log_leaks([self.cycle.text(drawn[i]) for i in captions])
        self._questions = own + [_filler(rows[0]) for _ in range(self._most_questions(len(own)) - len(own))]
        self._agreements = []
        answers = self.cycle.answers
        with self._logged_apart(), self._groups_of(answers):
            found = self._generate_and_score_completions([dict(q) for q in self._questions for _ in range(answers)])
        self._questions = None
        self._grounded = self._weighed(found, len(own) * answers)
        by_row = dict(zip(captions, self._agreements, strict=True))
        return [by_row.get(i) for i in range(len(rows))]

    def _log_leaks(self, captions: Sequence[str]) -> None:
        counted = [float(has_mask_word(caption)) for caption in captions]
        sums = gather(torch.tensor([[sum(counted), len(counted)]], device=self.accelerator.device)).sum(0)
        if sums[1]:
            self._metrics["train"][LEAKS].append(float(sums[0] / sums[1]))

    def _question(self, row: Mapping[str, Any], drawn: list[int]) -> dict[str, Any]:
        """The grounding question of a caption: the first picture alone, and what of the caption may be repeated."""
        text = self.cycle.text(drawn)
        for word in self.cycle.special:
            text = text.replace(word, "")
        repeated = self._variant(row).repeated(text)
        content = self.cycle.prompt(caption=repeated) + self.cycle.suffix
        return {**row, "prompt": [{"role": "user", "content": content}], "images": row["images"][:1]}

    def _variant(self, row: Mapping[str, Any]) -> Cycle:
        return CYCLES[self.cycle.weights[row["source"]][0]]

    def _most_questions(self, own: int) -> int:
        """As many as the device with the most has, and such that passes are of one size."""
        most = int(max(gather_object([own])))
        chunks = self.cycle.passes * self.args.steps_per_generation // self.args.gradient_accumulation_steps
        return int(math.ceil(max(most, 1) / chunks) * chunks)

    def _grounding_rewards(self, drawn: Sequence[list[int]]) -> torch.Tensor:
        """Rewards of answers to grounding questions, in the column of their variant; none of what only fills up."""
        rewards = torch.full((len(drawn), len(self.reward_func_names)), math.nan, device=self.accelerator.device)
        layout, first = self.cycle.layout, 0
        for question, ids in zip(self._questions or [], _in_groups(drawn, self.cycle.answers), strict=True):
            if question["source"] in self.cycle.weights:
                name, weight = self.cycle.weights[question["source"]]
                texts = [self.cycle.text(answer) for answer in ids]
                own = grades(texts, question["reference"], layout)
                mean = sum(own) / len(own)
                earned = [
                    weight * CYCLES[name].segmenter(text, grade, mean, layout).total
                    for text, grade in zip(texts, own, strict=True)
                ]
                rewards[first : first + len(ids), self.reward_func_names.index(name)] = torch.tensor(earned)
                self._agreements.append(mean)
            first += len(ids)
        found: torch.Tensor = gather(rewards)
        return found

    def _weighed(self, answers: dict[str, Any], count: int) -> dict[str, Any]:
        """Answers of which the first `count` have a weight in the loss."""
        mask = answers["completion_mask"].clone()
        mask[count:] = 0
        total = self.accelerator.gather(mask.sum()).sum()
        return {**answers, "completion_mask": mask, "num_items_in_batch": total}

    @contextmanager
    def _groups_of(self, answers: int) -> Iterator[None]:
        """Advantages within groups of so many answers."""
        self.num_generations = answers
        try:
            yield
        finally:
            self.num_generations = self.args.num_generations

    @contextmanager
    def _logged_apart(self) -> Iterator[None]:
        """What is logged meanwhile gets names of its own; rewards that take no part are left out."""
        usual = self._metrics["train"]
        self._metrics["train"] = defaultdict(list)
        try:
            yield
        finally:
            for name, values in self._metrics["train"].items():
                known = [value for value in values if not math.isnan(value)]
                if known:
                    usual[f"{GROUNDING}{name}"] += known
            self._metrics["train"] = usual


def _in_groups(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _filler(row: Mapping[str, Any]) -> dict[str, Any]:
    """A question of no weight, about the first picture of any prompt."""
    return {**row, "prompt": [{"role": "user", "content": ""}], "images": row["images"][:1], "source": ""}


def _shared(answers: dict[str, Any], passes: int, parts: int) -> Passes:
    """Shuffled passes of answers whose losses add up to the mean over their words / the parts of an update."""
    weighed = {**answers, "num_items_in_batch": answers["num_items_in_batch"] * parts}
    shuffled = shuffle_sequence_dict(split_pixel_values_by_grid(weighed))
    return [unsplit_pixel_values_by_grid(one) for one in split_tensor_dict(shuffled, passes)]
