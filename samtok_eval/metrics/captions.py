"""METEOR and CIDEr by `pycocoevalcap`, with one METEOR process per run.

In: captions and their references. Out: the 23 sums of METEOR 1.5 per caption, from which the score of any set of
captions follows, and CIDEr per caption. METEOR and the Penn Treebank tokenizer are Java programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from samtok_eval.errors import UsageError
from samtok_eval.metrics.caption_programs import MEMORY, PATIENCE, CaptionToolsError, Meteor, probe, tokenized
from samtok_eval.metrics.ratio import Array, Sums
from samtok_eval.prediction import Record

MAX_WORDS = 1000
"""Captions are cut here: METEOR's search grows faster than the length, and no caption has that many words."""
# METEOR 1.5, language English, task "rank" (Denkowski and Lavie 2014, doi 10.3115/v1/W14-3348).
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGE_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""Exact, stem, synonym and paraphrase matches."""
_STATISTICS = 23


@dataclass(frozen=True)
class CaptionScores:
    """Scores of several captions, in their order."""

    meteor: list[list[float]]
    """Statistics of each caption against the reference that suits it best; add them up and give them to `meteor`."""
    cider: list[float]
    """0..10; word weights come from the references of exactly these captions, so a subset's values differ."""


def meteor(statistics: Sequence[float]) -> float:
    """METEOR 1.5 of summed statistics, 0..1.

    Args:
        statistics: 23 numbers, as METEOR's `SCORE` answers: words and function words of caption and reference, per
            stage the matched content and function words of both, chunks, matched words of both.

    Raises:
        ValueError: not 23 numbers.
    """
    if len(statistics) != _STATISTICS:
        raise ValueError(f"METEOR statistics are {_STATISTICS} numbers, got {len(statistics)}")
    words, words_of_reference, function, function_of_reference = statistics[:4]
    stages = np.asarray(statistics[4:20]).reshape(4, 4)
    chunks, matched, matched_of_reference = statistics[20:]
    if not matched:
        return 0.0
    weights = np.asarray(_STAGE_WEIGHTS)
    precision = weights @ (_DELTA * stages[:, 0] + (1 - _DELTA) * stages[:, 2]) / _length(words, function)
    recall = weights @ (_DELTA * stages[:, 1] + (1 - _DELTA) * stages[:, 3])
    recall /= _length(words_of_reference, function_of_reference)
    if not precision or not recall:
        return 0.0
    mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
    fragmentation = 2 * chunks / (matched + matched_of_reference)
    return float(mean * (1 - _GAMMA * fragmentation**_BETA))


def meteor_of(records: Sequence[Record]) -> dict[str, Sums]:
    """`meteor` of all records that hold statistics; empty without any."""
    told = [record for record in records if "meteor" in record.series]
    if not told:
        return {}
    statistics = np.array([record.series["meteor"] for record in told], dtype=np.float64)
    return {"meteor": Sums(statistics, [record.image_id for record in told], _meteor_of_each)}


def _meteor_of_each(sums: Array) -> Array:
    return np.array([meteor(row) for row in sums.tolist()])


def _length(words: float, function: float) -> float:
    return _DELTA * (words - function) + (1 - _DELTA) * function


class CaptionScorer:
    """METEOR and CIDEr of captions. Texts and pairs that were seen before are not computed again."""

    def __init__(self, patience: float = PATIENCE) -> None:
        """Start METEOR, about ten seconds.

        Args:
            patience: seconds that a Java program may take for one answer before it is given up.

        Raises:
            CaptionToolsError: Java or `pycocoevalcap` is missing.
        """
        probe()
        self._patience = patience
        self._meteor = Meteor(patience)
        self._tokens: dict[str, str] = {}
        self._statistics: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def close(self) -> None:
        """End the METEOR process."""
        self._meteor.close()

    def score(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
        """Score captions.

        Args:
            captions: may be empty texts.
            references: one or more texts per caption.

        Raises:
            UsageError: a caption has no reference.
            CaptionToolsError: a Java program failed.
        """
        from pycocoevalcap.cider.cider import Cider

        if not captions:
            return CaptionScores([], [])
        if len(captions) != len(references) or not all(references):
            raise UsageError("every caption needs one or more references; leave captions without one out")
        clean = [_clean(caption) for caption in captions]
        clean_references = [tuple(_clean(text) for text in texts) for texts in references]
        self._tokenize([*clean, *(text for texts in clean_references for text in texts)])
        said = [self._tokens[text] for text in clean]
        true = [tuple(self._tokens[text] for text in texts) for texts in clean_references]
        _, cider = Cider().compute_score(
            {i: list(texts) for i, texts in enumerate(true)}, {i: [text] for i, text in enumerate(said)}
        )
        return CaptionScores([self._pair(a, b) for a, b in zip(said, true, strict=True)], [float(x) for x in cider])

    def _tokenize(self, texts: Sequence[str]) -> None:
        fresh = list(dict.fromkeys(text for text in texts if text not in self._tokens))
        if fresh:
            self._tokens.update(zip(fresh, tokenized(fresh, self._patience), strict=True))

    def _pair(self, caption: str, references: tuple[str, ...]) -> list[float]:
        key = (caption, references)
        if key not in self._statistics:
            answer = self._meteor.ask(caption, references)
            try:
                values = [float(value) for value in answer.split()]
            except ValueError as error:
                raise CaptionToolsError(f"METEOR stopped: {error}; {MEMORY}") from error
            if len(values) != _STATISTICS:
                raise CaptionToolsError(f"METEOR answered {answer[:80]!r}; {MEMORY}")
            words, words_of_reference, chunks, matched, matched_of_reference = (values[i] for i in (0, 1, 20, 21, 22))
            if matched == words and matched_of_reference == words_of_reference and chunks == 1:
                # METEOR counts no break in a caption that equals its reference, in sums neither.
                values[20] = 0.0
            self._statistics[key] = values
        return self._statistics[key]


def with_scores(
    scorer: CaptionScorer, records: Sequence[Record], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[Record]:
    """Records with `cider` and METEOR's statistics, those without references as they were."""
    told = [i for i, texts in enumerate(references) if texts]
    scores = scorer.score([captions[i] for i in told], [references[i] for i in told])
    found = list(records)
    for i, statistics, cider in zip(told, scores.meteor, scores.cider, strict=True):
        own = records[i]
        found[i] = replace(own, values={**own.values, "cider": cider}, series={**own.series, "meteor": statistics})
    return found


def _clean(text: str) -> str:
    # Every kind of line break would shift the tokenizer's lines; "|||" separates METEOR's fields.
    return " ".join(text.replace("|||", " ").split()[:MAX_WORDS])
