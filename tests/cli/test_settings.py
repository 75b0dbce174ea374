"""Options that are made from the fields of dataclasses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from samtok_eval.cli.main import app
from samtok_eval.cli.options import takes_settings
from samtok_eval.errors import UsageError
from samtok_eval.setting import COUNT, Range, Setting, changed, check_ranges, free_settings, named


def halved(text: str) -> float | None:
    return None if text == "off" else int(text) / 2


@dataclass(frozen=True)
class Recipe:
    rate: Annotated[float, Setting("How fast.")] = 0.5
    order: Annotated[Literal["up", "down"], Setting("Which way.")] = "up"
    rank: Annotated[float | None, Setting("How wide.", "--width", reads=halved)] = 1.0
    checked: Annotated[bool, Setting("Look twice.", free=True)] = True
    inner: tuple[int, ...] = ()
    share: Annotated[float | None, Setting("How much, as a share.")] = None
    amount: Annotated[int, Setting("How much.", clears="share")] = 3


@dataclass(frozen=True)
class Job:
    out: Annotated[Path, Setting("Where to.")]
    data: Annotated[tuple[str, ...], Setting("From where.")] = ()
    every: Annotated[int, Setting("How often.", within=COUNT)] = 10
    fresh: Annotated[bool, Setting("Anew.", "--fresh/--resume")] = False

    def __post_init__(self):
        check_ranges(self)


def run(*words):
    """What a command with these options gets."""
    got = {}

    @takes_settings(job=Job, changes=Recipe)
    def command(job, changes, preset: str = "plain") -> None:
        """Do it."""
        got.update(job=job, changes=changes, preset=preset)

    program = typer.Typer()
    program.command()(command)
    result = CliRunner().invoke(program, list(words))
    return got or result


def test_a_job_comes_whole_with_its_defaults():
    assert run("--out", "x")["job"] == Job(Path("x"))
    got = run("--out", "x", "--data", "a", "--data", "b", "--every", "3", "--fresh", "--preset", "odd")
    assert got["job"] == Job(Path("x"), ("a", "b"), 3, True)
    assert got["preset"] == "odd"


def test_of_a_recipe_comes_what_was_typed_even_where_it_is_the_default():
    assert run("--out", "x")["changes"] == {}
    assert run("--out", "x", "--rate", "0.5", "--no-checked")["changes"] == {"rate": 0.5, "checked": False}


def test_a_text_may_stand_for_a_value_that_is_none():
    assert run("--out", "x", "--width", "off")["changes"] == {"rank": None}
    assert run("--out", "x", "--width", "8")["changes"] == {"rank": 4}


@pytest.mark.parametrize(
    "words", [(), ("--out", "x", "--order", "left"), ("--out", "x", "--inner", "1"), ("--out", "x", "--every", "some")]
)
def test_what_the_fields_do_not_allow_is_wrong_usage(words):
    assert run(*words).exit_code == 2


def test_a_setting_that_is_changed_is_the_one_that_counts():
    assert changed(Recipe(share=0.1), {"amount": 5}).share is None
    assert changed(Recipe(share=0.1), {"amount": 5, "share": 0.2}).share == 0.2
    assert changed(Recipe(share=0.1), {"rate": 1.0}).share == 0.1


def test_a_number_outside_its_range_is_refused_with_its_option():
    with pytest.raises(UsageError, match="--every 0: expected a number at least 1"):
        Job(Path("x"), every=0)
    assert isinstance(run("--out", "x", "--every", "0").exception, UsageError)


@pytest.mark.parametrize(
    ("within", "inside", "outside"),
    [
        (Range(least=0, below=1), (0, 0.5), (-0.1, 1, float("nan"))),
        (Range(above=0, most=1), (0.1, 1), (0, 1.1, float("inf"))),
    ],
)
def test_a_range_knows_its_bounds(within, inside, outside):
    assert [within.holds(value) for value in (*inside, *outside)] == [True] * len(inside) + [False] * len(outside)
    assert Range(least=0, below=1).words() == "at least 0 and below 1"


def test_recipes_are_found_by_name_and_changed_by_field():
    assert changed(Recipe(), {"rate": 2.0}).rate == 2
    assert free_settings(Recipe) == {"checked"}
    with pytest.raises(UsageError, match="no setting 'rat'; choose from rate, order, rank, checked, inner,"):
        changed(Recipe(), {"rat": 2})
    with pytest.raises(UsageError, match="no preset 'b'; choose from a"):
        named({"a": Recipe()}, "b")


def options(*names: str) -> set[str]:
    """Every spelling that a command knows."""
    command = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return {spelling for parameter in command.params for spelling in [*parameter.opts, *parameter.secondary_opts]}


@pytest.mark.parametrize("kind", ["tokenizer", "sft", "grpo"])
def test_advice_on_memory_names_options_that_the_command_has(kind):
    from importlib import import_module

    trainer = import_module(f"samtok_eval.training.{kind}.trainer")
    named = set(re.findall(r"--[a-z-]+", " ".join([*trainer.LOWER, trainer.ALSO])))
    assert named and named <= options("train", kind)


@pytest.mark.parametrize("command", [("train", "tokenizer"), ("train", "sft"), ("train", "grpo"), ("tokenize",)])
def test_every_command_that_goes_on_can_also_start_anew(command):
    assert {"--fresh", "--resume"} <= options(*command)
