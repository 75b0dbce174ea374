"""What scoring may need beyond arithmetic: caption scorers, text similarity and a judge model.

Each is started when it is first asked and closed at the end of a run, so that a run starts at most one METEOR process
and loads at most one text model. A task asks for what it needs; nothing is started for tasks that need none. What
cannot be started, or fails on the way, is kept in `absent` with its reason, under the names of the metrics that rest on
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from samtok_eval.metrics.caption_programs import CaptionToolsError
from samtok_eval.metrics.captions import CaptionScorer
from samtok_eval.metrics.judge import Judge, open_judge
from samtok_eval.metrics.text_similarity import SENTENCES, TextModelError, TextSimilarity

Helper = TypeVar("Helper")
CAPTIONS = ("meteor", "cider")


class Judges:
    """The outside helpers of one scoring run."""

    def __init__(self, judge: str | None = None, record: Path | None = None) -> None:
        """Prepare; nothing is started.

        Args:
            judge: `openai:URL#NAME` or `replay:FILE`; None leaves judged metrics out.
            record: where the judge's replies are kept.
        """
        self._judge_name, self._record = judge, record
        self._open = ExitStack()
        self.absent: dict[str, str] = {}
        """Metrics that could not be computed: name -> reason."""

    @cached_property
    def captions(self) -> CaptionScorer | None:
        """METEOR and CIDEr; None where Java or `pycocoevalcap` is missing or has failed."""
        scorer = self._started(CaptionScorer, CAPTIONS)
        if scorer is not None:
            self._open.callback(scorer.close)
        return scorer

    @cached_property
    def similarity(self) -> TextSimilarity | None:
        """Similarity of phrases; None where no text model can be loaded."""
        return self._started(TextSimilarity, ("recall_gcg",))

    @cached_property
    def sentences(self) -> TextSimilarity | None:
        """Similarity of class names; None where the sentence encoder cannot be loaded."""
        return self._started(lambda: TextSimilarity(SENTENCES), ("semantic_similarity",))

    @cached_property
    def judge(self) -> Judge | None:
        """The judge model, None without `--judge`."""
        if self._judge_name is None:
            return None
        judge = open_judge(self._judge_name, self._record)
        self._open.callback(judge.close)
        return judge

    def scored(self, score: Callable[[], Helper]) -> Helper:
        """What scoring gives; once more without caption scores where a Java program fails in the middle of it."""
        try:
            return score()
        except CaptionToolsError as error:
            # Not those of the captions before the failure alone, since they would be another metric.
            self.absent |= dict.fromkeys(CAPTIONS, str(error))
            self.captions = None
            return score()

    def _started(self, make: Callable[[], Helper], metrics: Sequence[str]) -> Helper | None:
        try:
            return make()
        except (CaptionToolsError, TextModelError) as error:
            self.absent |= dict.fromkeys(metrics, str(error))
            return None

    def close(self) -> None:
        """End every process that was started."""
        self._open.close()

    def __enter__(self) -> Judges:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
