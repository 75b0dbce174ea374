"""Settings stand once: commands, configuration files, Python, run key and the repeat command follow from the fields."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import Field
from typer.testing import CliRunner

from samtok_eval import evaluate
from samtok_eval.cli.main import app
from samtok_eval.cli.options import read_config, takes
from samtok_eval.errors import UsageError
from samtok_eval.models.backend import Backend
from samtok_eval.reports.runs import read_scored, reproduce
from samtok_eval.run import settings as settings_module
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.folder import load_run
from samtok_eval.run.manifest import manifest_of
from samtok_eval.run.settings import (
    ALWAYS_KEYED,
    Option,
    RunKeywords,
    RunOptions,
    RunSettings,
    further_keyed,
    option_of,
)
from samtok_eval.run.signature import run_key, signature_dict
from tests.cli.test_main import ROOT
from tests.test_interface import frozen, options

SCORING = {"--protocol", "--statistics-seed", "--judge", "--reference-codes"}
OF_RUN_ALONE = {"--report", "off --no-report", "--strict-metrics", "--list-tasks", "--json"}


def invoke(*words):
    """Run a command in this process; errors are raised."""
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False, standalone_mode=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def manifests(out):
    return [json.loads(path.read_text()) for path in sorted(out.rglob("manifest.json"))]


# Fields and commands


def test_every_field_says_what_it_is_and_what_it_is_a_setting_of():
    for name, field in RunOptions.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert option_of(field).role in ("answers", "scoring", "where")


def test_predict_and_run_differ_by_scoring_and_by_what_belongs_to_the_command():
    run, predict = set(options()["run"]), set(options()["predict"])
    assert run - predict == SCORING | OF_RUN_ALONE
    assert predict <= run


def test_score_has_the_options_of_scoring_and_of_where():
    score, predict = set(options()["score"]), set(options()["predict"])
    assert score > SCORING
    assert score - predict == SCORING | {"--split", "--predictions", "--strict-metrics", "--json"}


def test_python_sees_the_fields_as_keywords():
    parameters = inspect.signature(evaluate).parameters
    assert next(iter(parameters)) == "task" and set(parameters) == set(RunOptions.model_fields)
    assert parameters["batch_size"].default == 32


WIDER = {Path: {str, Path}, tuple[str, ...]: {str, Sequence[str]}, tuple[Path, ...]: {Sequence[str | Path]}}
"""What a keyword may be where a field is of this type."""


def parts(annotation):
    return set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}


def test_keywords_have_the_types_of_the_fields():
    typed = get_type_hints(RunKeywords, localns={"Backend": Backend})
    fields = {name: parts(field.annotation) for name, field in RunOptions.model_fields.items() if name != "task"}
    fields["model"] = {str, Backend}
    assert {name: parts(annotation) for name, annotation in typed.items()} == {
        name: set().union(*(WIDER.get(part, {part}) for part in kinds)) for name, kinds in fields.items()
    }


def test_a_type_checker_knows_the_keywords_of_evaluate(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "use.py").write_text(
        "from samtok_eval.run.evaluate import evaluate\n"
        "evaluate('gres', model='demo', limit=10, protocols=['strict'], out='runs')\n"
        "evaluate('gres', limit='ten')\nevaluate('gres', limitt=10)\nevaluate('gres', history='all')\n"
    )
    sources = [str(ROOT / "samtok_eval" / "run" / name) for name in ("settings.py", "evaluate.py")]
    words = [
        "--config-file=",
        "--follow-imports=skip",
        "--cache-dir",
        str(tmp_path),
        *sources,
        str(tmp_path / "use.py"),
    ]
    told, _, _ = api.run(words)
    errors = [line.partition("use.py:")[2] for line in told.splitlines() if ": error:" in line]
    assert [error.partition(":")[0] for error in errors] == ["3", "4", "5"]
    assert 'expected "int | None"' in errors[0] and 'did you mean "limit"?' in errors[1]


def test_predict_takes_every_option_of_the_answers_and_records_what_was_typed(tmp_path, demo_root):
    words = ["--task", "gres", "--model", "oracle", "--limit", "1", "--data-root", demo_root, "--out", tmp_path]
    invoke("predict", *words)
    more = ["--no-group", "--max-new-tokens", 9, "--constrained", "--min-pixels", 16, "--max-pixels", 64, "--fresh"]
    invoke("predict", *words, *more)
    few, many = sorted(manifests(tmp_path), key=lambda manifest: len(manifest["passed"]))
    typed = {"task", "model", "limit", "data_root", "out"}
    assert set(few["passed"]) == typed
    six = {"group_pictures", "max_new_tokens", "constrained", "min_pixels", "max_pixels", "fresh"}
    assert set(many["passed"]) == typed | six
    told = {name: many["settings"][name] for name in six - {"fresh"}}
    assert told == {
        "group_pictures": False, "max_new_tokens": 9, "constrained": True, "min_pixels": 16, "max_pixels": 64
    }  # fmt: skip


def test_a_typed_default_is_recorded_and_an_untyped_one_is_not(tmp_path, demo_root):
    invoke("predict", "--task", "gres:val", "--model", "random", "--limit", 1, "--data-root", demo_root,
           "--out", tmp_path, "--batch-size", 32)  # fmt: skip
    (manifest,) = manifests(tmp_path)
    assert manifest["passed"] == ["batch_size", "data_root", "limit", "model", "out", "split", "task"]


# Configuration files


def config(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.toml", 'task = "gres"\nmodel = "random"\nlimit = 2\nseed = 7\ngroup_pictures = false\n'
                     'protocols = ["strict", "samtok"]\ndata_root = "{root}"\n'),
        ("run.yaml", "task: gres\nmodel: random\nlimit: 2\nseed: 7\ngroup_pictures: false\nprotocols: strict,samtok\n"
                     "data_root: {root}\n"),
    ],
)  # fmt: skip
def test_a_file_gives_the_run_that_its_options_give(tmp_path, demo_root, name, text):
    file = config(tmp_path / name, text.format(root=demo_root))
    invoke("run", "--config", file, "--out", tmp_path / "file", "--no-report")
    invoke("run", "--task", "gres", "--model", "random", "--limit", 2, "--seed", 7, "--no-group", "--protocol",
           "strict,samtok", "--data-root", demo_root, "--out", tmp_path / "typed", "--no-report")  # fmt: skip
    (read,), (typed,) = manifests(tmp_path / "file"), manifests(tmp_path / "typed")
    assert read["run_key"] == typed["run_key"]
    assert read["passed"] == typed["passed"]
    assert list(read["signature"]) == ["strict", "samtok"]


def test_what_is_typed_wins_over_the_file_and_one_file_serves_all_commands(tmp_path, demo_root):
    text = f'task = "gres"\nmodel = "random"\nlimit = 3\njudge = "replay:x"\ndata_root = "{demo_root}"\n'
    file = config(tmp_path / "run.toml", text)
    folder = Path(invoke("predict", "--config", file, "--limit", 2, "--out", tmp_path).strip().split(" in ")[1]).parent
    manifest = load_manifest(folder)
    assert (manifest.settings.limit, manifest.dataset.samples, manifest.settings.judge) == (2, 2, None)
    own = config(tmp_path / "score.toml", f'task = "gres"\nmodel = "random"\nbatch_size = 3\ndata_root = "{demo_root}"')
    invoke("score", "--config", own, "--predictions", folder, "--out", tmp_path / "scored")
    assert load_run(tmp_path / "scored").manifest.settings.batch_size == 32


def load_manifest(folder):
    return manifest_of(json.loads((folder / "manifest.json").read_text()))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "batchsize = 3", r"unknown setting 'batchsize'; did you mean batch_size"),
        ("a.yaml", "zzz: 3", r"unknown setting 'zzz'; choose from"),
        ("a.yaml", "3: 4", r"unknown setting '3'"),
        ("a.toml", "limit = ", "is not a well-formed TOML file"),
        ("a.yaml", "a: [", "is not a well-formed YAML file"),
        ("a.yaml", "- task", r"expected settings by name, got \['task'\]"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "is not a well-formed YAML file"),
        ("a.json", "{}", r"expected a \.toml, \.yaml or \.yml file"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, name, text, message):
    with pytest.raises(UsageError, match=message):
        read_config(config(tmp_path / name, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--config .*none\.toml is missing"):
        read_config(tmp_path / "none.toml")


# Seeds


def test_the_seed_of_the_statistics_is_that_of_the_answers_unless_it_is_given(tmp_path, demo_root):
    given = {"model": "random", "limit": 8, "data_root": str(demo_root), "seed": 3, "protocols": ("strict",)}
    alone = evaluate("gres", out=tmp_path / "a", **given)
    both = evaluate("gres", out=tmp_path / "b", statistics_seed=5, **given)
    assert alone.manifest.run_key == both.manifest.run_key
    assert [run.metrics["intervals"]["seed"] for run in (alone, both)] == [3, 5]
    seeds = [signature_dict(run.manifest.signature["strict"])["seed"] for run in (alone, both)]
    assert seeds == ["3", "3, intervals 5"]


def test_scoring_again_keeps_the_seed_of_the_answers_and_says_what_was_given(tmp_path, demo_root):
    given = {"model": "random", "limit": 4, "data_root": str(demo_root)}
    first = evaluate("gres", out=tmp_path, seed=3, **given)
    options = RunOptions(task="gres", data_root=str(demo_root), out=tmp_path / "s", seed=5, protocols=("strict",))
    again = score_file(options, first.path).manifest
    assert (again.settings.seed, again.settings.statistics_seed, again.scoring.seed) == (3, 5, 5)
    assert again.run_key == first.manifest.run_key
    assert {"seed", "statistics_seed", "protocols"} < set(again.passed)


# A new option


def test_a_new_option_leaves_old_keys_alone_and_enters_where_it_is_another_value(monkeypatch):
    class Warm(RunSettings):
        temperature: Annotated[float, Option("answers")] = Field(default=0.0, description="Of sampling.")

    content = frozen("manifest_oracle")
    monkeypatch.setattr(settings_module, "RunSettings", Warm)
    for settings, same in (({}, True), ({"temperature": 0.0}, True), ({"temperature": 0.5}, False)):
        manifest = manifest_of(content | {"settings": content["settings"] | settings})
        assert (run_key(manifest) == content["run_key"]) is same
    assert further_keyed(content["settings"] | {"temperature": 0.5}) == {"temperature": 0.5}


def test_a_new_option_is_an_option_of_the_commands_that_need_it():
    class Warm(RunOptions):
        temperature: Annotated[float, Option("answers")] = Field(default=0.0, description="Of sampling.")

    def command(given):
        """A command."""

    assert "temperature" in inspect.signature(takes("answers", settings=Warm)(command)).parameters
    assert "temperature" not in inspect.signature(takes("scoring", settings=Warm)(command)).parameters


def test_settings_of_every_key_are_settings_of_the_answers():
    assert all(option_of(RunSettings.model_fields[name]).role == "answers" for name in ALWAYS_KEYED)


# The repeat command


def test_the_repeat_command_finds_the_run_folder(tmp_path, demo_root):
    tasks = tmp_path / "own tasks"
    tasks.mkdir()
    out = tmp_path / "its runs"
    invoke("run", "--task", "gres:testA", "--model", "oracle", "--limit", 4, "--no-group", "--protocol",
           "strict,samtok", "--tasks-dir", tasks, "--data-root", demo_root, "--out", out, "--statistics-seed", 2,
           "--no-report")  # fmt: skip
    (folder,) = [path.parent for path in out.rglob("manifest.json")]
    before = load_manifest(folder)
    words = reproduce(read_scored(folder))
    assert shlex.join(["--tasks-dir", str(tasks)]) in words and "--no-group" in words
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(["bash", "-c", words], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = load_manifest(folder)
    assert [path.parent for path in out.rglob("manifest.json")] == [folder]
    assert after.counters["done_before"] == 4 and after.counters["predicted"] == 0
    assert after.signature == before.signature
    assert (set(after.passed), after.settings) == (set(before.passed), before.settings)


def test_the_repeat_command_of_predictions_from_elsewhere_scores_them(make_run, tmp_path):
    from tests.conftest import right

    folder = make_run("given", right)
    words = shlex.split(reproduce(read_scored(folder)))
    assert words[:2] == ["samtok-eval", "score"]
    before = load_manifest(folder)
    invoke(*words[1:])
    assert load_manifest(folder).dataset == before.dataset
