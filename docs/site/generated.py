"""Pages that are made from the program itself, so that they cannot say anything else than it does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer.main

import samtok_eval
from samtok_eval.cli.main import PANELS, app
from samtok_eval.metrics.cards import CARDS, FAMILIES


def commands() -> str:
    """Every command with its arguments and options."""
    root: Any = typer.main.get_command(app)
    sections = ["# Commands", "What `samtok-eval COMMAND --help` says. `run_eval.py` is `samtok-eval run`."]
    for panel, names in PANELS.items():
        sections.append(f"## {panel}")
        for name in names:
            sections.extend(_command(f"samtok-eval {name}", root.commands[name]))
    return "\n\n".join(sections) + "\n"


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"### `{path}`"
    yield (command.help or "").strip()
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)
        return
    if rows := [_parameter(parameter) for parameter in command.params if not parameter.hidden]:
        yield _table(("argument or option", "says", "default"), rows)


def _parameter(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{str(parameter.name).upper()}`"
    else:
        name = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    shown = "" if default in (None, (), [], "", False) or callable(default) else f"`{default}`"
    return name, _cell(getattr(parameter, "help", None) or ""), shown


def _cell(text: str) -> str:
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def tasks() -> str:
    """The card of every task."""
    rows = []
    for name, task in sorted(samtok_eval.tasks().items()):
        card = task.metadata
        title = f"[{_cell(card.title)}]({card.data})" if card.data.startswith("https:") else _cell(card.title)
        protocols = ", ".join(f"`{protocol.name}`" for protocol in task.protocols)
        rows.append(
            (f"`{name}`", title, ", ".join(card.splits), protocols, f"`{card.main_metric}`", _cell(card.licence))
        )
    return _table(("task", "benchmark", "splits", "protocols", "main metric", "licence of the data"), rows)


def metric_cards() -> str:
    """What tables and reports know of every metric."""
    rows = []
    for name, card in {**CARDS, **FAMILIES}.items():
        bounds = f"{card.lowest:g} .. {'' if card.highest is None else f'{card.highest:g}'}"
        flags = ("yes" if flag else "" for flag in (card.masks, card.judged))
        rows.append((f"`{name}`", _cell(card.title), card.unit, card.better, bounds, *flags))
    return _table(("metric", "head of its column", "unit", "better", "bounds", "masks enter", "judged"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES = {"tasks": tasks, "metric cards": metric_cards}
"""What stands where a page says `<!-- table: NAME -->`."""
