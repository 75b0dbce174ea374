"""The pages of a folder of runs as a folder that any web server can publish, and that opens from a disk.

In: a `Site`. Out: the list, a report of each finished run, and the comparison of every two that answered the same
questions; whole or not at all. A folder that holds anything but an earlier export is never written to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from samtok_eval.errors import DataError, SamtokError, UsageError
from samtok_eval.files import read_object, write_json, write_text, writing
from samtok_eval.reports.runs import ScoredRun
from samtok_eval.reports.site import BACK, COMPARE, LIST, RUNS, Site, SiteRun, compared, pairs, refusal_page
from samtok_eval.unfinished import unfinished

logger = logging.getLogger(__name__)
CONTENTS = "site.json"
"""Names the files of an export, so that the next one knows them from others."""
WRITTEN_BY = "samtok-eval view --export"


def export_site(site: Site, to: Path) -> Path:
    """Write a site, in the place of an earlier one.

    Args:
        site: its pages.
        to: a folder that does not exist, is empty, or holds an earlier export and nothing else.

    Returns:
        Its list of runs.

    Raises:
        UsageError: the folder holds other files, or the system refuses; what was there then stays.
        DataError: there is no finished run.
    """
    check_free(to)
    runs = site.runs()
    if not any(run.questions for run in runs):
        raise DataError(f"{site.folder} holds no finished run; give the --out of a run")
    with writing(to), unfinished(to) as part:
        _write(site, runs, part)
    return to / LIST


def check_free(to: Path) -> None:
    """Refuse a folder that holds anything but an earlier export.

    Raises:
        UsageError: it does, or is no folder.
    """
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise UsageError(f"--export {to}: expected a folder of its own; give a name that is not there yet")
    there = _files(to)
    if there and there - _known(to):
        first = min(there - _known(to))
        raise UsageError(f"--export {to} holds other files, {first} first; give an empty folder or a new name")


def _files(folder: Path) -> set[str]:
    """What a folder holds, links and empty folders included."""
    found = set()
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        found |= {Path(place, name).relative_to(folder).as_posix() for name in (*files, *links)}
    return found


def _known(to: Path) -> set[str]:
    """Files of the export that is there; none where that cannot be told."""
    try:
        content = read_object(to / CONTENTS)
    except DataError:
        return set()
    files = content.get("files")
    if content.get("written_by") != WRITTEN_BY or not isinstance(files, list):
        return set()
    return {CONTENTS, *map(str, files)}


def _write(site: Site, runs: list[SiteRun], to: Path) -> None:
    finished = [run for run in runs if run.questions]
    total = len(finished) + len(pairs(finished))
    done = 0
    for questions in dict.fromkeys(run.questions for run in finished):
        group = [run for run in finished if run.questions == questions]
        readings = _Readings(site, group)
        pages = [(f"{RUNS}/{run.name}", [run]) for run in group]
        pages += [(f"{COMPARE}/{compared(*couple)}", list(couple)) for couple in pairs(group)]
        for place, shown in pages:
            done += 1
            logger.info("page %d of %d: %s", done, total, " against ".join(run.place for run in reversed(shown)))
            readings.write_page(shown, to / place)
    write_text(to / LIST, site.list_page(runs, static=True))
    write_json(to / CONTENTS, {"written_by": WRITTEN_BY, "files": sorted(_files(to))})


class _Readings:
    """Runs of the same questions, each read once however many pages show it."""

    def __init__(self, site: Site, group: Sequence[SiteRun]) -> None:
        self._site = site
        self._read: dict[str, ScoredRun] = {}
        self._refused: dict[str, SamtokError] = {}
        for run in group:
            try:
                self._read[run.place] = site.read(run)
            except SamtokError as error:
                logger.warning("%s", error)
                self._refused[run.place] = error

    def write_page(self, runs: Sequence[SiteRun], folder: Path) -> None:
        """A report; of runs that allow none, the reason, so that no link is broken."""
        try:
            for run in runs:
                if run.place in self._refused:
                    raise self._refused[run.place]
            shown = [self._read[run.place] for run in runs]
            self._site.write_report(shown, folder, list(self._read.values()))
        except SamtokError as error:
            write_text(folder / LIST, refusal_page("This page cannot be made", str(error), BACK))
