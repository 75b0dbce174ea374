"""Commands about finished runs: compare, gate. They import neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samtok_eval.errors import UsageError

RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the first is the baseline.")]
ProtocolOption = Annotated[str | None, typer.Option(help="The rules to judge by; the task's first by default.")]
SeedOption = Annotated[int, typer.Option(help="Of draws and permutations.", min=0)]
TasksDirOption = Annotated[list[Path] | None, typer.Option("--tasks-dir", help="Further folder of task files.")]


def compare_command(
    runs: RunsArgument,
    protocol: Annotated[
        str | None, typer.Option(help="Comma-separated; all that the first run has by default.")
    ] = None,
    seed: SeedOption = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything as JSON.")] = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Compare runs of one task: differences, intervals, p values, slices, and the samples that changed most."""
    from samtok_eval.reports.compare import compare, comparison_table
    from samtok_eval.reports.runs import read_scored
    from samtok_eval.run_store import write_json

    read = [read_scored(path, tasks_dir or ()) for path in runs]
    protocols = None
    if protocol is not None:
        protocols = [read[0].task.protocol(name.strip()).name for name in protocol.split(",")]
    found = compare(read, seed, protocols)
    typer.echo(comparison_table(found))
    if json_file:
        write_json(json_file, found.to_json())


def gate_command(
    baseline: Annotated[Path, typer.Option(help="Run folder, folder of runs, or stored result file.")],
    candidate: Annotated[Path, typer.Option(help="The same of the new checkpoint.")],
    tolerances: Annotated[Path | None, typer.Option(help="TOML file: points that each metric may lose.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Level of the test, 0.05 by default.")] = None,
    protocol: ProtocolOption = None,
    seed: SeedOption = 0,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything as JSON.")] = None,
    summary: Annotated[Path | None, typer.Option(help='Append Markdown, e.g. to "$GITHUB_STEP_SUMMARY".')] = None,
) -> None:
    """Pass or fail a checkpoint: exit code 4 when it is really worse, 5 when a run is incomplete."""
    from samtok_eval.reports.gate import RegressionError, gate, read_tolerances
    from samtok_eval.reports.gate_text import failure_line, gate_table, junit, step_summary
    from samtok_eval.run_store import write_json, write_text

    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha}: expected a number between 0 and 1")
    results = gate(baseline, candidate, read_tolerances(tolerances, alpha), protocol, seed)
    typer.echo(gate_table(results))
    if junit_file:
        write_text(junit_file, junit(results))
    if json_file:
        write_json(json_file, [result.to_json() for result in results])
    if summary:
        with summary.open("a", encoding="utf-8") as file:
            file.write(step_summary(results))
    if any(result.regressed for result in results):
        raise RegressionError(f"worse than the baseline: {failure_line(results)}")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("compare")(compare_command)
    app.command("gate")(gate_command)
