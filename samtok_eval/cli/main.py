"""The command line. Every command catches `SamtokError`, prints its one line and leaves with its exit code.

Nothing here imports torch; commands that need it import it when they run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import ValidationError

import samtok_eval
from samtok_eval.cli import data, gate, leaderboard, log, reports, run, tokenize, train_grpo, train_sft, train_tokenizer
from samtok_eval.cli.options import OfflineOption
from samtok_eval.errors import INTERRUPTED, DataError, SamtokError, TaskFileError, UsageError
from samtok_eval.files import WHERE_TO_WRITE, first_problem, reason
from samtok_eval.offline import go_offline
from samtok_eval.run.settings import RunOptions, flags_of
from samtok_eval.text import fitted, visible, without_middle
from samtok_eval.user_code import blamed, correct

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
PANELS = {
    "Evaluate": ("demo", "run", "predict", "score", "tasks"),
    "See and judge": ("runs", "view", "report", "compare", "gate", "watch", "plan", "export", "leaderboard"),
    "Data and machine": ("data", "doctor"),
    "Train": ("tokenize", "train", "curves"),
}
"""Commands in the order in which people need them."""
app = typer.Typer(no_args_is_help=True, context_settings=HELP)
train_app = typer.Typer(no_args_is_help=True, help="Train a mask tokenizer, fine-tune a model, or reinforce it.")
for family in (run, data, reports, gate, leaderboard, tokenize):
    family.register(app)
for family in (train_tokenizer, train_sft, train_grpo):
    family.register(train_app)
app.add_typer(train_app, name="train")
PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
for command in app.registered_commands:
    command.rich_help_panel = PANEL_OF[str(command.name)]
for group in app.registered_groups:
    group.rich_help_panel = PANEL_OF[str(group.name)]
app.registered_commands.sort(key=lambda entry: list(PANEL_OF).index(str(entry.name)))

GO_ON_WITH_RESUME = (["train", "tokenizer"], ["train", "grpo"])
"""Commands that begin anew unless they are told to go on."""
VIEW = ["view"]
"""Leaves nothing to go on with."""
MOST_TOLD = 300
"""Characters of an error that are shown; the places of two files and what to do fit in."""
EXTRAS = {
    "model": ("torch", "torchvision", "transformers", "tokenizers", "sam2", "safetensors", "accelerate"),
    "train": ("trl", "peft", "datasets", "tensorboard"),
    "publish": ("huggingface_hub",),
    "plot": ("matplotlib",),
}
"""Which extra brings a package in."""
WRONG_USAGE: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""Base of typer's own errors; typer may carry its own copy of click, so click cannot be asked for it."""


def _told(asked: bool) -> None:
    if asked:
        typer.echo(f"samtok-eval {samtok_eval.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_told, is_eager=True)
    ] = False,
    offline: OfflineOption = False,
) -> None:
    """Evaluate models that read and write masks as words."""
    if offline:
        go_offline()


def main() -> None:
    """Entry point of `samtok-eval`."""
    _run(app)


def main_run() -> None:
    """Entry point of `run_eval.py`: the `run` command alone."""
    single = typer.Typer(add_completion=False, context_settings=HELP)
    single.command()(run.run_command)
    _run(single)


def _run(program: typer.Typer) -> None:
    log.set_up()
    try:
        with _blaming_task_files():
            code = program(standalone_mode=False)
    except SamtokError as error:
        _fail(str(error))
        sys.exit(error.exit_code)
    except ValidationError as error:
        _fail(first_problem(error, _option))
        sys.exit(UsageError.exit_code)
    except WRONG_USAGE as error:
        # Without arguments a command shows its help and has nothing to add.
        if error.format_message():
            _fail(error.format_message())
        sys.exit(UsageError.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        _fail(f"{error.name} is not installed, this command needs it; install samtok-eval[{extra}], see the README")
        sys.exit(UsageError.exit_code)
    except (OSError, MemoryError) as error:
        refusal = _refusal(error)
        _fail(str(refusal))
        sys.exit(refusal.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    # Typer itself turns Ctrl-C into this code.
    if code == INTERRUPTED:
        # Typer has left the command by now, so its words alone tell which it was.
        how = " with --resume" if sys.argv[1:3] in GO_ON_WITH_RESUME else ""
        goes_on = "" if sys.argv[1:2] == VIEW else f"; the same command{how} goes on where this one stopped"
        _fail(f"interrupted{goes_on}")
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _blaming_task_files() -> Iterator[None]:
    """Name the line of a user's task file that raises; what the system refuses has messages of its own."""
    try:
        yield
    except (SamtokError, OSError, MemoryError):
        raise
    # A user's code may raise anything; what is not its doing goes on as it is.
    except Exception as error:
        told = blamed(error)
        if told is None:
            raise
        log.PROGRAM.debug("a task file raised", exc_info=error)
        raise TaskFileError(f"{told}; {correct(error)} (-v shows all of it)") from error


def _refusal(error: OSError | MemoryError) -> SamtokError:
    """What the system's refusal means to the user; what was finished is kept by those who write it."""
    if isinstance(error, MemoryError):
        return UsageError("out of memory; use a smaller --batch-size or --limit, or a machine with more memory")
    # Writers make the folders that they write to, so only a reader misses a file.
    if isinstance(error, FileNotFoundError):
        return DataError(f"{error.filename} is missing; put it there, or name another")
    place = f"{error.filename}: " if error.filename is not None else ""
    return UsageError(f"{place}{reason(error)}; {WHERE_TO_WRITE}")


def _fail(message: str) -> None:
    # A message may repeat a value of a file: of any length, and with characters that a terminal obeys.
    line = fitted(visible(" ".join(without_middle(message, 20 * MOST_TOLD).split())), MOST_TOLD)
    sys.stderr.write(f"error: {line}\n")


def _option(field: str) -> str:
    return flags_of(field)[0] if field in RunOptions.model_fields else f"--{field.replace('_', '-')}"
