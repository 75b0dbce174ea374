"""How protocols of a task differ stands on the protocols."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from samtok_eval.protocol import Protocol
from samtok_eval.registry import load_tasks

TASKS = load_tasks()
FILES = sorted((Path(__file__).parents[2] / "tasks").glob("*.py"))
NAMES = {protocol.name for task in TASKS.values() for protocol in task.protocols}


def compared_names(source: str) -> set[str]:
    """Names of protocols that a comparison holds."""
    comparisons = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]
    parts = [part for node in comparisons for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return NAMES & {part.value for part in parts if isinstance(part.value, str)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_rule_follows_from_the_name_of_a_protocol(path):
    assert compared_names(path.read_text()) == set()


def test_the_test_sees_a_comparison_with_a_name():
    assert compared_names('epsilon = 1e-8 if protocol in ("samtok", "samtok_rl") else 0.0') == {"samtok", "samtok_rl"}


@pytest.mark.parametrize("name", TASKS)
def test_no_two_protocols_of_a_task_are_the_same(name):
    rules = [(p.policy, p.missing_second, p.errors_fail, p.rules) for p in TASKS[name].protocols]
    assert all(rules.count(one) == 1 for one in rules)


def test_a_protocol_without_rules_of_its_own_has_none():
    assert Protocol("strict", policy="default", missing_second="skip", errors_fail=True).rules is None
