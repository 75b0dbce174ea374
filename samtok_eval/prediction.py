"""What came back and what it was worth: predictions (files, checked at the border) and records (integers)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, FiniteFloat, field_validator

from samtok_eval import masks
from samtok_eval.errors import DataError
from samtok_eval.files import MEND_THE_LINE, shortened
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, MOST_KEYS, Codes, Layout, is_key
from samtok_eval.masks import Rle

AnswerStatus = Literal["ok", "no_mask", "repaired", "invalid", "error", "foreign"]
"""`ok` only well-formed spans; `no_mask` no mask words; `repaired` some span was repaired; `invalid` mask words of
which nothing can be decoded; `error` nothing came back; `foreign` masks or text made outside this program."""


OPEN_PROMPTS = "open_prompts"
"""Among the values of a record: how many prompts about the sample a judge has not replied to."""


class CocoRle(BaseModel):
    """A mask in a prediction file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int]
    counts: str

    def rle(self) -> Rle:
        """The mask, checked.

        Raises:
            ValueError: the runs do not fill the size.
        """
        return _CHECKED.get((self.size, self.counts)) or _checked(self.size, self.counts)


_CHECKED: dict[tuple[tuple[int, int], str], Rle] = {}
"""Masks that were checked lately, since checking takes longer than counting pixels."""
MOST_CHECKED = 1 << 12


def _checked(size: tuple[int, int], counts: str) -> Rle:
    found = Rle.from_coco({"size": size, "counts": counts})
    _forget()
    _CHECKED[size, counts] = found
    return found


def check_together(given: Iterable[CocoRle | MaskLine]) -> None:
    """Check masks at once whose `rle` is asked for soon; one that is broken is left to say so then."""
    fresh = dict.fromkeys([key for mask in given if (key := (mask.size, mask.counts)) not in _CHECKED])
    sizes, texts = [size for size, _ in fresh], [counts for _, counts in fresh]
    _forget()
    _CHECKED.update({key: rle for key, rle in zip(fresh, masks.checked(sizes, texts), strict=True) if rle is not None})


def _forget() -> None:
    if len(_CHECKED) > MOST_CHECKED:
        _CHECKED.clear()


class Prediction(BaseModel):
    """One line of a predictions file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    text: str | None = None
    """The model's whole answer; absent in foreign lines that bring masks."""
    decoded: dict[str, CocoRle] = {}
    """One mask per distinct `Codes.key` that any protocol of the task asks for; `"c1,-"` is the first code alone."""
    masks: list[CocoRle] | None = None
    """Foreign lines: masks in order of mention."""
    phrases: list[str] | None = None
    """Foreign lines: the phrase of each mask, where the benchmark's own result format keeps them out of the text."""
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    """Foreign lines: x1 y1 x2 y2 in pixels, where the answer is a box, or has one beside its mask."""
    status: AnswerStatus = "foreign"
    error: str | None = None
    seconds: dict[str, float] = {}

    @field_validator("id", mode="before")
    @classmethod
    def _numbers_are_ids(cls, value: Any) -> Any:
        # Annotation and picture ids are numbers in most benchmarks' files.
        return str(value) if type(value) is int else value

    @field_validator("decoded")
    @classmethod
    def _keys_are_codes(cls, value: dict[str, CocoRle]) -> dict[str, CocoRle]:
        for key in value:
            if not is_key(key):
                Codes.from_key(key, layout=None)
        return value

    def brought_mask(self, index: int) -> Rle:
        """One of `masks`, checked.

        Raises:
            DataError: it is broken.
        """
        return self._mask_of((self.masks or ())[index])

    def decoded_mask(self, codes: Codes) -> Rle:
        """The mask of some codes, checked.

        Raises:
            DataError: it is not there, or broken.
        """
        if codes.key not in self.decoded:
            raise lacks_mask(self.id, codes.key)
        return self._mask_of(self.decoded[codes.key])

    def _mask_of(self, mask: CocoRle) -> Rle:
        try:
            return mask.rle()
        except ValueError as error:
            raise broken_mask(self.id, error) from error


def lacks_mask(name: str, key: str) -> DataError:
    """The refusal of an answer without the mask of some codes."""
    return DataError(f"prediction {name}: no decoded mask for the codes {key}; run `predict` again, or give masks")


def broken_mask(name: str, error: ValueError) -> DataError:
    """The refusal of an answer with a mask that is none."""
    return DataError(f"prediction {name}: {shortened(error)}; {MEND_THE_LINE}")


def of_other_pictures(name: str, problem: object) -> DataError:
    """The refusal of an answer whose masks have other sizes than the sample's picture."""
    return DataError(f"prediction {name}: {problem}; it was made for other pictures")


class MaskLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A mask of a `Line`; see `CocoRle`."""

    size: tuple[int, int]
    counts: str

    def rle(self) -> Rle:
        """The mask, checked.

        Raises:
            ValueError: the runs do not fill the size.
        """
        return _CHECKED.get((self.size, self.counts)) or _checked(self.size, self.counts)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The fields of a `Prediction`, which msgspec reads in a fifth of the time."""

    id: str
    text: str | None = None
    decoded: dict[str, MaskLine] = {}
    masks: list[MaskLine] | None = None
    phrases: list[str] | None = None
    box: tuple[float, float, float, float] | None = None
    status: AnswerStatus = "foreign"
    error: str | None = None
    seconds: dict[str, float] = {}

    def prediction(self) -> Prediction:
        """The same as a prediction."""
        return Prediction.model_validate_json(msgspec.json.encode(self))


Answer = Line | Prediction
_FITTING: dict[Layout, set[str]] = defaultdict(set)
"""Keys that were found to fit a layout."""
_KEYS = _FITTING[DEFAULT_LAYOUT]
_line = msgspec.json.Decoder(Line).decode


def read_answer(line: str | bytes) -> Answer:
    """A line of a predictions file; a `Line` where no field of it needs a conversion.

    Raises:
        ValidationError: it is no prediction.
    """
    try:
        found = _line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):  # msgspec before 0.23 lets the latter through
        return Prediction.model_validate_json(line)
    for key in found.decoded:
        if key not in _KEYS and not is_key(key):
            return Prediction.model_validate_json(line)
    return found


class Answers(Mapping[str, Prediction]):
    """Answers by sample id, each made a prediction when it is asked for."""

    def __init__(self, read: dict[str, Answer]) -> None:
        self.read = read

    def __getitem__(self, name: str) -> Prediction:
        found = self.read[name]
        if isinstance(found, Line):
            found = self.read[name] = found.prediction()
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.read)

    def __len__(self) -> int:
        return len(self.read)


def as_read(answers: Mapping[str, Prediction]) -> Mapping[str, Answer]:
    """The same answers, those that were not made predictions yet as lines."""
    return answers.read if isinstance(answers, Answers) else answers


class OfficialLine(Prediction):
    """A line of a benchmark's own result file, under the name that it has there; `Task.assigned` gives it a sample."""


def check_codes(predictions: Iterable[Answer], layout: Layout) -> None:
    """Refuse masks that are named by codes of other codebooks.

    Args:
        predictions: answers.
        layout: of the mask tokenizer for which they were written.

    Raises:
        DataError: a key of decoded masks does not fit the layout.
    """
    fitting = _FITTING[layout]
    predictions = list(predictions)
    if fitting.issuperset(chain.from_iterable([prediction.decoded for prediction in predictions])):
        return
    for prediction in predictions:
        for key in prediction.decoded.keys() - fitting:
            try:
                Codes.from_key(key, layout)
            except ValueError as error:
                raise DataError(
                    f"prediction {prediction.id}: {error}; it was made with another mask tokenizer"
                ) from error
            if len(fitting) < MOST_KEYS:
                fitting.add(key)


def text_predictions(rows: Iterable[tuple[str, Any]], name: str) -> list[Prediction]:
    """Predictions of a result file in which others wrote one text per sample.

    Args:
        rows: sample id and text; None, where the file holds no answer, is left out.
        name: what the file calls the text.

    Raises:
        DataError: a text is something else, or there is none at all.
    """
    rows = list(rows)
    found = [Prediction(id=sample, text=_text(sample, value, name)) for sample, value in rows if value is not None]
    if not found:
        raise DataError(f"expected one {name} per sample, got none in {len(rows)} rows; give a file of answers")
    return found


def _text(sample: str, value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"sample {sample}: {name} must be text or null, got {value!r:.80}")
    return value


@dataclass(frozen=True)
class Record:
    """Statistics of one scored sample under one protocol, enough to recompute every metric and slice."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    image_id: str
    protocol: str
    status: str
    """`AnswerStatus`, or `missing` when there is no prediction."""
    inter: int = 0
    """Pixels in both masks."""
    union: int = 0
    """Pixels in either mask."""
    gt_area: int = 0
    pred_area: int = 0
    no_target: bool = False
    failed: bool = False
    """Scored as a failure whatever the masks: missing or errored, where the protocol says so."""
    crashed: bool = False
    """The reference script of this protocol would have stopped here."""
    phrase: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    """Further statistics of the task, e.g. `box_iou`."""
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Statistics of which a sample has several, e.g. one flag per predicted mask."""
    slices: Mapping[str, str] = field(default_factory=dict)

    @property
    def iou(self) -> float:
        """Inter / union; 0 when both masks are empty."""
        return self.inter / self.union if self.union else 0.0

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary of all fields."""
        # dataclasses.asdict copies deeply, which costs more than scoring the sample.
        own = {"values": dict(self.values), "series": {k: list(v) for k, v in self.series.items()}}
        return {**self.__dict__, **own, "slices": dict(self.slices)}
