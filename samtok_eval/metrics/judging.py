"""How descriptions of regions are judged: what a benchmark asks its judge, and what points its replies give.

In: samples, their captions and a judge. Out: records with the benchmark's points under the judge's name. What differs
between benchmarks is a `Judging` of each; this module asks everything at once, and keeps what is still open apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from samtok_eval.metrics.cards import MetricKey
from samtok_eval.metrics.judge import Judge, Prompted, key_of
from samtok_eval.metrics.ratio import Array, Metric, Names, Ratio, Sums, mean_of
from samtok_eval.prediction import OPEN_PROMPTS, Record
from samtok_eval.sample import Sample


@dataclass(frozen=True)
class Judgement:
    """What a judge's replies say about one description."""

    values: Mapping[str, float]
    """Statistics by name; `Judging.metrics` makes metrics of them."""
    unread: int = 0
    """Replies that could not be read."""


class Judging(ABC):
    """How a benchmark's judge is asked and understood."""

    given: tuple[str, ...]
    """The metrics that it gives, by the names of the task's card."""

    @abstractmethod
    def prompts(self, sample: Sample, caption: str) -> Sequence[Prompted]:
        """What the judge is asked about a caption."""

    @abstractmethod
    def judgement(self, sample: Sample, replies: Sequence[str], *, original: bool) -> Judgement | None:
        """What the replies say of the caption.

        Args:
            sample: the question.
            replies: one per prompt.
            original: read them as the benchmark's own scorer does.

        Returns:
            None where that scorer stops.
        """

    @abstractmethod
    def of_empty(self, sample: Sample) -> Judgement | None:
        """What is said of an empty caption without asking; None where the judge must be asked even so."""

    def together(self, samples: Sequence[Sample], captions: Sequence[str], *, original: bool) -> Sequence[Judging]:
        """How each of a benchmark's captions is judged, where the others have a part in it; each alone by default.

        Args:
            samples: those that are judged, in the benchmark's order.
            captions: of each.
            original: ask as the benchmark's own scorer does.
        """
        return [self] * len(samples)

    @abstractmethod
    def metrics(self, statistics: Mapping[str, Ratio]) -> Mapping[str, Metric]:
        """The benchmark's metrics.

        Args:
            statistics: the mean of each statistic that any record has, over the records that have it; those of other
                benchmarks are not there.
        """


Asked = Mapping[int, tuple[Judging, Sample, str]]
"""How samples are judged, themselves and their captions, by their places in the benchmark."""


def prompts_about(asked: Asked, *, judges_empty: bool) -> dict[int, Sequence[Prompted]]:
    """What a judge is asked about each caption; nothing about an empty one that is worth something without asking.

    Args:
        asked: how each is judged.
        judges_empty: also ask about empty captions.
    """
    return {
        i: judging.prompts(sample, caption)
        for i, (judging, sample, caption) in asked.items()
        if caption or judges_empty or judging.of_empty(sample) is None
    }


def judged(
    judge: Judge,
    asked: Asked,
    records: Sequence[Record],
    *,
    original: bool,
    judges_empty: bool,
) -> list[Record]:
    """Records with what the judge gives them, or with the number of prompts that are open.

    Args:
        judge: replies.
        asked: how each is judged, by the index of its record.
        records: of all samples.
        original: read replies as the benchmarks' own scorers do.
        judges_empty: also ask about empty captions.
    """
    prompts = prompts_about(asked, judges_empty=judges_empty)
    replies = judge.replies([prompt for several in prompts.values() for prompt in several])
    found = list(records)
    for i, (judging, sample, _) in asked.items():
        if i not in prompts:
            found[i] = _with_judgement(records[i], judging.of_empty(sample), judge)
        elif missing := sum(key_of(prompt) not in replies for prompt in prompts[i]):
            found[i] = replace(records[i], values={**records[i].values, OPEN_PROMPTS: float(missing)})
        else:
            said = [replies[key_of(prompt)] for prompt in prompts[i]]
            found[i] = _with_judgement(records[i], judging.judgement(sample, said, original=original), judge)
    return found


def judged_metrics(records: Sequence[Record], clusters: Names, judgings: Sequence[Judging]) -> dict[str, Metric]:
    """The metrics of every judge under whose name records have statistics.

    Args:
        records: of all samples.
        clusters: the picture of each.
        judgings: how they may have been judged.
    """
    keys = {MetricKey.of(name) for record in records for name in record.values}
    found: dict[str, Metric] = {}
    for judge in sorted({key.judge for key in keys if key.judge}):
        statistics = {}
        for key in sorted((key for key in keys if key.judge == judge), key=str):
            has = [str(key) in record.values for record in records]
            statistics[key.metric] = mean_of([record.values.get(str(key), 0.0) for record in records], clusters, has)
        for judging in judgings:
            found |= {str(MetricKey(name, judge)): metric for name, metric in judging.metrics(statistics).items()}
    return found


def mean_of_means(means: Sequence[Ratio]) -> Sums:
    """The mean of several means, which may be over different regions of the same run."""
    columns = [column for mean in means for column in (mean.numerators, mean.denominators)]
    return Sums(np.column_stack(columns).astype(np.float64), means[0].clusters, _mean_of_ratios)


def _mean_of_ratios(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Array = np.mean(sums[:, 0::2] / sums[:, 1::2], axis=1)
        return means


def _with_judgement(record: Record, judgement: Judgement | None, judge: Judge) -> Record:
    if judgement is None:
        return replace(record, crashed=True)
    values = {str(MetricKey(name, judge.name)): value for name, value in judgement.values.items()}
    return replace(record, values={**record.values, **values, "judge_unread": float(judgement.unread)})
