"""Commands about finished runs: runs, view, report, compare, export, curves.

None imports torch or transformers, but for TensorBoard's writer, which is a part of torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from samtok_eval.cli.options import JsonOption, SeedOption, TasksDirOption, results
from samtok_eval.errors import UsageError

Format = Literal["parquet", "csv", "coco"]
RunsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Run folders: the baseline, then candidates. The beginning of a name will do, or RUNS/TASK/SPLIT/MODEL, "
        "which means the newest run in it.",
    ),
]


def compare_command(
    runs: RunsArgument,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Protocols, separated by commas, or all. The table shows the main one by default, --json all."
        ),
    ] = None,
    published: Annotated[
        str | None, typer.Option(help='Also show published numbers of methods with this in their names; "" for all.')
    ] = None,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Compare candidates with a baseline: differences, intervals, p values, slices, and what changed most."""
    from samtok_eval.reports.compare.comparison import compare
    from samtok_eval.reports.compare.text import comparison_table
    from samtok_eval.reports.runs import read_scored

    read = [read_scored(path, tasks_dir or ()) for path in runs]
    protocols = None
    if protocol not in (None, "all"):
        protocols = [read[0].task.protocol(name.strip()).name for name in protocol.split(",")]
    comparison = compare(read, seed, protocols, published)
    results(json_file, comparison.to_json(), comparison_table(comparison, only_main=protocol is None))


def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="[BASELINE...] RUN",
            help="The run to report on, last; of runs before it, the first is the baseline.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the page; RUN/report by default.")] = None,
    ceiling: Annotated[Path | None, typer.Option(help="Run of the oracle; looked for beside RUN by default.")] = None,
    floor: Annotated[
        Path | None, typer.Option(help="Run of the random model; looked for beside RUN by default.")
    ] = None,
    data_root: Annotated[
        str | None, typer.Option(help="Data root, if the benchmark is no longer where the run read it.")
    ] = None,
    seed: SeedOption = 0,
    overlap: Annotated[
        Path | None, typer.Option(help="File of `data overlap --json`: also show scores without these pictures.")
    ] = None,
    samples: Annotated[
        bool, typer.Option(help="Also write a page of all samples beside it, with their pictures.")
    ] = True,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Write an HTML report of a run, or of a run against earlier ones, and a page of all its samples."""
    from samtok_eval.datasets.overlap import read_overlap
    from samtok_eval.reports.page.bounds import bounds_of
    from samtok_eval.reports.page.content import gather
    from samtok_eval.reports.page.page import write_report
    from samtok_eval.reports.runs import read_scored
    from samtok_eval.reports.samples.write import write_samples

    dirs = tasks_dir or ()
    read = [read_scored(path, dirs) for path in runs]
    highest, lowest = bounds_of(read[-1], ceiling, floor, dirs)
    ledger = read_overlap(overlap) if overlap else None
    report = gather(read, highest, lowest, data_root, seed, ledger)
    folder = out or read[-1].run.path / "report"
    every = write_samples(report, folder) if samples else None
    page = write_report(report, folder, every)
    if report.leaks:
        typer.echo(report.leaks.sentence)
    typer.echo(f"report {page}")
    if every:
        typer.echo(f"samples {every}")


def runs_command(
    folder: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("runs"),
    task: Annotated[str | None, typer.Option(help="Only runs of NAME or NAME:SPLIT.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs of models with this in their names.")] = None,
    json_file: JsonOption = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """List runs: task, model, main metric, when and where."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.run_list import list_runs, runs_listed
    from samtok_eval.reports.table import aligned_text

    listed = list_runs(folder, load_tasks(tasks_dir or ()), task, model)
    results(json_file, [run.to_json() for run in listed], aligned_text(runs_listed(listed)))


def view_command(
    folder: Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes any free one.")] = 8421,
    export: Annotated[
        Path | None, typer.Option(help="Write the same pages into this folder, for any web server, instead of serving.")
    ] = None,
    data_root: Annotated[
        str | None, typer.Option(help="Data root, if the benchmarks are no longer where the runs read them.")
    ] = None,
    samples: Annotated[bool, typer.Option(help="Also make a page of all samples for every report.")] = True,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Look at runs in a browser: list and filter them, open any, compare any two."""
    from samtok_eval.reports.site import Site

    site = Site(folder, tasks_dir or (), data_root, samples)
    if export is not None:
        from samtok_eval.reports.static_site import export_site

        typer.echo(f"site {export_site(site, export)}")
        return
    from samtok_eval.reports.server import Server

    with Server(site, port) as server:
        typer.echo(f"{folder} is shown at {server.address} until Ctrl-C")
        server.serve_forever()


def export_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or the beginnings of their names.")
    ],
    kind: Annotated[
        Format | None,
        typer.Option("--format", help="Table of all samples, or masks as COCO's results and annotations"),
    ] = None,
    log_to: Annotated[
        str | None,
        typer.Option(help="Write the metrics as scalars: tensorboard, wandb, mlflow, or several with commas."),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=0, help="With --log-to: step of the model; that of a model checkpoint-STEP by default, else 0."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File, by default RUN/export/samples.FORMAT or RUN/export/coco.json; with --log-to a folder, by "
            "default RUN/export."
        ),
    ] = None,
    data_root: Annotated[
        str | None, typer.Option(help="Data root, if the benchmark is no longer where the run read it; for coco.")
    ] = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Write runs for other programs: samples as CSV or parquet, masks as COCO results, metrics as scalars."""
    if log_to is not None and kind is None:
        from samtok_eval.reports.export_scalars import export_scalars

        if data_root is not None:
            raise UsageError("--data-root: only with --format coco; metrics are written without the data")
        for logged in export_scalars(runs, log_to, out, step, tasks_dir or ()):
            about = logged.run.manifest
            place = f"{about.task}:{about.split}, {logged.model}, step {logged.step}"
            typer.echo(f"logged {logged.numbers} numbers of {place}")
        return
    from samtok_eval.reports.export import export_coco, export_samples

    if kind is None or log_to is not None:
        raise UsageError("give either --format csv|parquet|coco, or --log-to tensorboard|wandb|mlflow")
    if step is not None:
        raise UsageError("--step: only with --log-to; a table of samples has no steps")
    if out is not None and len(runs) > 1:
        raise UsageError(f"--out {out}: one file, and {len(runs)} runs; leave it out, or export them one by one")
    for run in runs:
        tables = () if kind == "coco" else (export_samples(run, kind, out),)
        for path in tables or export_coco(run, out, data_root, tasks_dir or ()):
            typer.echo(f"wrote {path}")


def curves_command(
    log: Annotated[Path, typer.Argument(help="training_log.jsonl of any training command.")],
    field: Annotated[list[str], typer.Option(help="Name of a number in the log; repeat it for several curves.")],
    out: Annotated[Path, typer.Option(help="SVG file.")],
    title: Annotated[str | None, typer.Option(help="Title of the picture; the log's path by default.")] = None,
) -> None:
    """Draw numbers of a training log over its steps."""
    from samtok_eval.files import write_text
    from samtok_eval.training.curves import curves_svg, read_curves

    write_text(out, curves_svg(read_curves(log, field), title or str(log)))
    typer.echo(f"curves {out}")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("runs")(runs_command)
    app.command("view")(view_command)
    app.command("report")(report_command)
    app.command("compare")(compare_command)
    app.command("export")(export_command)
    app.command("curves")(curves_command)
