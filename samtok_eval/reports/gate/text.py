"""What a gate found, for people and for CI: a table, a GitHub step summary, JUnit XML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from samtok_eval.metrics.cards import card
from samtok_eval.reports.format import ABSENT, interval, p_value, points, signed_points
from samtok_eval.reports.gate.tolerances import DEFAULT_POINTS
from samtok_eval.reports.gate.verdict import Early, GateResult, Verdict, Word
from samtok_eval.reports.table import Table, Writer, aligned_text, left, markdown, right
from samtok_eval.text import visible

WORDS: Mapping[Word, str] = {"pass": "pass", "regression": "REGRESSED", "undecided": "UNDECIDED"}
BY_OPTION = "passed by --on-undecided pass"
MARKS: Mapping[Word, str] = {"pass": "✅", "regression": "❌", "undecided": "⚠️"}


def gate_table(results: Sequence[GateResult], write: Writer = aligned_text) -> str:
    """Per task: the verdict, a row per metric, how many answers changed, and the samples that lost most."""
    return "\n\n".join(write(table) for result in results for table in _tables(result))


def step_summary(results: Sequence[GateResult]) -> str:
    """Markdown for a CI job's summary."""
    failed = sum(result.verdict == "regression" for result in results)
    by_option = sum(result.passed_by_option for result in results)
    undecided = sum(result.verdict == "undecided" for result in results) - by_option
    worst: Word = "regression" if failed else "undecided" if undecided else "pass"
    title = f"## {MARKS[worst]} Checkpoint gate: {failed} of {len(results)} tasks regressed"
    title += f", {undecided} undecided" if undecided else ""
    title += f", {by_option} undecided and {BY_OPTION}" if by_option else ""
    return f"{title}\n\n{gate_table(results, markdown)}\n"


def junit(results: Sequence[GateResult]) -> str:
    """JUnit XML: a suite per task and split, a case per metric, whose `system-out` says why.

    A regression is a failure; an undecided metric is one, skipped or a pass, as `on_undecided` says. What XML cannot
    hold has no shape, so it is spelt out before.
    """
    root = ElementTree.Element("testsuites", name="samtok-eval gate")
    for result in results:
        name = visible(f"{result.task}:{result.split}")
        tags = [_junit_tag(result, verdict) for verdict in result.verdicts]
        counts = {"tests": len(tags), "failures": tags.count("failure"), "skipped": tags.count("skipped")}
        suite = ElementTree.SubElement(root, "testsuite", {"name": name} | {k: str(n) for k, n in counts.items()})
        for tag, verdict in zip(tags, result.verdicts, strict=True):
            title = visible(f"{result.protocol} {verdict.metric}")
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=title)
            sentence = visible(_sentence(verdict))
            if tag:
                found = ElementTree.SubElement(case, tag, message=sentence)
                found.text = gate_table([result]) if tag == "failure" else None
            ElementTree.SubElement(case, "system-out").text = sentence
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def failure_line(results: Sequence[GateResult]) -> str:
    """All regressions in one line."""
    failed = [result for result in results if result.regressed]
    return "; ".join(
        f"{r.task}:{r.split} " + ", ".join(f"{card(v.metric).title} {signed_points(v.difference)}" for v in r.regressed)
        for r in failed
    )


def undecided_line(results: Sequence[GateResult]) -> str:
    """All undecided metrics in one line, unless they count as passed."""
    counted = [r for r in results if (r.undecided or r.unseen) and r.on_undecided != "pass"]
    return "; ".join(f"{r.task}:{r.split} {_titles([*(v.metric for v in r.undecided), *r.unseen])}" for r in counted)


def _junit_tag(result: GateResult, verdict: Verdict) -> str | None:
    if verdict.regressed or (verdict.verdict == "undecided" and result.on_undecided == "fail"):
        return "failure"
    return "skipped" if verdict.verdict == "undecided" and result.on_undecided == "warn" else None


def _sentence(verdict: Verdict) -> str:
    return (
        f"{card(verdict.metric).title} {points(verdict.baseline)} -> {points(verdict.candidate)} "
        f"({signed_points(verdict.difference)}, tolerance {points(verdict.tolerance)}, p {p_value(verdict.p)}): "
        f"{WORDS[verdict.verdict]}, {verdict.reason}"
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
    word = WORDS[result.verdict] + (f", {BY_OPTION}" if result.passed_by_option else "")
    heading = (
        f"{word}: {result.task}:{result.split}, {result.names[1]} against "
        f"{result.names[0]}, protocol {result.protocol}, one-sided alpha {result.alpha:g}. Values x 100."
    )
    changed = "The answers themselves are not at hand, so how many changed is not known."
    if result.changed is not None:
        c = result.changed
        changed = f"Of {c.samples} answers changed: text {c.text}, codes {c.codes}, masks {c.masks}."
    looked = right("look") if result.early else []
    return Table(
        [
            *left("metric"),
            *right("baseline", "candidate", "difference", "95 % interval", "tolerance", "p"),
            *looked,
            *left("verdict", "why"),
        ],
        [_row(verdict) for verdict in result.verdicts],
        [heading, *(_early(result.early) if result.early else []), *(f"WARNING: {w}" for w in result.warnings)],
        [
            *_default_tolerance(result),
            *_unseen(result),
            *_left_out(result),
            *_repeated(result),
            *result.n_differences,
            changed,
            *_complete(result),
        ],
    )


def _early(early: Early) -> list[str]:
    """How far the gate had to go, and what that saved."""
    ends = {
        "verdict": f"Stopped at look {early.looks} of {early.of_looks}, when the verdict was known",
        "end": f"Undecided to the end, look {early.looks} of {early.of_looks}",
        "budget": f"Stopped by --budget after look {early.looks} of {early.of_looks}",
    }
    saved = early.of_samples - early.samples
    share = f"{100 * early.pictures / max(early.of_pictures, 1):.1f} %"
    return [
        f"{ends[early.stopped_by]}: {early.pictures:,} of {early.of_pictures:,} pictures asked ({share}), "
        f"{saved:,} of {early.of_samples:,} answers saved; {early.masks_reused:,} of {early.masks:,} masks were the "
        "baseline's and not decoded."
    ]


def _repeated(result: GateResult) -> list[str]:
    if result.repeated is None:
        return []
    return [
        f"The baseline's model was asked again on {100 * result.repeated:g} % of the batches; how far it differs from "
        "itself is added to every interval and p."
    ]


def _complete(result: GateResult) -> list[str]:
    if result.early is None or not result.early.complete_with:
        return []
    return [f"What was asked is in {result.early.path}; the rest is asked by: {result.early.complete_with}"]


def _unseen(result: GateResult) -> list[str]:
    """Says which metrics have no row."""
    if not result.unseen:
        return []
    return [f"Undecided without a row, since no picture asked so far counts: {_titles(result.unseen)}."]


def _left_out(result: GateResult) -> list[str]:
    if not result.left_out:
        return []
    return [
        f"Left out, since a gate that asks has no judge: {_titles(result.left_out)}. To gate them, run the candidate "
        "with --judge, then give --candidate."
    ]


def _titles(metrics: Iterable[str]) -> str:
    return ", ".join(card(metric).title for metric in metrics)


def _default_tolerance(result: GateResult) -> list[str]:
    """Says where the default holds, which nobody chose."""
    by_default = [card(verdict.metric).title for verdict in result.verdicts if verdict.tolerance_is_default]
    if not by_default:
        return []
    which = "any metric" if len(by_default) == len(result.verdicts) else ", ".join(by_default)
    return [f"No tolerance was given for {which}: {DEFAULT_POINTS:.1f} point of the 0..100 scale holds."]


def _row(verdict: Verdict) -> list[str]:
    return [
        card(verdict.metric).title,
        points(verdict.baseline),
        points(verdict.candidate),
        signed_points(verdict.difference),
        interval(verdict.low, verdict.high, signed_points),
        points(verdict.tolerance),
        p_value(verdict.p),
        *([] if verdict.look is None else [str(verdict.look)]),
        WORDS[verdict.verdict],
        verdict.reason,
    ]
