"""Files of predictions: appended to and flushed per sample, so that they are also the resume log, and read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError
from samtok_eval.files import MEND_THE_LINE, numbered_lines, reading
from samtok_eval.prediction import Prediction

BROUGHT = ("masks", "phrases", "box")
"""Fields of a prediction that stand in its line only where the answer brings them."""


class PredictionLog(AppendLog):
    """Appends predictions, each on disk before the next is made; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the log.

        Raises:
            UsageError: another process is writing it.
        """
        super().__init__(path, "wait for it, or use --fresh")

    def append(self, prediction: Prediction) -> None:
        """Write one line and flush it."""
        absent = {name for name in BROUGHT if getattr(prediction, name) is None}
        line = prediction.model_dump(mode="json", exclude=absent)
        self.write_line(json.dumps(line, ensure_ascii=False))


def read_own_predictions(parts: Iterable[Path]) -> dict[str, Prediction]:
    """Answers of a run of ours by sample id, from the logs of its processes.

    A question that failed is asked again, so that its error may stand in a log beside a later line; that one counts.

    Args:
        parts: `predictions/part-<rank>.jsonl`; a line that a kill cut off is left out.

    Raises:
        DataError: a log is missing or broken, or answers a sample twice.
    """
    found: dict[str, Prediction] = {}
    for prediction in read_predictions(parts, torn_tail=True):
        before = found.get(prediction.id)
        if before is None or before.error is not None:
            found[prediction.id] = prediction
        elif prediction.error is None:
            raise DataError(f"prediction {prediction.id!r} occurs twice; remove one of the two lines")
    return found


def read_predictions(paths: Iterable[Path], torn_tail: bool = False) -> Iterator[Prediction]:
    """Predictions of several files.

    Args:
        paths: JSON-lines files.
        torn_tail: leave out a last line without its line end, as a killed run leaves one.

    Raises:
        DataError: a file is missing, or a line is not a prediction; the message names file and line.
    """
    for path in paths:
        for number, line in numbered_lines(path, "give a predictions file", torn_tail):
            with reading(f"{path}:{number}", MEND_THE_LINE):
                prediction = Prediction.model_validate_json(line)
            yield prediction
