"""Which gates have looked at a candidate's answers before.

In: the rules of a gate that asks. Out: a line for them in the run folder, and those of the gates before it. A gate's
bounds keep its level over its own looks alone. Whoever looks at the same pictures again under other rules has another
chance to err, so a gate says which others came before it. The same gate again, or one that goes on, makes the same
looks under the same bounds, and is no other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from samtok_eval.append_log import AppendLog
from samtok_eval.errors import DataError
from samtok_eval.files import first_problem, numbered_lines

GATES_FILE = "gates.jsonl"
REMEDY = "move it away, and earlier gates of this run are forgotten"


class GateRules(BaseModel):
    """What bounds and evidence of a gate that asks rest on; not when it stops, nor what undecided metrics do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: str
    """Run id."""
    protocol: str
    alpha: float
    tolerances: dict[str, float]
    """By gated metric, shares 0..1."""
    looks: int
    budget: int | None
    """Most pictures, among which the looks are spread."""
    seed: int
    """Of swaps and draws."""
    repeated: bool
    """Whether the noise of the baseline's own answers is added."""


def read_gates(run: Path) -> list[GateRules]:
    """The gates that looked at a run's answers, oldest first.

    Args:
        run: the run folder.

    Raises:
        DataError: a line is no rules of a gate.
    """
    path = run / GATES_FILE
    if not path.exists():
        return []
    found = []
    for number, text in numbered_lines(path, REMEDY, torn_tail=True):
        try:
            found.append(GateRules.model_validate_json(text))
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {first_problem(error)}; {REMEDY}") from error
    return found


def remember_gate(run: Path, rules: GateRules) -> None:
    """Write down that a gate has looked, once."""
    if rules not in read_gates(run):
        with AppendLog(run / GATES_FILE) as log:
            log.write_line(rules.model_dump_json())


def earlier_warning(rules: GateRules, before: Sequence[GateRules]) -> str | None:
    """What a gate has to say of others before it; None where it is the first, or goes on.

    Args:
        rules: of the gate.
        before: those that looked before it, it may be among them.
    """
    others = [other for other in before if other != rules]
    if not others:
        return None
    names = [name for name in GateRules.model_fields if any(getattr(o, name) != getattr(rules, name) for o in others)]
    count = f"{len(others)} gates have" if len(others) > 1 else "a gate has"
    return (
        f"{count} looked at these answers before, under other rules ({', '.join(names)}); each keeps its level alone, "
        f"all {len(others) + 1} together may err with up to {sum(o.alpha for o in [*others, rules]):.2g}"
    )
