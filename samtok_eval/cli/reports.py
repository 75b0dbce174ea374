"""Commands about finished runs: compare, gate, watch, report, leaderboard, curves.

None imports torch or transformers, but for a gate or watch that asks a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samtok_eval.cli.options import STDOUT, Given, console, results, takes
from samtok_eval.errors import DataError, UsageError
from samtok_eval.run.settings import flags_of

if TYPE_CHECKING:
    from samtok_eval.reports.gate.early import EarlyRules

LOOKS = 15
"""As `samtok_eval.sequential.LOOKS`, which takes scipy to import."""

WATCHED = ("regression", "undecided")
"""Verdicts that a watch names at its end."""

RunsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Run folders: the baseline, then candidates. The beginning of a name will do, or RUNS/TASK/SPLIT/MODEL, "
        "which means the newest run in it.",
    ),
]
ProtocolOption = Annotated[str | None, typer.Option(help="Protocol to judge by; the task's first by default.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write everything as JSON; - is standard output.")]
SeedOption = Annotated[int, typer.Option(help="Seed of bootstrap draws and permutations.", min=0)]
TasksDirOption = Annotated[
    list[Path] | None, typer.Option("--tasks-dir", help="Further folder of task files; may be repeated.")
]


def compare_command(
    runs: RunsArgument,
    protocol: Annotated[
        str | None, typer.Option(help="Protocols, separated by commas; by default all that the baseline has.")
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
    if protocol is not None:
        protocols = [read[0].task.protocol(name.strip()).name for name in protocol.split(",")]
    comparison = compare(read, seed, protocols, published)
    results(json_file, comparison.to_json(), comparison_table(comparison))


@takes(
    "answers",
    "where",
    also=("seed", "tasks_dirs"),
    but=("task", "split", "model", "limit", "shard", "reuse_decoded", "prompt"),
    panel="With --model: options of its run, by default as the baseline was asked",
)
def gate_command(
    given: Given,
    baseline: Annotated[Path, typer.Option(help="Run folder, folder of runs, or stored result file to compare with.")],
    candidate: Annotated[Path | None, typer.Option(help="The same of the new checkpoint, which is judged.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of --candidate: the new checkpoint, which is asked until the verdict is known."),
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option(help="TOML file with the points that each metric may lose.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    on_undecided: Annotated[
        Literal["pass", "fail", "warn"] | None,
        typer.Option(help="What undecided metrics do: warn by default, fail with exit code 6, or pass."),
    ] = None,
    protocol: ProtocolOption = None,
    looks: Annotated[int, typer.Option(help="With --model: how often the two are compared.", min=1, max=100)] = LOOKS,
    budget: Annotated[
        str | None, typer.Option(help="With --model: most pictures (500) or minutes (30min) to ask.")
    ] = None,
    until: Annotated[
        Literal["verdict", "every-metric"],
        typer.Option(help="With --model: stop at a regression already, or only once every metric is decided."),
    ] = "verdict",
    repeat_baseline: Annotated[
        float | None,
        typer.Option(help="With --model: ask the baseline's model again on this share (0..1), and add that noise."),
    ] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    json_file: JsonOption = None,
    summary: Annotated[Path | None, typer.Option(help='Append Markdown, e.g. to "$GITHUB_STEP_SUMMARY".')] = None,
) -> None:
    """Pass or fail a checkpoint: exit code 4 when it is really worse, 5 when a run is incomplete.

    Each metric passes (a loss of the tolerance is ruled out), regressed (worse, by more than the tolerance) or is
    undecided. With --model the checkpoint is asked here, like the baseline was, until that is known.
    """
    from samtok_eval.files import write_text
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.gate import gate
    from samtok_eval.reports.gate.text import failure_line, gate_table, junit, step_summary, undecided_line
    from samtok_eval.reports.gate.tolerances import read_tolerances
    from samtok_eval.reports.gate.verdict import RegressionError, UndecidedError

    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha}: expected a number between 0 and 1")
    if (candidate is None) == (model is None):
        raise UsageError("give --candidate RUN, or --model CHECKPOINT to ask it here")
    dirs, seed = given.get("tasks_dirs") or (), given.get("seed", 0)
    allowed = read_tolerances(tolerances, alpha, load_tasks(dirs), on_undecided)
    if candidate is not None:
        _check_unused(given, {"looks": looks != LOOKS, "budget": budget, "repeat-baseline": repeat_baseline})
        judged = gate(baseline, candidate, allowed, protocol, seed, dirs)
    else:
        from samtok_eval.reports.gate.asked import ask_and_gate

        rules = _early_rules(looks, budget, until)
        asked = {**given, "model": model}
        judged = ask_and_gate(baseline, asked, allowed, protocol, rules, repeat_baseline, console())
    results(json_file, [result.to_json() for result in judged], gate_table(judged))
    if junit_file:
        write_text(junit_file, junit(judged))
    if summary:
        with summary.open("a", encoding="utf-8") as file:
            file.write(step_summary(judged))
    if any(result.regressed for result in judged):
        raise RegressionError(f"worse than the baseline: {failure_line(judged)}")
    undecided = undecided_line(judged)
    if undecided and allowed.on_undecided == "fail":
        raise UndecidedError(f"undecided: {undecided}; the table says how many pictures would decide")
    if undecided:
        typer.echo(
            f"WARNING: undecided: {undecided}; the table says how many pictures would decide", err=json_file == STDOUT
        )


def _check_unused(given: Given, options: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for two finished runs."""
    names = [flags_of(name)[0] for name in given if name not in ("seed", "tasks_dirs")]
    names += [f"--{name}" for name, value in options.items() if value]
    if names:
        raise UsageError(f"{', '.join(names)}: only with --model; a finished --candidate is not asked again")


def _early_rules(looks: int, budget: str | None, until: Literal["verdict", "every-metric"]) -> EarlyRules:
    from samtok_eval.reports.gate.early import EarlyRules

    if budget is None:
        return EarlyRules(looks, until=until)
    number, minutes = budget.removesuffix("min"), budget.endswith("min")
    try:
        amount = float(number) if minutes else int(number)
    except ValueError:
        amount = 0
    if not 0 < amount < math.inf:
        raise UsageError(f"--budget {budget}: expected a number of pictures, e.g. 500, or of minutes, e.g. 30min")
    if minutes:
        return EarlyRules(looks, minutes=float(amount), until=until)
    return EarlyRules(looks, pictures=int(amount), until=until)


@takes(
    "answers",
    "where",
    also=("seed", "tasks_dirs"),
    but=("task", "split", "model", "limit", "shard", "reuse_decoded", "prompt"),
    panel="Options of the checkpoints' runs, by default as the baseline was asked",
)
def watch_command(
    given: Given,
    folder: Annotated[Path, typer.Argument(help="Folder into which a trainer writes checkpoint-STEP.")],
    baseline: Annotated[Path, typer.Option(help="Run folder, or folder of runs, to compare with.")],
    task: Annotated[
        str | None, typer.Option(help="TASK[:SPLIT], separated by commas; all runs of the baseline by default.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of log, curve and page; FOLDER/watch by default.")] = None,
    tolerances: Annotated[
        Path | None, typer.Option(help="TOML file with the points that each metric may lose.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    on_undecided: Annotated[
        Literal["pass", "fail", "warn"] | None,
        typer.Option(help="With --once: what undecided metrics do: warn by default, fail with exit code 6, or pass."),
    ] = None,
    protocol: ProtocolOption = None,
    looks: Annotated[int, typer.Option(help="How often the two are compared.", min=1, max=100)] = LOOKS,
    budget: Annotated[str | None, typer.Option(help="Most pictures (500) or minutes (30min) to ask.")] = None,
    log_to: Annotated[
        Literal["tensorboard"] | None, typer.Option(help="Also write scalars over the steps, into --to/tensorboard.")
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the folder.", min=1)] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Gate what is there, and end with the worst verdict.")] = False,
) -> None:
    """Gate every checkpoint that a training run writes, and draw what they gain or lose over the steps.

    Checkpoints that are in the log are not gated again, so the same command goes on after a stop.
    """
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.text import gate_table
    from samtok_eval.reports.gate.tolerances import read_tolerances
    from samtok_eval.reports.gate.verdict import GateResult, RegressionError, UndecidedError
    from samtok_eval.reports.watch.checkpoints import Checkpoint
    from samtok_eval.reports.watch.scalars import TensorBoardScalars
    from samtok_eval.reports.watch.watch import Watch, gate_what_is_there, watch_forever

    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha}: expected a number between 0 and 1")
    _check_plots()
    watch = Watch(
        folder=folder,
        baseline=baseline,
        to=to or folder / "watch",
        given=given,
        tolerances=read_tolerances(tolerances, alpha, load_tasks(given.get("tasks_dirs") or ()), on_undecided),
        tasks=[name.strip() for name in task.split(",")] if task else (),
        protocol=protocol,
        rules=_early_rules(looks, budget, "verdict"),
        console=console(),
        scalars=TensorBoardScalars((to or folder / "watch") / "tensorboard") if log_to else None,
    )

    def shown(checkpoint: Checkpoint, result: GateResult) -> None:
        typer.echo(f"{checkpoint.path.name}\n{gate_table([result])}\n")

    if not once:
        watch_forever(watch, every, shown)
    lines = gate_what_is_there(watch, shown)
    if not lines:
        raise DataError(f"{folder} holds no whole checkpoint-STEP; give the folder that the trainer writes them into")
    typer.echo(f"page {watch.to / 'index.html'}")
    named = {word: [f"{x.checkpoint} {x.task}:{x.split}" for x in lines if x.verdict == word] for word in WATCHED}
    if named["regression"]:
        raise RegressionError(f"worse than the baseline: {', '.join(named['regression'])}")
    if named["undecided"] and watch.tolerances.on_undecided == "fail":
        raise UndecidedError(f"undecided: {', '.join(named['undecided'])}")
    if named["undecided"]:
        typer.echo(f"WARNING: undecided: {', '.join(named['undecided'])}")


def _check_plots() -> None:
    """Fail before a checkpoint is asked where the curve cannot be drawn."""
    import matplotlib  # noqa: F401


def plan_command(
    baseline: Annotated[Path, typer.Option(help="Finished run folder of the task and split to gate.")],
    tolerance: Annotated[
        list[str] | None, typer.Option(help="METRIC=POINTS that may be lost, e.g. giou=0.5; may be repeated.")
    ] = None,
    candidate: Annotated[
        Path | None, typer.Option(help="Run whose difference to the baseline is like that of candidates to come.")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability with which a verdict shall be reached.")] = 0.9,
    alpha: Annotated[float | None, typer.Option(help="Level of each one-sided test; 0.05 by default.")] = None,
    protocol: ProtocolOption = None,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Say how many pictures a gate needs for a verdict on each metric, before the candidate is run."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.gate.plan import plan, plan_table
    from samtok_eval.reports.gate.tolerances import parse_tolerances
    from samtok_eval.reports.runs import read_scored

    if not 0.5 < power < 1:
        raise UsageError(f"--power {power}: expected a number between 0.5 and 1, such as 0.9")
    dirs = tasks_dir or ()
    allowed = parse_tolerances(tolerance or (), alpha, load_tasks(dirs))
    other = None if candidate is None else read_scored(candidate, dirs)
    found = plan(read_scored(baseline, dirs), other, allowed, power, protocol, seed)
    results(json_file, found.to_json(), plan_table(found))


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


leaderboard_app = typer.Typer(no_args_is_help=True, help="Keep results of runs, and build tables of them.")
FolderOption = Annotated[Path, typer.Option("--folder", help="Leaderboard folder.")]
LEADERBOARDS = Path("leaderboards")


@leaderboard_app.command("build")
def build_command(folder: FolderOption = Path("leaderboards"), tasks_dir: TasksDirOption = None) -> None:
    """Rebuild the tables (Markdown, HTML, LaTeX, CSV, JSON) from published numbers and kept results."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.leaderboard.build import build

    written = build(folder, tasks=load_tasks(tasks_dir or ()))
    typer.echo(f"{len(written)} files in {folder}, {written[0].name} and {written[1].name} first")


@leaderboard_app.command("check")
def check_command(folder: FolderOption = LEADERBOARDS, tasks_dir: TasksDirOption = None) -> None:
    """Say what computes every published number, or why nothing does; exit code 2 when one has neither.

    Also checks that every source is a link, and that each number's trust follows from whose work its source is.
    """
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.leaderboard.authors import AUTHORS_FILE
    from samtok_eval.reports.leaderboard.build import bundled_leaderboards_dir, checked_published
    from samtok_eval.reports.leaderboard.computed import COMPUTED_BY_FILE, check_published, check_table
    from samtok_eval.reports.table import aligned_text

    if folder == LEADERBOARDS and not folder.is_dir():
        # Away from a checkout, the program's own.
        folder = bundled_leaderboards_dir()
    published, tasks = checked_published(folder), load_tasks(tasks_dir or ())
    typer.echo(aligned_text(check_table(check_published(published, folder / COMPUTED_BY_FILE, tasks))))
    if not (folder / AUTHORS_FILE).exists():
        typer.echo(f"WARNING: trust was not checked: {folder} has no {AUTHORS_FILE}, which says whose work a source is")


@leaderboard_app.command("submit")
def submit_command(
    run: Annotated[Path, typer.Argument(help="Finished run folder of a whole split.")],
    model: Annotated[str, typer.Option(help="Name under which readers find the model, ORG/NAME.")],
    revision: Annotated[str, typer.Option(help="Commit, tag, or the first digits of the weights' hash.")],
    parameters: Annotated[str | None, typer.Option(help="Size of the model, e.g. 3B.")] = None,
    folder: FolderOption = Path("leaderboards"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an earlier result of this model, revision and split.")
    ] = False,
    records: Annotated[
        str,
        typer.Option(help="Where its records are kept: beside the result (compressed), none, or an https address."),
    ] = "beside",
    tasks_dir: TasksDirOption = None,
) -> None:
    """Keep a run's numbers as a result file, and its records; `build` then shows them, `verify` checks them."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.leaderboard.build import submit
    from samtok_eval.reports.runs import read_scored

    scored, tasks = read_scored(run, tasks_dir or ()), load_tasks(tasks_dir or ())
    for note in scored.notes:
        typer.echo(f"WARNING: {note}")
    path = submit(scored.run, folder, model, revision, parameters, tasks=tasks, replace=replace, records=records)
    typer.echo(f"result {path}")


@leaderboard_app.command("verify")
def verify_command(
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="[RESULT...]", help="Result files; all of the folder by default.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Records of the one result given, where they do not lie beside it.")
    ] = None,
    folder: FolderOption = Path("leaderboards"),
    tasks_dir: TasksDirOption = None,
) -> None:
    """Score the kept records of results again: exit code 2 when a number differs, 5 when some could not be checked."""
    from samtok_eval.errors import DataError, IncompleteRunError
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.leaderboard.build import RESULTS
    from samtok_eval.reports.leaderboard.verify import NOT_CHECKED, UNEQUAL, verdict_table, verify
    from samtok_eval.reports.table import aligned_text

    paths = results or sorted((folder / RESULTS).rglob("*.json"))
    if not paths:
        raise UsageError(f"{folder / RESULTS} holds no result file; name one, or give --folder")
    if records and len(paths) != 1:
        raise UsageError(f"--records belongs to one result, got {len(paths)}; name it")
    tasks = load_tasks(tasks_dir or ())
    verdicts = [verify(path, tasks, records) for path in paths]
    typer.echo(aligned_text(verdict_table(verdicts)))
    for verdict, error in ((UNEQUAL, DataError), (NOT_CHECKED, IncompleteRunError)):
        count = sum(each.verdict == verdict for each in verdicts)
        if count:
            raise error(f"{count} of {len(verdicts)} results {verdict}; the table says why")


@leaderboard_app.command("publish")
def publish_command(
    model: Annotated[str, typer.Argument(help="ORG/NAME, as submitted.")],
    revision: Annotated[str, typer.Option(help="As submitted.")],
    out: Annotated[Path, typer.Option(help="Folder to write, as it will look in the model's repository.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="TASK[:SPLIT]=ORG/NAME: a benchmark's data set on the hub.")
    ] = None,
    folder: FolderOption = Path("leaderboards"),
    framework: Annotated[
        str, typer.Option(help="Evaluation framework in the benchmarks' eval.yaml, as the hub's list names it.")
    ] = "samtok-eval",
    upload_to: Annotated[str | None, typer.Option(help="Hub repository to upload it to, as a pull request.")] = None,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Write a model card's metadata and `.eval_results` into a folder; uploaded only with --upload-to.

    Beside them, in benchmarks/, the eval.yaml of each benchmark's data set, for its owner; it is not uploaded.
    """
    from samtok_eval.registry import load_tasks
    from samtok_eval.reports.leaderboard.build import RESULTS
    from samtok_eval.reports.leaderboard.publish import upload, write_publication
    from samtok_eval.reports.result_file import read_results

    pairs = [pair.partition("=") for pair in dataset or ()]
    for name, sign, target in pairs:
        if not (name and sign and target):
            raise UsageError(f"--dataset {name}{sign}{target}: expected TASK=ORG/NAME")
    tasks = load_tasks(tasks_dir or ())
    known = read_results(folder / RESULTS, tasks)
    chosen = [result for result in known if (result.model.name, result.model.revision) == (model, revision)]
    if not chosen:
        names = ", ".join(sorted({f"{result.model.name} {result.model.revision}" for result in known})) or "none"
        raise UsageError(f"no result of {model} {revision} in {folder}; there are: {names}")
    named = {name: target for name, _, target in pairs}
    for path in write_publication(chosen, out, named, tasks=tasks, framework=framework):
        typer.echo(f"wrote {path}")
    if upload_to:
        typer.echo(f"sent to {upload(out, upload_to)}")


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


COMMANDS: Mapping[str, Callable[..., None]] = {
    "runs": runs_command,
    "report": report_command,
    "compare": compare_command,
    "gate": gate_command,
    "watch": watch_command,
    "plan": plan_command,
    "curves": curves_command,
}


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for name, command in COMMANDS.items():
        app.command(name)(command)
    app.add_typer(leaderboard_app, name="leaderboard")
