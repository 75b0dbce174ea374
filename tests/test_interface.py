"""What others rely on stays: options, the files of a run folder, run keys and signatures. Additions are free.

`python -m tests.test_interface FOLDER` writes what this version has; a change of `tests/golden/interface` that takes
something away breaks scripts or old run folders, so it is made by hand and named in the changelog.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import typer

from samtok_eval import evaluate
from samtok_eval.cli.main import app
from samtok_eval.reports.result_file import result_of
from samtok_eval.run.manifest import manifest_of
from samtok_eval.run.settings import RunOptions
from samtok_eval.run.signature import run_key, scoring_key, signature, signature_dict

GOLDEN = Path(__file__).parent / "golden" / "interface"
MODELS = ("oracle", "random")
MASKED = ("version", "images", "torch", "transformers", "samtok-eval", "scorer", "run")
"""Parts of a signature that change with the task, the machine (bytes of drawn pictures) and the packages."""
MOVING = ("task_version", "dataset", "samtok_eval")
"""The same parts of a run key."""
DATA = ("decoded", "slices")
"""Whose keys are data."""


def frozen(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def removed(old: Any, new: Any, where: str = "") -> list[str]:
    """Places at which something of `old` is gone or another in `new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}/{key}" for key in old if key not in new]
        return gone + [line for key in old if key in new for line in removed(old[key], new[key], f"{where}/{key}")]
    return [] if old == new else [f"{where}: {old!r} is {new!r}"]


def keys(value: Any) -> Any:
    """The keys of JSON as nested objects; of a list those of its entries together, of other values none."""
    if isinstance(value, dict):
        return {key: {} if key in DATA else keys(entry) for key, entry in value.items()}
    if isinstance(value, list):
        merged: dict[str, Any] = {}
        for entry in value:
            merged |= keys(entry)
        return merged
    return {}


def options() -> dict[str, Any]:
    """Every option of every command: all its spellings, kind, default."""

    def plain(value: Any) -> Any:
        return value if value is None or isinstance(value, bool | int | float) else str(value)

    def kind(annotation: Any) -> str:
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if get_origin(annotation) in (Union, UnionType):
            return " | ".join(map(kind, parts))
        return str(annotation) if parts else annotation.__name__

    def walk(command: Any, path: str) -> dict[str, Any]:
        if hasattr(command, "commands"):
            found = [walk(inner, f"{path} {name}".strip()) for name, inner in command.commands.items()]
            inside = {name: entry for part in found for name, entry in part.items()}
            # Without a further word some groups are commands themselves.
            return inside | (own(command, path) if command.invoke_without_command else {})
        return own(command, path)

    def own(command: Any, path: str) -> dict[str, Any]:
        told = {}
        for parameter in command.params:
            entry = {"kind": kind(parameter.type_descriptor.annotation)}
            entry |= {} if parameter.required else {"default": plain(parameter.default)}
            for spelling in [*parameter.opts, *(f"off {name}" for name in parameter.secondary_opts)]:
                told[spelling] = entry
        return {path: told}

    return walk(typer.main.get_command(app), "")


def demo_run(model: str, **where: Any) -> Any:
    return evaluate("gres", model=model, limit=8, device="cpu", dtype="fp32", **where)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def shapes(run: Any) -> dict[str, Any]:
    """Keys of every file of a run folder, and of the run's result file."""
    found = {name: keys(json.loads((run.path / f"{name}.json").read_text())) for name in ("manifest", "metrics")}
    found |= {"predictions": keys(lines(run.path / "predictions" / "part-0.jsonl"))}
    found |= {"records": keys(lines(run.path / "records.jsonl"))}
    return found | {"result": keys(result_of(run, "org/model", "r1", None).model_dump(mode="json"))}


def masked(text: str) -> dict[str, str]:
    return {name: "*" if name in MASKED else value for name, value in signature_dict(text).items()}


@pytest.fixture(scope="module", params=MODELS)
def run(request, demo_root, tmp_path_factory):
    return demo_run(request.param, data_root=str(demo_root), out=tmp_path_factory.mktemp("runs"))


def test_no_option_is_gone_and_none_has_another_kind_or_default():
    assert removed(frozen("options"), options()) == []


def test_the_test_sees_what_is_gone_and_what_is_another():
    assert removed({"a": {"b": 1}, "c": {}}, {"a": {"b": 1, "new": 2}, "c": {}}) == []
    assert removed({"a": {"b": {}}, "c": 3}, {"a": {}}) == ["/c", "/a/b"]
    assert removed({"a": {"default": 4}}, {"a": {"default": 5}}) == ["/a/default: 4 is 5"]


def test_files_of_a_run_keep_their_keys(run):
    assert removed(frozen(f"shapes_{run.path.parent.name}"), shapes(run)) == []


def test_a_demo_run_keeps_its_run_key_and_signatures(run):
    before, now = frozen(f"manifest_{run.path.parent.name}"), json.loads((run.path / "manifest.json").read_text())
    assert run_key(manifest_of(now | {name: before[name] for name in MOVING})) == before["run_key"]
    assert {name: masked(text) for name, text in now["signature"].items()} == {
        name: masked(text) for name, text in before["signature"].items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_keys_and_signatures_of_a_kept_manifest_still_follow_from_it(model):
    content = frozen(f"manifest_{model}")
    manifest = manifest_of(content)
    assert run_key(manifest) == content["run_key"]
    assert scoring_key(manifest) == content["scoring"]["key"]
    for protocol, told in content["signature"].items():
        assert signature(manifest, protocol) == told


def test_fields_of_the_options_keep_their_names_and_defaults():
    assert removed(frozen("run_options"), run_options()) == []


def run_options() -> dict[str, Any]:
    fields = RunOptions.model_fields
    return {name: json.loads(json.dumps(field.get_default(), default=str)) for name, field in fields.items()
            if not field.is_required()}  # fmt: skip


def write(folder: Path) -> None:
    """Write the goldens of this version; run folders go to `runs` of the working directory."""
    content = {"options": options(), "run_options": run_options()}
    for model in MODELS:
        run = demo_run(model)
        content[f"shapes_{model}"] = shapes(run)
        content[f"manifest_{model}"] = json.loads((run.path / "manifest.json").read_text())
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
