"""What a gate found, for people and for CI: a table, a GitHub step summary, JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import ABSENT, interval, p_value, points, signed_points
from samtok_eval.reports.gate.verdict import GateResult, Verdict
from samtok_eval.reports.table import Table, Writer, aligned_text, left, markdown, right
from samtok_eval.text import visible

REGRESSED = "REGRESSED"


def gate_table(results: Sequence[GateResult], write: Writer = aligned_text) -> str:
    """Per task: the verdict, a row per metric, how many answers changed, and the samples that lost most."""
    return "\n\n".join(write(table) for result in results for table in _tables(result))


def step_summary(results: Sequence[GateResult]) -> str:
    """Markdown for a CI job's summary."""
    failed = sum(bool(result.regressed) for result in results)
    title = f"## {'❌' if failed else '✅'} Checkpoint gate: {failed} of {len(results)} tasks regressed"
    return f"{title}\n\n{gate_table(results, markdown)}\n"


def junit(results: Sequence[GateResult]) -> str:
    """JUnit XML: a suite per task and split, a case per metric, a failure per regression.

    What XML cannot hold has no shape, so it is spelt out before.
    """
    root = ElementTree.Element("testsuites", name="samtok-eval gate")
    for result in results:
        name = f"{result.task}:{result.split}"
        attributes = {"name": name, "tests": str(len(result.verdicts)), "failures": str(len(result.regressed))}
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        for verdict in result.verdicts:
            title = visible(f"{result.protocol} {verdict.metric}")
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=title)
            if verdict.regressed:
                failure = ElementTree.SubElement(case, "failure", message=visible(_sentence(verdict)))
                failure.text = gate_table([result])
            elif verdict.p is None:
                ElementTree.SubElement(case, "skipped", message="a stored result has no interval")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def failure_line(results: Sequence[GateResult]) -> str:
    """All regressions in one line."""
    failed = [result for result in results if result.regressed]
    return "; ".join(
        f"{r.task}:{r.split} " + ", ".join(f"{card(v.metric).title} {signed_points(v.difference)}" for v in r.regressed)
        for r in failed
    )


def _sentence(verdict: Verdict) -> str:
    return (
        f"{card(verdict.metric).title} {points(verdict.baseline)} -> {points(verdict.candidate)} "
        f"({signed_points(verdict.difference)}, tolerance {points(verdict.tolerance)}, p {p_value(verdict.p)})"
    )


def _tables(result: GateResult) -> list[Table]:
    """The metrics, and where one of them regressed the samples that lost most."""
    tables = [_metrics_table(result)]
    if result.falls and result.regressed:
        rows = [[fall.id, points(fall.baseline), points(fall.candidate)] for fall in result.falls]
        title = f"Samples that lost most in {card(result.sample_metric or ABSENT).title}:"
        tables.append(Table([*left("sample"), *right("baseline", "candidate")], rows, [title]))
    return tables


def _metrics_table(result: GateResult) -> Table:
    heading = (
        f"{REGRESSED if result.regressed else 'ok'}: {result.task}:{result.split}, {result.names[1]} against "
        f"{result.names[0]}, protocol {result.protocol}, alpha {result.alpha:g}. Values x 100."
    )
    changed = "The answers themselves are not at hand, so how many changed is not known."
    if result.changed is not None:
        c = result.changed
        changed = f"Of {c.samples} answers changed: text {c.text}, codes {c.codes}, masks {c.masks}."
    return Table(
        [
            *left("metric"),
            *right("baseline", "candidate", "difference", "95 % interval", "tolerance", "p"),
            *left("verdict"),
        ],
        [_row(verdict) for verdict in result.verdicts],
        [heading, *(f"WARNING: {warning}" for warning in result.warnings)],
        [changed],
    )


def _row(verdict: Verdict) -> list[str]:
    return [
        card(verdict.metric).title,
        points(verdict.baseline),
        points(verdict.candidate),
        signed_points(verdict.difference),
        interval(verdict.low, verdict.high, signed_points),
        points(verdict.tolerance),
        p_value(verdict.p),
        REGRESSED if verdict.regressed else "ok" if verdict.p is not None else "not tested",
    ]
