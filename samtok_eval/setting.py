"""Settings of a command beside `run`: what a field of a dataclass says of itself, next to its type and default.

A command's options are made from the fields that carry a `Setting` (`cli/options.py`), so a new option is such a field
and the line that uses it. A `Recipe` holds what changes numbers, a `Job` where it runs and what around it changes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from samtok_eval.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Entry = TypeVar("Entry")
Recipe = TypeVar("Recipe", bound="DataclassInstance")


class Range(NamedTuple):
    """Numbers that a setting may be."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a number is one of them; what is no number never is."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def words(self) -> str:
        """As an error says it: `at least 0 and below 1`."""
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)


COUNT, FROM_ZERO, POSITIVE = Range(least=1), Range(least=0), Range(above=0)
SHARE, SHARE_BELOW_ALL = Range(least=0, most=1), Range(least=0, below=1)


@dataclass(frozen=True)
class Setting:
    """What is known of a field beside its name, type and default."""

    help: str
    flag: str | None = None
    """As in `--flag`, or `--on/--off`; follows from the name by default."""
    within: Range | None = None
    """What the number may be."""
    reads: Callable[[str], Any] | None = None
    """Typed text -> value, where the type alone does not say how."""
    free: bool = False
    """Whether a run may go on under another value."""
    clears: str | None = None
    """Field that would take precedence, and gives way where only this one is changed."""


class Described(NamedTuple):
    """A field that is an option."""

    type: Any
    setting: Setting

    def spelling(self, name: str) -> str:
        """As typer has it: `--flag`, or `--on/--off`."""
        plain = f"--{name.replace('_', '-')}"
        switch = bool in (self.type, *get_args(self.type))
        return self.setting.flag or (f"{plain}/--no-{plain[2:]}" if switch else plain)


@cache
def settings_of(kind: type) -> dict[str, Described]:
    """Fields of a dataclass that are options, in order."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for name, hint in hints.items():
        parts = get_args(hint) if get_origin(hint) is Annotated else ()
        setting = next((part for part in parts if isinstance(part, Setting)), None)
        if setting is not None:
            found[name] = Described(parts[0], setting)
    return found


def free_settings(kind: type) -> frozenset[str]:
    """Names of the fields under whose other values a run may go on."""
    return frozenset(name for name, (_, setting) in settings_of(kind).items() if setting.free)


def defaults_of(kind: type) -> dict[str, Any]:
    """Defaults of a recipe's fields: what held for a run from before a field existed."""
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


def options_given(settings: DataclassInstance) -> list[str]:
    """Options, as a user types them, whose values are not the defaults."""
    usual = defaults_of(type(settings))
    return [
        entry.spelling(name)
        for name, entry in settings_of(type(settings)).items()
        if name in usual and getattr(settings, name) != usual[name]
    ]


def check_ranges(settings: DataclassInstance) -> None:
    """Refuse numbers outside their range.

    Raises:
        UsageError: names the option, its value and its range.
    """
    for name, entry in settings_of(type(settings)).items():
        value, within = getattr(settings, name), entry.setting.within
        if value is not None and within is not None and not within.holds(value):
            raise UsageError(f"{entry.spelling(name)} {value}: expected a number {within.words()}")


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some of its fields replaced, and those cleared that would take precedence over them.

    Raises:
        UsageError: no such field.
    """
    known = [field.name for field in fields(recipe)]
    unknown = sorted(changes.keys() - set(known))
    if unknown:
        raise UsageError(f"no setting {unknown[0]!r}; choose from {', '.join(known)}")
    given = [entry.setting.clears for name, entry in settings_of(type(recipe)).items() if name in changes]
    return replace(recipe, **{**{name: None for name in given if name}, **changes})


def named(presets: Mapping[str, Entry], name: str) -> Entry:
    """A recipe by the name of its preset.

    Raises:
        UsageError: there is none.
    """
    if name not in presets:
        raise UsageError(f"no preset {name!r}; choose from {', '.join(presets)}")
    return presets[name]
