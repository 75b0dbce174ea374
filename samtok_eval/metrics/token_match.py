"""How well an answer's mask words agree with those of the right answer: a number per answer without decoding a mask.

In: two texts. Out: 0..1. It compares codes, not pixels, so it is cheap and blunt: two code pairs may decode to nearly
the same mask, hence a low value does not mean a bad mask. The grades are those of SAMTok's reinforcement learning
(`rl/reward_function/text2mask.py`); the counting is one to one, see `samtok_eval.training.rewards` for what differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from samtok_eval.errors import DataError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Layout, parse
from samtok_eval.metrics.ratio import Ratio, mean_of
from samtok_eval.prediction import Prediction, Record
from samtok_eval.records import Records

NAME = "token_match"
SAME, SAME_FIRST = 1.0, 0.4
"""Grades of a span: both codes are right, or the first alone. The second code refines the first, so that alone it says
nothing."""


def token_match(prediction: str, reference: str, layout: Layout = DEFAULT_LAYOUT) -> float:
    """Share of masks named with the right codes, each mask of either text used once.

    Args:
        prediction: the answer.
        reference: the right answer.
        layout: of the mask tokenizer for which both were written.

    Returns:
        Sum of grades / larger number of spans, 0..1; 1 when neither text names a mask. A malformed span matches
        nothing but is counted, also on its own: trying to name a mask where there is none is not "no mask".
    """
    said, true = parse(prediction, layout), parse(reference, layout)
    most = max(len(said), len(true))
    if not most:
        return 1.0
    left, wanted = (Counter(span.codes for span in spans if span.status == "ok") for spans in (said, true))
    same = left & wanted
    # Pairing equal spans first loses nothing: whatever they could pair with otherwise has the same first code.
    firsts, wanted_firsts = (Counter(c.first for c in (found - same).elements() if c) for found in (left, wanted))
    return (SAME * same.total() + SAME_FIRST * (firsts & wanted_firsts).total()) / most


def check_references(names: Sequence[str], references: Mapping[str, str], layout: Layout = DEFAULT_LAYOUT) -> None:
    """Refuse right answers that do not say what `token_match` asks.

    Args:
        names: ids of the samples.
        references: texts of the right answers by sample id.
        layout: of their codes.

    Raises:
        DataError: a sample has no reference, or no reference names a mask.
    """
    lacking = [name for name in names if name not in references]
    if lacking:
        raise DataError(
            f"the reference codes lack {len(lacking)} of {len(names)} samples, {lacking[0]} first; "
            "run the oracle on the same task, split and --limit"
        )
    if not any(parse(references[name], layout) for name in names):
        raise DataError("the reference answers name no masks; leave --reference-codes out for tasks answered in words")


def with_token_match(
    records: Sequence[Record],
    answers: Mapping[str, Prediction],
    references: Mapping[str, str],
    layout: Layout = DEFAULT_LAYOUT,
) -> list[Record]:
    """Records with `values["token_match"]`; a missing answer has 0, one without text (foreign masks) no value.

    Args:
        records: one per sample.
        answers: predictions by sample id.
        references: texts of the right answers by sample id, written with the codes of the true masks.
        layout: of these codes.
    """
    return [_with_value(record, answers.get(record.id), references[record.id], layout) for record in records]


def token_match_metric(records: Sequence[Record]) -> dict[str, Ratio]:
    """Mean over the samples that have the value, by name; empty when none has."""
    mine = Records.of(records)
    found = mine.column(NAME)
    return {NAME: mean_of(found.values, mine.image_id, found.there)} if found.there.any() else {}


def _with_value(record: Record, prediction: Prediction | None, reference: str, layout: Layout) -> Record:
    if prediction is None or prediction.status == "error":
        value = 0.0
    elif prediction.text is None:
        return record
    else:
        value = token_match(prediction.text, reference, layout)
    return replace(record, values={**record.values, NAME: value})
