"""Options of commands, made from the fields of the classes that hold their values.

`takes` serves `run`, `predict` and `score` from the fields of `RunOptions`, and reads the file that may hold them;
`takes_settings` serves the other commands from dataclasses whose fields carry a `Setting`.
"""

from __future__ import annotations

import difflib
import inspect
import json
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from rich.console import Console

from samtok_eval.cli import log
from samtok_eval.errors import DataError, UsageError
from samtok_eval.files import read_toml, read_yaml, write_json
from samtok_eval.offline import go_offline
from samtok_eval.run.settings import Role, RunOptions, RunSettings, flags_of, option_of
from samtok_eval.setting import Described, settings_of

CONFIG_HELP = "TOML or YAML file of settings, named as in docs/run_folder.md; options of the command line win over it."
RECIPE_PANEL = "Recipe: what changes numbers"
CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[Path | None, typer.Option("--config", help=CONFIG_HELP)],
    default=None,
)
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Refuse every connection to another machine; whatever would have to be downloaded is an error.",
    ),
]
OFFLINE = inspect.Parameter("offline", inspect.Parameter.KEYWORD_ONLY, annotation=OfflineOption, default=False)
READERS: Mapping[str, Callable[[Path], Any]] = {".toml": read_toml, ".yaml": read_yaml, ".yml": read_yaml}
"""Of a file of settings, by its ending."""
ProtocolOption = Annotated[str | None, typer.Option(help="Protocol to judge by; the task's first by default.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write everything as JSON; - is standard output.")]
SeedOption = Annotated[int, typer.Option(help="Seed of bootstrap draws and permutations.", min=0)]
TasksDirOption = Annotated[
    list[Path] | None, typer.Option("--tasks-dir", help="Folder with task files of your own; may be repeated.")
]
Given = Mapping[str, Any]
"""What the user gave: fields of `RunOptions` or of a recipe, without defaults."""
Command = Callable[..., None]


def takes(
    *roles: Role,
    also: Collection[str] = (),
    but: Collection[str] = (),
    settings: type[RunOptions] = RunOptions,
    panel: str | None = None,
) -> Callable[[Command], Command]:
    """Give a command the options of a run, `--config`, and those of the log.

    Args:
        *roles: of the fields that become options.
        also: further fields.
        but: fields that the command asks for in another way; from `--config` it gets them all the same.
        settings: whose defaults the options show.
        panel: of the help, under which the fields stand apart from the command's own options, but for those of `also`.

    Returns:
        A decorator. The command's first parameter receives what was `Given`; its others stay options of its own.
    """
    fields = {name: field for name, field in settings.model_fields.items() if option_of(field).role in roles}
    fields |= {name: settings.model_fields[name] for name in also}
    # What is asked stands before how.
    names = sorted((name for name in fields if name not in but), key=lambda name: name in RunSettings.model_fields)

    def decorate(command: Command) -> Command:
        def call(context: typer.Context, config: Path | None, **values: Any) -> None:
            log.choose(values)
            if values.pop(OFFLINE.name):
                go_offline()
            typed = [name for name in names if _was_typed(context, name)]
            given = {name: values.pop(name) for name in names}
            read = {name: value for name, value in (read_config(config) if config else {}).items() if name in fields}
            command(read | {name: given[name] for name in typed}, **values)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        described = (_parameter(name, settings, None if name in also else panel) for name in names)
        return _presented(call, command, [CONTEXT, *described, CONFIG, *own, OFFLINE, *log.PARAMETERS])

    return decorate


def takes_settings(*, changes: type | None = None, **whole: type) -> Callable[[Command], Command]:
    """Give a command the options that the fields of dataclasses describe.

    Args:
        changes: a recipe; the command's parameter `changes` receives what was `Given` of it, to be laid over a preset.
        **whole: by name of the command's parameter, the class of the object that it receives.

    Returns:
        A decorator. Further parameters of the command stay options of its own and stand first.
    """
    parts = {**whole, "changes": changes} if changes else whole

    def decorate(command: Command) -> Command:
        def call(**values: Any) -> None:
            built: dict[str, Any] = {name: kind(**_values(kind, values)) for name, kind in whole.items()}
            if changes:
                built["changes"] = _given(changes, values)
            command(**built, **values)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name not in parts]
        described = [_option(part, name, entry, part_name)
                     for part_name, part in parts.items() for name, entry in settings_of(part).items()]  # fmt: skip
        return _presented(call, command, [*own, *described])

    return decorate


def _presented(call: Command, command: Command, parameters: Iterable[inspect.Parameter]) -> Command:
    """A function that shows typer these parameters, and the name and text of another."""
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    call.__annotations__, call.__doc__, call.__name__ = {}, command.__doc__, command.__name__
    return call


def _option(part: type, name: str, entry: Described, receiver: str) -> inspect.Parameter:
    """A described field as a parameter of a typer command.

    Args:
        part: the dataclass.
        name: of the field.
        entry: its type and description.
        receiver: parameter of the command that gets it; `changes` has no defaults, so that a preset's stay.
    """
    kind = str if entry.setting.reads else entry.type
    default = next(field.default for field in fields(part) if field.name == name)
    if get_origin(kind) is tuple:
        kind, default = list[get_args(kind)[0]], None  # type: ignore[misc]
    if receiver == "changes" or default is None:
        kind, default = kind | None, None
    panel = RECIPE_PANEL if receiver in ("changes", "recipe") else None
    option = typer.Option(entry.spelling(name), help=entry.setting.help, rich_help_panel=panel)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind, option],
        default=inspect.Parameter.empty if default is MISSING else default,
    )


def _values(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Take a class's fields out of typed values; a list that was not typed is an empty one."""
    found = {}
    for name, (of, setting) in settings_of(kind).items():
        value = values.pop(name)
        if get_origin(of) is tuple:
            value = tuple(value or ())
        found[name] = setting.reads(value) if setting.reads and value is not None else value
    return found


def _given(recipe: type, values: dict[str, Any]) -> Given:
    """The same of the fields that were typed."""
    typed = {name for name in settings_of(recipe) if values[name] is not None}
    return {name: value for name, value in _values(recipe, values).items() if name in typed}


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a file.

    Args:
        path: `.toml`, `.yaml` or `.yml`.

    Raises:
        UsageError: it cannot be read, or holds something else than fields of `RunOptions`; near names are offered.
    """
    if path.suffix not in READERS:
        raise UsageError(f"--config {path}: expected a .toml, .yaml or .yml file")
    try:
        content = READERS[path.suffix](path)
    except DataError as error:
        raise UsageError(f"--config {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected settings by name, got {reprlib.repr(content)}")
    for name in map(str, content):
        if name not in RunOptions.model_fields:
            near = difflib.get_close_matches(name, RunOptions.model_fields, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(RunOptions.model_fields)}"
            raise UsageError(f"--config {path}: unknown setting {name!r}; {hint}")
    return content


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameter(name: str, settings: type[RunOptions], panel: str | None) -> inspect.Parameter:
    """A field as a parameter of a typer command; several names are one text with commas, several folders a list."""
    field = settings.model_fields[name]
    kind, default = field.annotation, "" if field.is_required() else field.default
    if kind == tuple[Path, ...]:
        kind, default = list[Path] | None, None
    elif tuple[str, ...] in get_args(kind):
        kind = str | None
    on, off = flags_of(name, settings)
    option = typer.Option(f"{on}/{off}" if off else on, help=field.description, rich_help_panel=panel)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=default)


def console() -> Console:
    """Where progress is shown: beside the output, which stays clean."""
    return Console(stderr=True)


STDOUT = Path("-")
"""As the file of a command's results: standard output, from which words then stay away."""


def results(json_file: Path | None, value: Any, words: str) -> None:
    """Print words, and write the same as JSON where it was asked for.

    Args:
        json_file: `-` is standard output; the words then go to standard error.
        value: JSON.
        words: a table.
    """
    typer.echo(words, err=json_file == STDOUT)
    if json_file == STDOUT:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif json_file:
        write_json(json_file, value)
