"""What a gate found, for people and for CI: a table, a GitHub step summary, JUnit XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from tabulate import tabulate

from samtok_eval.metrics.cards import card
from samtok_eval.reports.compare.text import interval_text, p_text, points, signed
from samtok_eval.reports.gate.verdict import GateResult, Verdict
from samtok_eval.reports.table import ABSENT

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, which a model's name or a sample's id might."""


def gate_table(results: Sequence[GateResult], style: str = "simple") -> str:
    """One block per task: the verdict, a row per metric, what changed, and the samples that lost most."""
    return "\n\n".join(_block(result, style) for result in results)


def step_summary(results: Sequence[GateResult]) -> str:
    """Markdown for a CI job's summary."""
    failed = sum(bool(result.regressed) for result in results)
    title = f"## {'❌' if failed else '✅'} Checkpoint gate: {failed} of {len(results)} tasks regressed"
    return f"{title}\n\n{gate_table(results, 'github')}\n"


def junit(results: Sequence[GateResult]) -> str:
    """JUnit XML: a suite per task and split, a case per metric, a failure per regression."""
    root = ElementTree.Element("testsuites", name="samtok-eval gate")
    for result in results:
        name = f"{result.task}:{result.split}"
        attributes = {"name": name, "tests": str(len(result.verdicts)), "failures": str(len(result.regressed))}
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        for verdict in result.verdicts:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=f"{result.protocol} {verdict.metric}")
            if verdict.regressed:
                failure = ElementTree.SubElement(case, "failure", message=NOT_XML.sub("?", _sentence(verdict)))
                failure.text = NOT_XML.sub("?", _block(result, "simple"))
            elif verdict.p is None:
                ElementTree.SubElement(case, "skipped", message="a stored result has no interval")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def failure_line(results: Sequence[GateResult]) -> str:
    """All regressions in one line."""
    failed = [result for result in results if result.regressed]
    return "; ".join(
        f"{r.task}:{r.split} " + ", ".join(f"{card(v.metric).title} {signed(v.difference)}" for v in r.regressed)
        for r in failed
    )


def _sentence(verdict: Verdict) -> str:
    return (
        f"{card(verdict.metric).title} {points(verdict.baseline)} -> {points(verdict.candidate)} "
        f"({signed(verdict.difference)}, tolerance {points(verdict.tolerance)}, p {p_text(verdict.p)})"
    )


def _block(result: GateResult, style: str) -> str:
    verdict = "REGRESSED" if result.regressed else "ok"
    lines = [
        f"{verdict}: {result.task}:{result.split}, {result.names[1]} against {result.names[0]}, "
        f"protocol {result.protocol}, alpha {result.alpha:g}. Values x 100.",
        *(f"WARNING: {warning}" for warning in result.warnings),
        "",
    ]
    rows = [
        [card(v.metric).title, points(v.baseline), points(v.candidate), signed(v.difference),
         interval_text(v.low, v.high, signed), points(v.tolerance), p_text(v.p),
         "REGRESSED" if v.regressed else "ok" if v.p is not None else "not tested"]
        for v in result.verdicts
    ]  # fmt: skip
    columns = ["metric", "baseline", "candidate", "difference", "95 % interval", "tolerance", "p", "verdict"]
    lines += [tabulate(rows, columns, tablefmt=style, disable_numparse=True), ""]
    if result.changed is not None:
        c = result.changed
        lines.append(f"Of {c.samples} answers changed: text {c.text}, codes {c.codes}, masks {c.masks}.")
    else:
        lines.append("The answers themselves are not at hand, so how many changed is not known.")
    if result.falls and result.regressed:
        rows = [[fall.id, points(fall.baseline), points(fall.candidate)] for fall in result.falls]
        title = f"Samples that lost most in {card(result.sample_metric or ABSENT).title}:"
        lines += [
            "",
            title,
            "",
            tabulate(rows, ["sample", "baseline", "candidate"], tablefmt=style, disable_numparse=True),
        ]
    return "\n".join(lines)
