"""All runs of a folder as pages: a list, a report of each run with all its samples, comparisons of any two of them.

    index.html  runs/<task>-<split>-<model>-<key>/index.html  compare/<key of baseline>-<key of candidate>/index.html

In: run folders. Out: HTML, made from checked records alone: a page that lies in a run folder is never shown, since
anybody may have written it. `server` makes pages when they are asked for, `export` all of them at once; both name
them alike and by relative links, so that one list serves both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from samtok_eval.errors import DataError, IncompleteRunError
from samtok_eval.files import write_text
from samtok_eval.metrics.cards import card
from samtok_eval.registry import load_tasks
from samtok_eval.reports.format import ABSENT
from samtok_eval.reports.html import render, shown, with_way_back
from samtok_eval.reports.page.bounds import CEILING, FLOOR, bounds_of
from samtok_eval.reports.page.content import gather
from samtok_eval.reports.page.page import page
from samtok_eval.reports.run_list import BROKEN, ListedRun, list_runs
from samtok_eval.reports.runs import ScoredRun, read_scored
from samtok_eval.reports.samples.write import write_samples
from samtok_eval.run.folder import RunFolder, slug
from samtok_eval.run.manifest import COMPLETE
from samtok_eval.run.signature import short_signature
from samtok_eval.task import Task

LIST, RUNS, COMPARE = "index.html", "runs", "compare"
STYLE, SCRIPT = ("leaderboard.css", "runs.css"), "runs.js"
"""The leaderboard's tables become cards on narrow screens, and so does the list."""
KEY = 12
"""Characters of the hash that tells runs apart in addresses."""
NAMES_SHOWN = 80
"""Characters of task, split and model in an address."""
SIGNATURE_SHOWN = 4000
"""Characters; ours have 400."""
BACK, BACK_TEXT = f"../../{LIST}", "All runs"


@dataclass(frozen=True)
class SiteRun:
    """A run folder and its place in the site."""

    listed: ListedRun
    place: str
    """Path below the folder of runs."""

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.listed.run)

    @cached_property
    def key(self) -> str:
        """What tells it apart; of its place alone, so that an address stays while the run is there."""
        return hashlib.sha256(self.place.encode("utf-8", "surrogateescape")).hexdigest()[:KEY]

    @property
    def name(self) -> str:
        """Its folder in the site: letters, digits and `._+-`."""
        names = "-".join(map(slug, (self.listed.task, self.listed.split, self.listed.model)))
        return f"{names[:NAMES_SHOWN].strip('-.')}-{self.key}"

    @property
    def questions(self) -> str | None:
        """What a run must share to be compared with this one; None for a run without numbers."""
        if self.listed.state != COMPLETE:
            return None
        kind = (self.listed.task, self.listed.split, str(self.listed.samples), self.listed.data_sha256 or "")
        return hashlib.sha256("\0".join(kind).encode()).hexdigest()[:KEY]


class Site:
    """The pages of one folder of runs."""

    def __init__(
        self, folder: Path, tasks_dirs: Sequence[Path] = (), data_root: str | None = None, samples: bool = True
    ) -> None:
        """Read the task files.

        Args:
            folder: of runs.
            tasks_dirs: further folders of task files.
            data_root: where the benchmarks lie, as in each run by default.
            samples: whether a report also has the page of all its samples.

        Raises:
            DataError: the folder does not exist.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder of runs, there is none; give the --out of a run")
        self.folder, self.tasks_dirs, self.data_root, self.samples = folder, tuple(tasks_dirs), data_root, samples
        self.tasks: Mapping[str, Task] = load_tasks(self.tasks_dirs)

    def runs(self) -> list[SiteRun]:
        """The runs that are there now, in the order of the list."""
        found = []
        for listed in list_runs(self.folder, self.tasks, None, None):
            if listed.state != BROKEN and (link := self._link_out(Path(listed.run))):
                told = f"{link} leads out of {self.folder}, so that it is not shown; copy it there"
                listed = ListedRun(listed.run, listed.shown, problem=told)
            found.append(SiteRun(listed, Path(listed.run).relative_to(self.folder).as_posix()))
        return found

    def _link_out(self, run: Path) -> Path | None:
        """A file of a run that lies elsewhere in truth."""
        folder, root = RunFolder(run), self.folder.resolve()
        files = (folder.manifest, folder.metrics, folder.records, folder.part().parent, *folder.parts())
        return next((path for path in files if not path.resolve().is_relative_to(root)), None)

    def list_page(self, runs: Sequence[SiteRun], static: bool = False) -> str:
        """The list of runs as one HTML document.

        Args:
            runs: what it lists.
            static: whether of two runs only the comparison with the earlier one as the baseline is there.
        """
        order = {run.place: place for place, run in enumerate(sorted(runs, key=_age))}
        rows = [_row(run, order[run.place]) for run in runs]
        kinds = {kind: sorted({str(row[kind]) for row in rows} - {ABSENT}) for kind in ("task", "model", "state")}
        return render("runs.html.j2", style=STYLE, script=SCRIPT, runs=rows, filters=kinds, static=static)

    def read(self, run: SiteRun) -> ScoredRun:
        """A run, checked.

        Raises:
            SamtokError: it is not finished, or something in it does not follow.
        """
        if run.listed.problem is not None:
            raise DataError(run.listed.problem)
        if run.questions is None:
            raise IncompleteRunError(f"{run.path} is {run.listed.state}, not {COMPLETE}; run the same command again")
        return read_scored(run.path, self.tasks_dirs)

    def write_report(self, runs: Sequence[ScoredRun], folder: Path, known: Sequence[ScoredRun] = ()) -> None:
        """Write the report of a run into a folder, or that of a candidate against a baseline, which stands first.

        Args:
            runs: the run, or baseline and candidate.
            folder: where.
            known: runs that were read before and need not be read again.

        Raises:
            SamtokError: the runs cannot be compared, or their data are no longer there.
        """
        report = gather(runs, *bounds_of(runs[-1], None, None, self.tasks_dirs, known), data_root=self.data_root)
        every = write_samples(report, folder) if self.samples else None
        address = every.relative_to(folder).as_posix() if every else None
        write_text(folder / LIST, with_way_back(page(report, address), BACK, BACK_TEXT))

    def made_of(self, run: SiteRun) -> list[tuple[str, int, int]]:
        """What a report of a run is made of, as (path, bytes, time of the last change in ns)."""
        folder = RunFolder(run.path)
        # The runs between which it stands are looked for beside it, see `page.bounds`.
        beside = [path for kind in (CEILING, FLOOR) for path in run.path.parent.parent.glob(f"{kind}/*/manifest.json")]
        tasks = [path for place in self.tasks_dirs for path in place.glob("*.py")]
        files = [folder.manifest, folder.metrics, folder.records, *folder.parts(), *sorted(beside), *sorted(tasks)]
        there = ((str(path.resolve()), path.stat()) for path in files if path.is_file())
        return [(path, about.st_size, about.st_mtime_ns) for path, about in there]


def pairs(runs: Sequence[SiteRun]) -> list[tuple[SiteRun, SiteRun]]:
    """Every two runs of the same questions, the one that finished first as the baseline."""
    asked = sorted((run for run in runs if run.questions), key=lambda run: (str(run.questions), *_age(run)))
    groups = [list(group) for _, group in groupby(asked, key=lambda run: run.questions)]
    return [(one, other) for group in groups for place, one in enumerate(group) for other in group[place + 1 :]]


def compared(baseline: SiteRun, candidate: SiteRun) -> str:
    """Name of the folder of a comparison."""
    return f"{baseline.key}-{candidate.key}"


COMPARED = re.compile(rf"([0-9a-f]{{{KEY}}})-([0-9a-f]{{{KEY}}})")
"""What `compared` makes."""


def refusal_page(title: str, message: str, home: str) -> str:
    """A page that says why there is none.

    Args:
        title: in a few words.
        message: what is wrong, and what to do.
        home: address of the list.
    """
    return render("refusal.html.j2", title=title, message=message, home=home)


def _age(run: SiteRun) -> tuple[str, str]:
    return run.listed.finished or "", run.place


def _row(run: SiteRun, order: int) -> dict[str, object]:
    """A row of the list."""
    listed = run.listed
    task = ABSENT if listed.state == BROKEN else f"{listed.task}:{listed.split}"
    return {
        "key": run.key,
        "page": f"{RUNS}/{run.name}/{LIST}" if run.questions else None,
        "place": run.place,
        "task": shown(task),
        "model": shown(listed.model),
        "metric": card(listed.metric).title if listed.metric else ABSENT,
        "value": listed.value,
        "sort_value": listed.entry.value if listed.entry and listed.entry.value is not None else "",
        "samples": listed.samples if listed.samples is not None else "",
        "size": listed.size if listed.samples is not None else ABSENT,
        "ended": listed.ended,
        "state": listed.state,
        "problem": listed.problem,
        "questions": run.questions or "",
        "order": order,
        "signature": shown(listed.signature or "", SIGNATURE_SHOWN),
        # Task, model and size stand in the row; its hash tells apart what else there is.
        "short_signature": short_signature(listed.signature).rpartition("|")[2] if listed.signature else None,
    }
