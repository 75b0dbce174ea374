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
from samtok_eval.reports.leaderboard.layout import Group, Layout, layouts_for, ranked
from samtok_eval.reports.leaderboard.published_file import PublishedValue, trust_marks
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
    published: Sequence[PublishedValue], results: Sequence[ResultFile], tasks: Mapping[str, Task]
) -> list[Section]:
    """Every section that has a number, benchmarks first, the demo's last.

    Args:
        published: numbers from papers, in their order.
        results: our own.
        tasks: tasks by name, for titles and the order of protocols.
    """
    titles = {r.task: tasks[r.task].metadata.title if r.task in tasks else r.task for r in results}
    layouts = layouts_for([row.benchmark for row in published], titles)
    found = []
    for layout in layouts:
        rows = [row for row in published if row.benchmark == layout.name]
        own = [r for r in results if not r.dataset.demo and _home(layouts, r) == layout]
        tables = (*published_tables(layout, rows), *result_tables(layout, own))
        if tables:
            found.append(Section(layout.name, False, layout.notes, tables))
    for layout in layouts:
        own = [r for r in results if r.dataset.demo and _home(layouts, r) == layout]
        if tables := result_tables(layout, own):
            found.append(Section(layout.name, True, (), tables))
    return found


def published_tables(layout: Layout, rows: Sequence[PublishedValue]) -> tuple[Table, ...]:
    """A table per group of the layout, then one per split that no group names; methods in the order of the file."""
    named = {column for group in layout.groups for column in group.columns}
    present = dict.fromkeys((row.split, row.metric) for row in rows)
    left = dict.fromkeys(split for split, metric in present if (split, metric) not in named)
    rest = [Group(tuple(c for c in present if c[0] == split and c not in named), split) for split in left]
    tables = []
    for group in (*layout.groups, *rest):
        columns = [column for column in group.columns if column in present]
        if columns:
            title = ", ".join(filter(None, (layout.name, PUBLISHED, group.title)))
            tables.append(_marked(Table(title, PUBLISHED, _columns(columns), _published_rows(columns, rows))))
    return tuple(tables)


def result_tables(layout: Layout, results: Sequence[ResultFile]) -> tuple[Table, ...]:
    """A table per protocol, models by name."""
    protocols = dict.fromkeys(protocol for result in results for protocol in result.protocols)
    tables = (_result_table(layout, results, protocol) for protocol in protocols)
    return tuple(table for table in tables if table.columns)


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


def _result_table(layout: Layout, results: Sequence[ResultFile], protocol: str) -> Table:
    scored = sorted(
        (r for r in results if protocol in r.protocols), key=lambda r: (r.model.name.casefold(), r.model.revision)
    )
    columns = _result_columns(layout, scored, protocol)
    models: dict[tuple[str, str], list[ResultFile]] = {}
    for result in scored:
        models.setdefault((result.model.name, result.model.revision), []).append(result)
    rows = []
    for (name, revision), own in models.items():
        size = next((r.model.parameters for r in own if r.model.parameters), "")
        cells = {(_variant(r), metric): _cell(r, protocol, metric) for r in own for metric in r.protocols[protocol]}
        rows.append(Row(name, revision, size, MEASURED, tuple(cells.get(key) for key in columns)))
    title = f"{layout.name}, measured here, protocol {protocol}"
    if any(result.dataset.demo for result in scored):
        title = f"DEMO (synthetic scenes, not {layout.name}), protocol {protocol}"
    return _marked(Table(title, protocol, tuple(columns.values()), tuple(rows)))


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
