"""Commands about leaderboards: build, check, submit, verify, publish. None imports torch or transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samtok_eval.cli.options import TasksDirOption
from samtok_eval.errors import DataError, UsageError

leaderboard_app = typer.Typer(no_args_is_help=True, help="Keep results of runs, and build tables of them.")
FolderOption = Annotated[Path, typer.Option("--folder", help="Leaderboard folder.")]
LEADERBOARDS = Path("leaderboards")


@leaderboard_app.command("build")
def build_command(folder: FolderOption = LEADERBOARDS, tasks_dir: TasksDirOption = None) -> None:
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
    folder: FolderOption = LEADERBOARDS,
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
    folder: FolderOption = LEADERBOARDS,
    tasks_dir: TasksDirOption = None,
) -> None:
    """Score the kept records of results again: exit code 2 when a number differs, 5 when some could not be checked."""
    from samtok_eval.errors import IncompleteRunError
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
    folder: FolderOption = LEADERBOARDS,
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


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(leaderboard_app, name="leaderboard")
