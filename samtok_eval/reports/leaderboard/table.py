"""The one table model behind every form of the leaderboard, and how published numbers and results become tables.

Numbers stand in one column only where they are comparable: the same metric on the same split under the same protocol,
of the same questions and task version. What papers print has the protocol `published`; results on the demo's scenes
have sections of their own. Values are in the unit of tables: shares x 100.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from samtok_eval.metrics.cards import MetricKey, card
from samtok_eval.reports.format import estimate
from samtok_eval.reports.leaderboard.layout import DEMO_TAB, Group, Layout, layouts_for, ranked, tab_of
from samtok_eval.reports.leaderboard.published_file import PublishedValue, trust_marks
from samtok_eval.reports.leaderboard.ranks import Paired, Range, is_apart, marks_of, rank_ranges, unpaired
from samtok_eval.reports.result_file import ResultFile
from samtok_eval.reports.table import BEST, SECOND
from samtok_eval.run.signature import HASH_SHOWN
from samtok_eval.task import Task

PUBLISHED = "published"
"""The protocol label of numbers from papers."""
MEASURED = "measured"
"""Trust of our own results, which carry a signature."""


@dataclass(frozen=True)
class Column:
    """One metric on one split."""

    split: str
    metric: str
    ranked: bool
    """Whether the highest value is the best."""


@dataclass(frozen=True)
class Source:
    """Where a number comes from."""

    text: str
    """The signature of our own, or what a reader must know of a published one; may be empty there."""
    address: str = ""
    """Of what prints a published number."""
    via: str = ""
    """Of the digest or copy that was read instead of it."""


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    value: float
    """In the table's unit."""
    text: str
    """As shown, without marks."""
    source: Source
    low: float | None = None
    high: float | None = None
    n: int | None = None
    mark: str = ""
    """`best`, `second` or empty."""
    rank: Range | None = None
    """Places in its column that noise leaves open; None for published numbers, which come without intervals."""


@dataclass(frozen=True)
class Row:
    """One method as one source gives it, or one revision of a model."""

    name: str
    revision: str
    size: str
    """Parameters as stated, empty where they are not."""
    trust: str
    """`own`, `benchmark`, `copied` or `measured`."""
    cells: tuple[Cell | None, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Of its cells, each once, in their order."""
        return tuple(dict.fromkeys(cell.source for cell in self.cells if cell is not None))

    @property
    def marks(self) -> str:
        """What stands behind its values."""
        return trust_marks(self.trust, "".join(source.via for source in self.sources))


@dataclass(frozen=True)
class Table:
    """Rows that may be compared within each column."""

    title: str
    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Best first, by the main column and then by the others from the left."""
    main: int = 0
    """The column that the benchmark is known by."""

    def rank(self, row: Row) -> Range | None:
        """The places that a row may have by the main column."""
        cell = row.cells[self.main] if row.cells else None
        return cell.rank if cell else None

    @property
    def ranked(self) -> bool:
        """Whether any row has a rank."""
        return any(self.rank(row) for row in self.rows)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Numbered from 1 in every form of the table."""
        return tuple(dict.fromkeys(source for row in self.rows for source in row.sources))


@dataclass(frozen=True)
class Section:
    """All tables of one benchmark, or of the demo's stand-in for it."""

    name: str
    demo: bool
    notes: tuple[str, ...]
    tables: tuple[Table, ...]

    @property
    def tab(self) -> str:
        """What a model is asked to do there."""
        return DEMO_TAB if self.demo else tab_of(self.name)

    @property
    def title(self) -> str:
        """The heading; it says in capitals what no real data stands behind."""
        return f"DEMO (synthetic scenes) in the format of {self.name}" if self.demo else self.name


class _Variant(NamedTuple):
    """What must agree for two results of one metric to stand in one column."""

    split: str
    history: str
    task_version: int
    questions: str


def sections(
    published: Sequence[PublishedValue],
    results: Sequence[ResultFile],
    tasks: Mapping[str, Task],
    paired: Paired = unpaired,
) -> list[Section]:
    """Every section that has a number, benchmarks first, the demo's last.

    Args:
        published: numbers from papers, in their order.
        results: our own.
        tasks: tasks by name, for titles and the order of protocols.
        paired: intervals of differences between our own results, for their ranks.
    """
    titles = {r.task: tasks[r.task].metadata.title if r.task in tasks else r.task for r in results}
    layouts = layouts_for([row.benchmark for row in published], titles)
    found = []
    for layout in layouts:
        rows = [row for row in published if row.benchmark == layout.name]
        own = [r for r in results if not r.dataset.demo and _home(layouts, r) == layout]
        tables = (*published_tables(layout, rows), *result_tables(layout, own, paired))
        if tables:
            found.append(Section(layout.name, False, layout.notes, tables))
    for layout in layouts:
        own = [r for r in results if r.dataset.demo and _home(layouts, r) == layout]
        if tables := result_tables(layout, own, paired):
            found.append(Section(layout.name, True, (), tables))
    return found


def published_tables(layout: Layout, rows: Sequence[PublishedValue]) -> tuple[Table, ...]:
    """A table per group of the layout, then one per split that no group names; best first."""
    named = {column for group in layout.groups for column in group.columns}
    present = dict.fromkeys((row.split, row.metric) for row in rows)
    left = dict.fromkeys(split for split, metric in present if (split, metric) not in named)
    rest = [Group(tuple(c for c in present if c[0] == split and c not in named), split) for split in left]
    tables = []
    for group in (*layout.groups, *rest):
        columns = [column for column in group.columns if column in present]
        if columns:
            title = ", ".join(filter(None, (layout.name, PUBLISHED, group.title)))
            found = _columns(columns)
            main = columns.index(group.main) if group.main in columns else _first_ranked(found)
            tables.append(_marked(Table(title, PUBLISHED, found, _published_rows(columns, rows), main)))
    return tuple(map(_best_first, tables))


def result_tables(layout: Layout, results: Sequence[ResultFile], paired: Paired = unpaired) -> tuple[Table, ...]:
    """A table per protocol, best first."""
    protocols = dict.fromkeys(protocol for result in results for protocol in result.protocols)
    tables = (_result_table(layout, results, protocol, paired) for protocol in protocols)
    return tuple(_best_first(table) for table in tables if table.columns)


def mark_column(values: Sequence[float | None]) -> list[str]:
    """`best` for the highest value, `second` for the next lower one; equal values share a mark, a lone row has none."""
    distinct = sorted({value for value in values if value is not None}, reverse=True)
    if sum(value is not None for value in values) < 2:
        return [""] * len(values)
    marks = dict(zip(distinct, (BEST, SECOND), strict=False))
    return ["" if value is None else marks.get(value, "") for value in values]


def _home(layouts: Iterable[Layout], result: ResultFile) -> Layout:
    """The layout that names the result's split, else the first of its task."""
    of_task = [layout for layout in layouts if layout.task == result.task]
    return next((layout for layout in of_task if result.split in layout.splits), of_task[0])


def _columns(names: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    return tuple(Column(split, metric, ranked(metric)) for split, metric in names)


def _published_rows(columns: Sequence[tuple[str, str]], values: Sequence[PublishedValue]) -> tuple[Row, ...]:
    """A row is what one source prints of one method: two sources never share one."""
    found: dict[tuple[str, str, str, str, str], dict[tuple[str, str], Cell]] = {}
    for value in values:
        if (value.split, value.metric) in columns:
            cells = found.setdefault((value.method, value.params, value.trust, value.source, value.via), {})
            source = Source(value.detail, value.source, value.via)
            cells[value.split, value.metric] = Cell(float(value.value), value.value, source)
    return tuple(
        Row(method, "", params, trust, tuple(cells.get(column) for column in columns))
        for (method, params, trust, *_), cells in found.items()
    )


def _result_table(layout: Layout, results: Sequence[ResultFile], protocol: str, paired: Paired) -> Table:
    scored = sorted(
        (r for r in results if protocol in r.protocols), key=lambda r: (r.model.name.casefold(), r.model.revision)
    )
    columns = _result_columns(layout, scored, protocol)
    models: dict[tuple[str, str], dict[tuple[_Variant, str], ResultFile]] = {}
    for result in scored:
        cells = models.setdefault((result.model.name, result.model.revision), {})
        cells.update({(_variant(result), metric): result for metric in result.protocols[protocol]})
    rows = []
    for (name, revision), own in models.items():
        size = next((r.model.parameters for r in own.values() if r.model.parameters), "")
        found = (_cell(own[key], protocol, key[1]) if key in own else None for key in columns)
        rows.append(Row(name, revision, size, MEASURED, tuple(found)))
    title = f"{layout.name}, measured here, protocol {protocol}"
    if any(result.dataset.demo for result in scored):
        title = f"DEMO (synthetic scenes, not {layout.name}), protocol {protocol}"
    known = tuple(columns.values())
    main = next(
        (i for i, (_, metric) in enumerate(columns) if MetricKey.of(metric).metric == layout.main), _first_ranked(known)
    )
    table = Table(title, protocol, known, tuple(rows), main)
    return _with_ranks(table, list(columns), list(models.values()), paired)


def _with_ranks(
    table: Table,
    keys: Sequence[tuple[_Variant, str]],
    models: Sequence[Mapping[tuple[_Variant, str], ResultFile]],
    paired: Paired,
) -> Table:
    """Places that noise leaves open in every ranked column, and marks of those that it does not.

    Args:
        table: of our own results.
        keys: of its columns.
        models: of its rows, the result behind each cell.
        paired: intervals of differences.
    """
    rows = [list(row.cells) for row in table.rows]
    for place, (key, column) in enumerate(zip(keys, table.columns, strict=True)):
        here = [(i, cell) for i, cells in enumerate(rows) if (cell := cells[place]) is not None]
        if not column.ranked or len(here) < 2:
            continue

        def is_better(one: int, other: int) -> bool:
            (i, mine), (j, theirs) = here[one], here[other]  # noqa: B023 - called before the next column
            difference = None if i == j else paired(models[j][key], models[i][key], table.protocol, key[1])  # noqa: B023
            if difference is not None:
                return difference[0] > 0
            return is_apart((mine.low, mine.high), (theirs.low, theirs.high))

        ranges = rank_ranges(len(here), is_better)
        for (i, cell), found, mark in zip(here, ranges, marks_of(ranges), strict=True):
            rows[i][place] = replace(cell, rank=found, mark=mark)
    kept = (replace(row, cells=tuple(cells)) for row, cells in zip(table.rows, rows, strict=True))
    return replace(table, rows=tuple(kept))


def _first_ranked(columns: Sequence[Column]) -> int:
    return next((i for i, column in enumerate(columns) if column.ranked), 0)


def _best_first(table: Table) -> Table:
    """The rows by the main column, highest first, then by the others; missing values last."""
    order = [table.main, *(i for i in range(len(table.columns)) if i != table.main)]
    order = [i for i in order if table.columns[i].ranked]

    def key(row: Row) -> list[tuple[bool, float]]:
        cells = [row.cells[i] for i in order]
        return [(cell is None, -cell.value if cell else 0.0) for cell in cells]

    return replace(table, rows=tuple(sorted(table.rows, key=key)))


def _result_columns(layout: Layout, results: Sequence[ResultFile], protocol: str) -> dict[tuple[_Variant, str], Column]:
    """Columns that have a value, by what must agree in each and by the metric's name in the files."""
    order = {split: rank for rank, split in enumerate(layout.splits)}
    variants = sorted({_variant(r) for r in results}, key=lambda v: (order.get(v.split, len(order)), v))
    columns = {}
    for variant in variants:
        for metric in _metrics(layout, results, protocol):
            if any(_variant(r) == variant and _cell(r, protocol, metric) for r in results):
                columns[variant, metric] = Column(_split_title(variant, variants), card(metric).title, ranked(metric))
    return columns


def _variant(result: ResultFile) -> _Variant:
    return _Variant(result.split, result.history, result.task_version, result.dataset.sha256)


def _split_title(variant: _Variant, others: Iterable[_Variant]) -> str:
    """The split, and what tells it from other columns of the same split."""
    rivals = [other for other in others if (other.split, other.history) == (variant.split, variant.history)]
    details = ["the model's own earlier masks"] if variant.history == "pred" else []
    if len({rival.task_version for rival in rivals}) > 1:
        details.append(f"task version {variant.task_version}")
    if len({rival.questions for rival in rivals}) > 1:
        details.append(f"questions {variant.questions[:HASH_SHOWN]}")
    return f"{variant.split} ({', '.join(details)})" if details else variant.split


def _metrics(layout: Layout, results: Sequence[ResultFile], protocol: str) -> list[str]:
    """The layout's metrics, each with the judges that gave it."""
    present = dict.fromkeys(metric for result in results for metric in result.protocols[protocol])
    if not layout.metrics:
        return list(present)
    return [m for base in layout.metrics for m in present if MetricKey.of(m).metric == base]


def _cell(result: ResultFile, protocol: str, metric: str) -> Cell | None:
    found = result.protocols[protocol].get(metric)
    if found is None or found.value is None:
        return None
    scale = card(metric).scale
    low, high = (None if bound is None else scale * bound for bound in (found.low, found.high))
    text = estimate(metric, found.value, found.low, found.high)
    return Cell(scale * found.value, text, Source(result.signature[protocol]), low, high, found.n)


def _marked(table: Table) -> Table:
    marks = [
        mark_column([one and one.value for one in column]) if ranked_column.ranked else [""] * len(column)
        for ranked_column, column in zip(
            table.columns, zip(*(row.cells for row in table.rows), strict=True), strict=True
        )
    ]
    rows = [
        replace(row, cells=tuple(one and replace(one, mark=marks[j][i]) for j, one in enumerate(row.cells)))
        for i, row in enumerate(table.rows)
    ]
    return replace(table, rows=tuple(rows))
