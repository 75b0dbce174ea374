"""What a task is: one benchmark with its card, reader, prompts, protocols and scorer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from samtok_eval.errors import UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout, has_policy, parse, render
from samtok_eval.masks import Rle
from samtok_eval.metrics.cards import card
from samtok_eval.metrics.confusion import Confusion
from samtok_eval.metrics.ratio import Metric
from samtok_eval.metrics.separation import Separation
from samtok_eval.metrics.token_match import token_match_metric
from samtok_eval.passages import Answer, Passage, in_words, labelled, passage, plain, question
from samtok_eval.prediction import AnswerStatus, Prediction, Record
from samtok_eval.prompts import NO_TARGET_ANSWER, Prompt
from samtok_eval.protocol import Protocol
from samtok_eval.records import Records
from samtok_eval.sample import Sample
from samtok_eval.task_checks import check_metrics

if TYPE_CHECKING:
    from samtok_eval.metrics.judge import Prompted
    from samtok_eval.metrics.judges import Judges


class TaskMetadata(BaseModel):
    """The card of a benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    version: int
    """Raised whenever the samples, the prompt or the scoring of the task change."""
    paper: str
    """arXiv number or address."""
    data: str
    """Where the annotations come from."""
    licence: str
    splits: tuple[str, ...]
    default_split: str
    sizes: dict[str, str]
    """Published size per split, in words."""
    files: tuple[str, ...]
    """Paths under the data root."""
    main_metric: str
    metrics: tuple[str, ...]
    """In the order of tables."""
    lower_is_better: tuple[str, ...] = ()
    max_new_tokens: int = 128
    notes: str = ""


class Task(ABC):
    """One benchmark: how it is read, asked and scored."""

    metadata: TaskMetadata
    protocols: tuple[Protocol[Any], ...]
    prompt: Prompt | None
    """None for tasks that ask no language model."""
    prompts: tuple[Prompt, ...] = ()
    """Other published wordings of the same question."""
    split_prompts: ClassVar[Mapping[str, tuple[Prompt, ...]]] = {}
    """Prompts of the splits that are asked otherwise than the rest, the usual one first."""
    prompt_tokens: ClassVar[Mapping[str, int]] = {}
    """Longest answers, in new tokens, by the id of a prompt that needs others than `metadata.max_new_tokens`."""
    needs_language_model: bool = True
    answered_in_words: bool = False
    """Whether only the text of an answer is scored; masks that others bring without text then answer nothing."""
    judged: bool = False
    """Whether a judge model can score its answers."""
    layout: Layout = DEFAULT_LAYOUT
    """Of the mask tokenizer for which answers are written."""
    file: Path | None = None
    """The user's file that defines it; None for a task of this program."""

    @property
    def max_new_tokens(self) -> int:
        """Longest answer to the task's current prompt."""
        asked = self.prompt.id if self.prompt else ""
        return self.prompt_tokens.get(asked, self.metadata.max_new_tokens)

    @abstractmethod
    def read(self, data_root: Path, split: str) -> Sequence[Sample]:
        """All samples of a split, in the order of the benchmark's files.

        Where reading takes long, a task has a third argument, `limit: int | None = None`, and reads no more than the
        first so many; `--limit` gives it then.

        Raises:
            DataError: a file is missing or broken.
        """

    def foreign(self, content: Any) -> list[Prediction] | None:
        """Predictions in the benchmark's own result format.

        Args:
            content: a parsed `.json` file, or the list of the values of a file with one JSON value a line.

        Returns:
            None when this is not that format, or the benchmark has none.

        Raises:
            DataError: it is that format, but a row is broken.
        """
        del content
        return None

    def answered(self, prediction: Prediction) -> bool:
        """Whether a prediction holds what this task scores; an error counts, since it is scored as one."""
        has_masks = prediction.masks is not None and not self.answered_in_words
        return prediction.status == "error" or prediction.text is not None or has_masks

    def assigned(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> Sequence[Prediction]:
        """Predictions under the ids of the samples that they answer; as they are by default.

        Args:
            predictions: of a predictions file, or what `foreign` made of the benchmark's own result format, whose lines
                the benchmark's scorer may find by something else than an id, or ignore.
            samples: everything that was to be answered.
        """
        del samples
        return predictions

    def export(self, samples: Sequence[Sample], answers: Mapping[str, Prediction]) -> dict[str, Any]:
        """Answers in the format that the benchmark's own scorer reads: file name -> JSON content; none by default."""
        del samples, answers
        return {}

    @abstractmethod
    def score(self, sample: Sample, prediction: Prediction | None, protocol: Protocol[Any]) -> Record:
        """Statistics of one answer; a missing prediction is None."""

    def score_all(
        self, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: Protocol[Any], judges: Judges
    ) -> Sequence[Record]:
        """Statistics of all answers, in the order of the samples; tasks that compare whole corpora extend it.

        Args:
            samples: everything that was to be answered.
            answers: predictions by sample id.
            protocol: the rules.
            judges: caption scorers, text similarity and a judge model, each started when first asked.
        """
        del judges
        return [self.score(sample, answers.get(sample.id), protocol) for sample in samples]

    def score_under(
        self,
        samples: Sequence[Sample],
        answers: Mapping[str, Prediction],
        protocols: Sequence[Protocol[Any]],
        judges: Judges,
    ) -> Mapping[str, Sequence[Record]]:
        """`score_all` under several protocols, by name; tasks that read an answer once for all of them replace it."""
        return {protocol.name: self.score_all(samples, answers, protocol, judges) for protocol in protocols}

    @abstractmethod
    def metrics(self, records: Sequence[Record], protocol: str) -> Mapping[str, Metric]:
        """The benchmark's metrics, as statistics per sample and a formula of their sums."""

    def separation(self, records: Mapping[str, Sequence[Record]]) -> Separation | None:
        """What separates the numbers of several protocols for the same answers; None where a task counts no causes.

        Args:
            records: by protocol, of the same samples in the same order.
        """
        del records
        return None

    def stopped(self, records: Sequence[Record], protocol: str) -> str | None:
        """Why the scorer that a protocol copies would stop on this set; None where it comes to its end."""
        found = _stopping(records)
        return None if found is None else f"the scorer that {protocol} copies stops at the annotations of {found.id}"

    def measured(self, records: Sequence[Record], protocol: str) -> dict[str, Metric]:
        """`metrics`, none where the copied scorer cannot read the annotations, and what scoring adds for any task."""
        own = {} if _stopping(records) else self.metrics(records, protocol)
        check_metrics(self, own, len(records))
        return {**own, **token_match_metric(records)}

    def judged_metrics(self, samples: Sequence[Sample]) -> Sequence[str]:
        """Metrics that only a judge can give these samples."""
        judged = [metric for metric in self.metadata.metrics if card(metric).judged]
        return judged if judged and any(sample.target.for_judge for sample in samples) else ()

    def judge_prompts(
        self, samples: Sequence[Sample], answers: Mapping[str, Prediction], protocol: Protocol[Any]
    ) -> Mapping[str, Sequence[Prompted]]:
        """What `score_all` asks a judge about each answer, by sample id; nothing by default.

        Args:
            samples: everything that was to be answered.
            answers: predictions by sample id.
            protocol: the rules.
        """
        del samples, answers, protocol
        return {}

    def passages(
        self, sample: Sample, answers: Sequence[Answer], record: Record, protocol: Protocol[Any]
    ) -> list[Passage]:
        """What a card says of a sample beside its picture, everything that a reader needs to judge the answer.

        Here: the question where it is more than the phrase that heads the card, what the reference masks are, the right
        words, and those answers that are more than masks.

        Args:
            sample: the question.
            answers: what came back, the baseline's last where there is one.
            record: what the first of the answers was worth.
            protocol: of the record.
        """
        del record, protocol
        target = sample.target
        parts = [part for turn in sample.turns for part in turn.parts]
        is_phrase = len(sample.turns) == 1 and sample.phrase and all(isinstance(part, str) for part in parts)
        found = [] if is_phrase or not parts else question(sample)
        if target.masks and target.labels:
            found += passage("reference masks", [labelled(target.labels, "reference")])
        found += plain("reference", *filter(None, (target.choice, *target.texts)))
        for answer in answers:
            line = in_words(answer, self.layout)
            if self.answered_in_words or any(words.side is None and words.text.strip() for words in line):
                found += passage(answer.title, [line])
        return found

    def confusion(
        self, samples: Mapping[str, Sample], answers: Mapping[str, Prediction], records: Sequence[Record], protocol: str
    ) -> Confusion | None:
        """Right answers against those given, counted; None where answers are not of a few kinds.

        Args:
            samples: by id.
            answers: predictions by id.
            records: what they were worth.
            protocol: of the records.
        """
        del samples, answers, records, protocol
        return None

    def written(self, sample: Sample) -> tuple[Rle, ...]:
        """Masks that the right answer writes, one span each; the target's by default."""
        return sample.target.masks

    def answer(self, sample: Sample, codes: Sequence[Codes]) -> str:
        """The right answer as a model should write it.

        Args:
            sample: the question.
            codes: those of each mask of `written`.
        """
        return render(codes, self.layout) or next(iter(sample.target.texts), NO_TARGET_ANSWER)

    def guess(self, sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
        """An answer that looks right and rests on nothing: here one span of random codes.

        Args:
            sample: the question; its target must not be used.
            samples: all questions, for tasks whose guess is the answer to another one.
            rng: the only source of choice.
        """
        del sample, samples
        return render([random_codes(rng, self.layout)], self.layout)

    def status(self, text: str) -> AnswerStatus:
        """How well formed an answer is."""
        return mask_status(text, self.layout)

    def asked_with(self, prompt: str | None, split: str | None = None) -> Task:
        """The task with another prompt than its own; with the usual one of a split that is asked otherwise.

        Args:
            prompt: id of a prompt; None for the usual one.
            split: where the question is asked.

        Raises:
            UsageError: no such prompt.
        """
        mine = self.split_prompts.get(split or "") or (*([self.prompt] if self.prompt else []), *self.prompts)
        if prompt is None:
            return self if self.prompt in mine or not mine else self._asking(mine[0])
        known = {p.id: p for p in mine}
        if prompt not in known:
            where = f"{self.metadata.name}:{split}" if split in self.split_prompts else self.metadata.name
            raise UsageError(f"{where} has no prompt {prompt!r}; choose from {', '.join(known) or 'none'}")
        return self if self.prompt is known[prompt] else self._asking(known[prompt])

    def _asking(self, prompt: Prompt) -> Task:
        other = copy(self)
        other.prompt, other.prompts = prompt, tuple(p for p in (self.prompt, *self.prompts) if p and p is not prompt)
        return other

    def with_layout(self, layout: Layout) -> Task:
        """The task for answers in words of such codebooks, without the protocols that know no such codes."""
        if layout == self.layout:
            return self
        other = copy(self)
        other.layout = layout
        known = [protocol for protocol in self.protocols if has_policy(protocol.policy, layout)]
        other.protocols = tuple(replace(protocol, layout=layout) for protocol in known)
        return other

    def check_judge(self, judge: str | None) -> None:
        """Refuse a judge that nothing would ask, or that cannot be one.

        Raises:
            UsageError: the task has none, or it is written wrongly.
        """
        if judge is not None and not self.judged:
            raise UsageError(f"--judge {judge}: {self.metadata.name} has no judged metric; leave the option out")
        if judge is not None and not re.fullmatch(r"openai:.+#.+|replay:.+", judge):
            raise UsageError(f"--judge {judge}: expected openai:URL#NAME or replay:FILE")

    def check_split(self, split: str | None) -> str:
        """The split, or the default one.

        Raises:
            UsageError: no such split.
        """
        if split is None:
            return self.metadata.default_split
        if split not in self.metadata.splits:
            raise UsageError(
                f"{self.metadata.name} has no split {split!r}; choose from {', '.join(self.metadata.splits)}"
            )
        return split

    def protocol(self, name: str) -> Protocol[Any]:
        """The protocol of a name.

        Raises:
            UsageError: this task does not have it.
        """
        for protocol in self.protocols:
            if protocol.name == name:
                return protocol
        names = ", ".join(protocol.name for protocol in self.protocols)
        codes = "" if self.layout == DEFAULT_LAYOUT else f" for codes of layout {self.layout}"
        raise UsageError(f"{self.metadata.name} has no protocol {name!r}{codes}; choose from {names}")


def _stopping(records: Sequence[Record]) -> Record | None:
    """The first sample at whose annotations the scorer of its protocol stops."""
    mine = Records.of(records)
    rows = np.flatnonzero(mine.column("stops").values)
    return mine[int(rows[0])] if len(rows) else None


def mask_status(text: str, layout: Layout = DEFAULT_LAYOUT) -> AnswerStatus:
    """How well formed the mask words of an answer are."""
    spans = parse(text, layout)
    if not spans:
        return "no_mask"
    if all(span.codes is None for span in spans):
        return "invalid"
    return "ok" if all(span.status == "ok" for span in spans) else "repaired"


def random_codes(rng: np.random.Generator, layout: Layout = DEFAULT_LAYOUT) -> Codes:
    """Codes of one mask, drawn uniformly."""
    return Codes(*rng.integers(layout.size, size=layout.depth).tolist())
