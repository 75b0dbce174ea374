"""The leaderboard folder: results go in one by one, and every table is built anew from what lies there.

In: `published.csv`, `authors.csv` and `results/`. Out: `README.md`, `index.html`, `methods/<method>.html`,
`tables/<benchmark>.tex`, `leaderboard.csv` and `leaderboard.json`, all from one table model, and the same bytes
whenever the input is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from samtok_eval.errors import DataError, IncompleteRunError, UsageError
from samtok_eval.files import write_json, write_text
from samtok_eval.metrics.ratio import Metric
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.authors import AUTHORS_FILE, NOBODY, check_trust, read_authors
from samtok_eval.reports.leaderboard.kept_records import (
    BESIDE,
    NOWHERE,
    entry_of,
    read_kept,
    records_beside,
    write_compressed,
)
from samtok_eval.reports.leaderboard.layout import LAYOUTS
from samtok_eval.reports.leaderboard.page import html_page, method_pages
from samtok_eval.reports.leaderboard.published_file import PublishedValue, read_published
from samtok_eval.reports.leaderboard.ranks import Paired
from samtok_eval.reports.leaderboard.table import Section, sections
from samtok_eval.reports.leaderboard.text import GENERATED, csv_text, json_text, latex, markdown, section_slug
from samtok_eval.reports.result_file import ResultFile, default_split, read_result, read_results, result_of
from samtok_eval.run.folder import Run, RunFolder
from samtok_eval.run.manifest import COMPLETE
from samtok_eval.statistics import Difference, compare_metrics
from samtok_eval.task import Task

PUBLISHED_FILE, RESULTS, TABLES, METHODS = "published.csv", "results", "tables", "methods"
RANK_SEED = 0
"""Of the draws behind ranks: a build must give the same bytes for the same input."""
HTML_HEAD = f"<!doctype html>\n<!-- {GENERATED} -->\n"
"""How a page of a method begins, by which a later build knows it."""


def bundled_leaderboards_dir() -> Path:
    """The leaderboard folder of this installation: inside the wheel, else beside the package in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "bundled_leaderboards"
    return inside if inside.is_dir() else package.parent / "leaderboards"


def published_for(task: str, split: str, method: str) -> list[PublishedValue]:
    """Published numbers of one task and split.

    Args:
        task: a task's name.
        split: as the task names it.
        method: part of the methods' names, in any case; empty for all.

    Returns:
        In the order of the file; empty where nothing was published.
    """
    names = {layout.name for layout in LAYOUTS if layout.task == task and split in layout.splits}
    rows = read_published(bundled_leaderboards_dir() / PUBLISHED_FILE)
    return [
        row
        for row in rows
        if row.benchmark in names and row.split == split and method.casefold() in row.method.casefold()
    ]


def submit(
    run: Run,
    folder: Path,
    model: str,
    revision: str,
    parameters: str | None = None,
    *,
    tasks: Mapping[str, Task] | None = None,
    replace: bool = False,
    records: str = BESIDE,
) -> Path:
    """Keep a run's numbers as a result file, and its records so that anybody can score them again.

    That the metrics follow from the run's records is for the caller to check.

    Args:
        run: a scored run.
        folder: the leaderboard folder.
        model: `org/model`.
        revision: commit, tag, or the beginning of the weights' hash.
        parameters: size, e.g. `3B`.
        tasks: tasks by name; the bundled ones by default.
        replace: put it in the place of another result of the same model, revision and split.
        records: `beside` the result file, compressed; `none`; or the `https` address at which they can be had, of which
            only the hash is kept.

    Returns:
        The file written.

    Raises:
        IncompleteRunError: the run was not finished, or does not cover the whole split without errors.
        DataError: the run does not hold what a result needs, or a name is not well formed.
        UsageError: another result has this place.
    """
    check_complete(run)
    source = RunFolder(run.path).records
    try:
        kept = entry_of(source, records)
    except ValidationError as error:
        raise UsageError(f"expected {BESIDE}, {NOWHERE} or an address https://HOST/PATH, got {records!r}") from error
    result = result_of(run, model, revision, parameters, kept)
    known = load_tasks() if tasks is None else tasks
    path = folder / RESULTS / result.place(default_split(known, result.task))
    if path.exists() and not replace and read_result(path) != result:
        raise UsageError(f"{path} holds another result; give another revision, or ask to replace it")
    if records == BESIDE:
        write_compressed(source, records_beside(path))
    else:
        records_beside(path).unlink(missing_ok=True)
    write_json(path, result.model_dump(mode="json"))
    return path


def check_complete(run: Run) -> None:
    """Refuse a run that says less than a whole split.

    Raises:
        IncompleteRunError: what is missing, and what to do.
    """
    state = run.manifest.state
    if state != COMPLETE:
        raise IncompleteRunError(f"{run.path}: expected a complete run, got one that is {state}; finish it first")
    limit = run.manifest.settings.limit
    if limit is not None:
        raise IncompleteRunError(f"{run.path} holds the first {limit} samples only; run it without --limit")
    counters = run.metrics["counters"]
    for name in ("missing", "errored"):
        if counters[name]:
            raise IncompleteRunError(
                f"{run.path}: {counters[name]} answers are {name}; run it again until every sample has an answer"
            )


def build(folder: Path, *, tasks: Mapping[str, Task] | None = None) -> list[Path]:
    """Write every form of the leaderboard.

    Args:
        folder: holds `published.csv`, `results/`, or both.
        tasks: tasks by name; the bundled ones by default.

    Returns:
        The files written.

    Raises:
        DataError: nothing to show, or a file is broken or out of place.
    """
    known = load_tasks() if tasks is None else tasks
    published = checked_published(folder) if (folder / PUBLISHED_FILE).exists() else []
    authors = read_authors(folder / AUTHORS_FILE) if (folder / AUTHORS_FILE).exists() else NOBODY
    found = sections(published, read_results(folder / RESULTS, known), known, paired_by(folder / RESULTS, known))
    if not found:
        raise DataError(f"{folder} holds neither {PUBLISHED_FILE} nor {RESULTS}/; give a leaderboard folder")
    content = {
        folder / "README.md": markdown(found),
        folder / "index.html": html_page(found, authors),
        folder / "leaderboard.csv": csv_text(found),
        folder / "leaderboard.json": json_text(found),
        **_latex_files(folder / TABLES, found),
        **{folder / METHODS / name: text for name, text in method_pages(found, authors).items()},
    }
    _remove_stale(folder / TABLES, "*.tex", f"% {GENERATED}", content)
    _remove_stale(folder / METHODS, "*.html", HTML_HEAD, content)
    for path, text in content.items():
        write_text(path, text)
    return list(content)


def checked_published(folder: Path) -> list[PublishedValue]:
    """The published numbers of a leaderboard folder, their trust checked where it says whose work the sources are.

    Raises:
        DataError: a file is malformed, or the trust of a number does not follow from its source.
    """
    published = read_published(folder / PUBLISHED_FILE)
    if (folder / AUTHORS_FILE).exists():
        check_trust(published, read_authors(folder / AUTHORS_FILE))
    return published


def paired_by(folder: Path, tasks: Mapping[str, Task]) -> Paired:
    """Intervals of differences between results of a folder whose records lie beside both.

    Args:
        folder: of the result files.
        tasks: by name.

    Raises:
        DataError: of what it returns: records are broken, or others than those of their result.
    """

    @cache
    def measured(place: Path, protocol: str) -> tuple[list[str], Mapping[str, Metric]] | None:
        result = read_result(folder / place)
        path = records_beside(folder / place)
        if result.records is None or not path.exists() or result.task not in tasks:
            return None
        records = read_kept(path, result.records)[protocol]
        return records.id.tolist(), tasks[result.task].measured(records, protocol)

    @cache
    def differences(first: Path, second: Path, protocol: str) -> Mapping[str, Difference]:
        before, after = measured(first, protocol), measured(second, protocol)
        if before is None or after is None or before[0] != after[0]:
            return {}
        # Of the test only the interval is used.
        return compare_metrics(before[1], after[1], RANK_SEED, permutations=1)

    def interval(first: ResultFile, second: ResultFile, protocol: str, metric: str) -> tuple[float, float] | None:
        places = [each.place(default_split(tasks, each.task)) for each in (first, second)]
        found = differences(min(places), max(places), protocol).get(metric)
        if found is None:
            return None
        return (found.low, found.high) if places[0] < places[1] else (-found.high, -found.low)

    return interval


def _latex_files(folder: Path, found: Sequence[Section]) -> dict[Path, str]:
    names = Counter(section_slug(section) for section in found)
    for section in found:
        if names[section_slug(section)] > 1:
            raise DataError(
                f"two benchmarks would be written to {section_slug(section)}.tex, {section.name} is one; rename it"
            )
    return {folder / f"{section_slug(section)}.tex": latex(section) for section in found}


def _remove_stale(folder: Path, pattern: str, head: str, kept: Mapping[Path, str]) -> None:
    """Files that an earlier build wrote and this one would not; nobody else's."""
    for path in folder.glob(pattern):
        if path not in kept and path.read_text(encoding="utf-8").startswith(head):
            path.unlink()
