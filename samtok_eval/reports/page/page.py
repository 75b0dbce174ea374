"""The page of a report: one HTML file that opens anywhere, with its pictures and its data inside.

In: a gathered `Report`. Out: `index.html`. Everything a model or a benchmark said is escaped by the template,
shortened, and has its hidden characters spelt out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samtok_eval.files import write_text
from samtok_eval.metrics.cards import card
from samtok_eval.reports.counted import counted_notes
from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.html import TEXT_SHOWN, render, shown
from samtok_eval.reports.page import figures, tables
from samtok_eval.reports.page.bounds import CEILING, FLOOR, bounds_of
from samtok_eval.reports.page.cards import Pictures, sample_card
from samtok_eval.reports.page.content import ROWS, Report, gather, highest_of
from samtok_eval.reports.page.downloads import downloads
from samtok_eval.reports.runs import read_scored
from samtok_eval.reports.summary import limits, speed, subject
from samtok_eval.run.questions import Questions
from samtok_eval.run.signature import short_signature

STYLE, SCRIPT = ("cards.css", "report.css"), "report.js"
"""Of the page, beside those of all pages."""


def write_report(report: Report, folder: Path, samples: Path | None = None) -> Path:
    """Write `index.html` into a folder, whole or not at all.

    Args:
        report: what it shows.
        folder: where.
        samples: page of all samples inside the folder, to which it then leads.

    Returns:
        Its path.
    """
    path = folder / "index.html"
    write_text(path, page(report, samples.relative_to(folder).as_posix() if samples else None))
    return path


def write_reports(
    paths: Sequence[Path], tasks_dirs: Sequence[Path] = (), seed: int = 0, questions: Questions | None = None
) -> list[Path]:
    """A page in every run folder of one task: models are compared with the first one, between oracle and random.

    Args:
        paths: run folders of one task, split and data set.
        tasks_dirs: further folders of task files.
        seed: of draws and permutations.
        questions: may hold those of the runs.

    Returns:
        The pages, in the order of the runs.
    """
    runs = [read_scored(path, tasks_dirs) for path in paths]
    models = [run for run in runs if run.name not in (CEILING, FLOOR)]
    pages = []
    questions = questions or Questions()
    for run in runs:
        compared = [models[0], run] if run in models[1:] else [run]
        report = gather(compared, *bounds_of(run, None, None, tasks_dirs, runs), seed=seed, questions=questions)
        pages.append(write_report(report, run.run.path / "report"))
    return pages


def page(report: Report, samples: str | None = None) -> str:
    """The report as one HTML document.

    Args:
        report: what it shows.
        samples: address of the page of all samples.
    """
    run, comparison, metric = report.run, report.comparison, report.metric
    pictures = Pictures()
    lower = metric in run.task.metadata.lower_is_better
    dots = figures.scatter(report.answered.baseline, report.answered.scores, highest_of(metric), lower)
    cards = [[sample_card(item, metric, pictures) for item in gallery.items] for gallery in report.galleries]
    return render(
        "report.html.j2",
        style=STYLE,
        script=SCRIPT,
        title=_title(report),
        subject=subject(run.task, [each.run for each in comparison.runs]),
        baseline=report.baseline.name if report.baseline else None,
        warnings=[shown(warning, TEXT_SHOWN) for warning in comparison.warnings],
        counters=run.run.metrics["counters"],
        limits=[shown(line, TEXT_SHOWN) for line in limits(run.run)],
        protocol=report.protocol,
        metric=card(metric).title if metric else None,
        sample_metric=card(metric).sample_title if metric else None,
        has_ceiling=report.ceiling is not None,
        has_floor=report.floor is not None,
        sampled=run.run.manifest.settings.limit is not None,
        other_protocols=run.protocols[1:],
        scores=tables.scores_table(report, main=True),
        other_scores=tables.scores_table(report, main=False),
        counted=counted_notes(run, report.protocol),
        candidates=[each.name for each in comparison.runs[1:]],
        comparison=tables.comparison_table(report, main=True),
        other_comparison=tables.comparison_table(report, main=False),
        n_differences=[(protocol, shown(line, TEXT_SHOWN)) for protocol, line in comparison.n_differences],
        comparison_by_slice=tables.comparison_by_slice_table(report),
        dots=dots,
        changed=figures.counts_of(dots),
        leaks=tables.leaks_table(report),
        leaks_sentence=shown(report.leaks.sentence, TEXT_SHOWN) if report.leaks else None,
        side_by_side=tables.side_by_side_table(report),
        separation=tables.separation_table(report),
        separated=card(report.separation.metric).title if report.separation else None,
        losses=tables.losses_table(report),
        confusion=report.confusion,
        confusion_rows=figures.confusion_rows(report.confusion) if report.confusion else [],
        histogram=figures.histogram(report.histogram, report.ceiling_histogram, highest_of(metric)),
        ticks=[f"{100 * highest_of(metric) * share:g}" for share in (0, 0.25, 0.5, 0.75, 1)],
        slices=tables.slices_table(report),
        by_loss=any(row.lost is not None for row in report.slices),
        galleries=list(zip(report.galleries, cards, strict=True)),
        pictures=list(pictures.known.values()),
        missing=[shown(path) for path in pictures.missing],
        books=[(book, figures.squares(book), figures.side_of(book)) for book in report.books],
        stages=tables.stages_table(report),
        samples=tables.samples_table(report),
        all_samples=samples,
        samples_note=_samples_note(report),
        command=shown(report.command, TEXT_SHOWN),
        signatures=_signatures(report),
        facts=_facts(report),
        downloads=downloads(report),
    )


def _title(report: Report) -> str:
    run = report.run
    versus = f" against {report.baseline.name}" if report.baseline else ""
    return shown(f"{run.task.metadata.name}:{run.split}, {run.name}{versus}")


def _samples_note(report: Report) -> str | None:
    if report.samples <= ROWS:
        return None
    listed = f"{len(report.rows)} of {report.samples} samples"
    return f"{listed}: the lowest {ROWS // 2}, and as many spread evenly over the rest."


def _signatures(report: Report) -> list[tuple[str, str]]:
    """Short and long form, of every run and protocol."""
    found = [text for run in report.comparison.runs for text in run.run.manifest.signature.values()]
    return [(shown(short_signature(text)), shown(text, TEXT_SHOWN)) for text in found]


def _facts(report: Report) -> list[tuple[str, str]]:
    """What the numbers rest on, for the bottom of the page."""
    manifest = report.run.run.manifest
    bounds = {"ceiling run": report.ceiling, "floor run": report.floor}
    return [
        ("run folder", str(report.run.run.path)),
        *((name, str(run.run.path)) for name, run in bounds.items() if run),
        ("finished", manifest.times.finished or ABSENT),
        ("data", f"{manifest.dataset.root}, {manifest.dataset.samples} samples"),
        ("prompt", manifest.prompt),
        ("hardware", ", ".join(f"{name} {value}" for name, value in manifest.hardware.items()) or ABSENT),
        *(("speed", line) for line in speed(report.run.run)),
        ("packages", ", ".join(f"{name} {version}" for name, version in manifest.packages.items()) or ABSENT),
        ("samtok-eval", manifest.samtok_eval),
    ]
