"""The command line: exit codes, one-line messages, quick help, loaders of task files."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import samtok_eval
from samtok_eval.cli.main import app
from tests.support.command import command

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "sam2", "evaluate", "matplotlib")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run"], 1, "--task is missing"),
        (["run", "--task", "gress"], 1, "did you mean gres"),
        (["run", "--task", "gres:half"], 1, "no split 'half'"),
        (["run", "--task", "gres", "--protocol", "lenient", "--model", "random"], 1, "no protocol 'lenient'"),
        (["run", "--task", "gres", "--data-root", "/nowhere"], 2, "is not a folder"),
        (["run", "--task", "gres", "--limit", "0"], 1, "--limit"),
        (["run", "--task", "gres", "--limit", "many"], 1, "limit"),
        (["run", "--task", "gres", "--model", "openai:http://x#y"], 1, "brings no mask tokenizer"),
        (["run", "--task", "gres", "--model", "vllm:demo"], 1, "needs the package vllm; install samtok-eval[vllm]"),
        (["run", "--task", "gres", "--tensor-parallel", "2"], 1, "--model demo is not computed by vLLM"),
        (["run", "--task", "gres", "--dtype", "fp8", "--model", "random"], 1, "--dtype must be"),
        (["train", "sft", "--preset", "paper-4b", "--dtype", "fp8", "--out", "x"], 1, "--dtype must be"),
        (["run", "--task", "gres", "--bogus"], 1, "bogus"),
        (["run", "--task", "gres", "--tasks-dir", "/nowhere"], 1, "is not a folder"),
        (["score", "--task", "gres", "--predictions", "/nowhere"], 2, "does not exist"),
        (["score", "--task", "gres,refcoco", "--predictions", "x"], 1, "one task at a time"),
        (["train", "tokenizer", "--preset", "big", "--out", "x"], 1, "choose from demo"),
    ],
)
def test_mistakes_end_with_one_line_and_their_exit_code(tmp_path, words, code, message):
    done = command(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_benchmark_file_is_a_data_error(tmp_path):
    done = command("run", "--task", "gres", "--model", "random", "--data-root", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "grefs(unc).json is missing" in done.stderr


# What the system refuses


@pytest.fixture
def answers(demo_root, tmp_path) -> list[str | Path]:
    """A command that scores two answers into `out`."""
    from samtok_eval.registry import load_tasks

    samples = load_tasks()["gres"].read(demo_root, "val")[:2]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": sample.id, "text": "none"}) + "\n" for sample in samples))
    words = ["score", "--task", "gres", "--data-root", demo_root, "--limit", "2", "--predictions", path]
    return [*words, "--out", tmp_path / "out"]


def refused(words: list[str | Path], kind: int, most: int, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command that may have only so much of something."""
    return subprocess.run(
        [sys.executable, "-m", "samtok_eval", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(kind, (most, most)),
        **options,
    )


def test_where_the_disk_ends_one_line_names_the_file_and_what_is_whole_stays(answers):
    from samtok_eval.run.record_file import read_records

    done = refused(answers, resource.RLIMIT_FSIZE, 3000)
    out = answers[-1]
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"error: {out}/metrics.json cannot be written (File too large); free space" in done.stderr
    # Two answers under each of four protocols.
    assert [len(mine) for mine in read_records(out / "records.jsonl").values()] == [2] * 4
    assert [path.name for path in out.glob(".*")] == []


def test_output_that_nothing_takes_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = refused(["tasks"], resource.RLIMIT_CORE, 0, stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "error: No space left on device; free space" in done.stderr


def test_a_file_beyond_the_memory_is_one_line(answers, tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**32 - 1)
    done = refused(
        [path if word == tmp_path / "answers.jsonl" else word for word in answers], resource.RLIMIT_AS, 2**31
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: out of memory; use a smaller --batch-size or --limit, or a machine with more memory\n",
    )


def test_help_score_and_tasks_import_nothing_heavy():
    probe = (
        "import sys; sys.argv = ['x', *{words}]\n"
        "try:\n    from samtok_eval.cli.main import main; main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', [m for m in {heavy} if m in sys.modules])"
    )
    for words in (["--help"], ["run", "--help"], ["tasks"], ["score", "--help"], ["run", "--list-tasks"]):
        code = probe.format(words=words, heavy=HEAVY)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "LOADED []", words


def test_without_torch_the_commands_that_need_it_say_what_to_install(tmp_path):
    block = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError('blocked', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from samtok_eval.cli.main import main; main()\n"
    )
    words = ["run", "--task", "gres", "--model", "random", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", block, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: torch is not installed")


def test_run_eval_is_the_run_command():
    done = subprocess.run(
        [sys.executable, "run_eval.py", "--list-tasks"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for name in ("gres", "refcoco", "refcoco+", "refcocog", "reconstruction"):
        assert f"{name}: " in done.stdout


def test_several_models_and_tasks_make_one_table_each(tmp_path, demo_root):
    done = command(
        "run", "--task", "gres:testA,refcoco:testB", "--model", "oracle", "--model", "random", "--limit", 6,
        "--data-root", demo_root, "--out", tmp_path, "--protocol", "all",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    gres, refcoco = done.stdout.split("\n\n\n") if "\n\n\n" in done.stdout else done.stdout.split("RefCOCO, testB")
    assert gres.count(" oracle") >= 3
    assert "N-acc" in gres
    assert "gIoU by phrase" in refcoco
    assert len(list(tmp_path.rglob("metrics.json"))) == 4


def test_defaults_are_named_in_the_caption(tmp_path):
    done = command("run", "--task", "gres", "--model", "random", "--limit", 3, "--out", tmp_path)
    assert "bundled DEMO benchmark" in done.stdout


TASK_FILE = """
from samtok_eval.sample import ImageRef, Sample, Target, Turn
from samtok_eval.masks import empty
from samtok_eval.metrics.referring import giou
from samtok_eval.metrics.scoring import score_region
from samtok_eval.prompts import SEGMENT_PHRASE
from samtok_eval.protocol import Protocol
from samtok_eval.task import Task, TaskMetadata

class Nothing(Task):
    metadata = TaskMetadata(
        name="nothing", title="Nothing", version=1, paper="-", data="-", licence="-", splits=("all",),
        default_split="all", sizes={"all": "1"}, files=(), main_metric="giou", metrics=("giou",))
    prompt = SEGMENT_PHRASE
    protocols = (Protocol("strict", policy="default", missing_second="skip", errors_fail=True),)
    def read(self, data_root, split):
        image = ImageRef("1", data_root / "one.png", 8, 8)
        return [Sample("1", image, (Turn("user", ("x",)),), Target())]
    def score(self, sample, prediction, protocol):
        return score_region(sample, prediction, protocol)
    def metrics(self, records, protocol):
        return {"giou": giou(records)}

TASKS = (Nothing(),)
"""


def test_a_task_file_of_ones_own_gets_runner_scorer_and_table(tmp_path):
    from PIL import Image

    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "nothing.py").write_text(TASK_FILE)
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    done = command(
        "run",
        "--task",
        "nothing",
        "--tasks-dir",
        folder,
        "--model",
        "random",
        "--data-root",
        tmp_path,
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text())["strict"]["giou"]["n"] == 1


def test_data_verify_and_doctor_find_the_demo_healthy(demo_root):
    done = command("data", "verify", "--data-root", demo_root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   gres:val:" in done.stdout
    assert "none reconstruction:folder" in done.stdout
    done = command("doctor", "--data-root", demo_root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 514 in the vocabulary" in done.stdout
    assert "ok   round trip:" in done.stdout


def test_data_verify_tells_what_is_absent_from_what_is_broken(tmp_path):
    done = command("data", "verify", "--data-root", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[1:] if line} == {"none"}
    (tmp_path / "grefcoco").mkdir()
    (tmp_path / "grefcoco" / "grefs(unc).json").write_text('[{"ref_id": 1}]')
    (tmp_path / "grefcoco" / "instances.json").write_text('{"images": [], "annotations": []}')
    done = command("data", "verify", "--data-root", tmp_path)
    assert done.returncode == 2
    (broken,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL gres:val")]
    assert "'categories' is missing" in broken


def test_data_verify_finds_a_missing_picture(demo_root, tmp_path):
    import shutil

    copy = shutil.copytree(demo_root, tmp_path / "data")
    next((copy / "coco" / "train2014").glob("*.png")).unlink()
    for path in list((copy / "coco" / "train2014").glob("*0001000*.png"))[:3]:
        path.unlink()
    done = command("data", "verify", "--data-root", copy)
    assert done.returncode == 2
    assert "pictures are missing" in done.stdout


def test_build_demo_refuses_a_folder_in_use(tmp_path):
    (tmp_path / "x").write_text("")
    done = command("data", "build-demo", "--out", tmp_path)
    assert done.returncode == 1
    assert "not an empty folder" in done.stderr


def test_build_demo_holds_out_no_training_scene(tmp_path):
    done = command("data", "build-demo", "--out", tmp_path / "out", "--first-scene", "5")
    assert done.returncode == 1
    assert "smaller seeds are training scenes" in done.stderr


def test_predict_then_score(tmp_path, demo_root):
    done = command(
        "predict", "--task", "gres", "--model", "oracle", "--limit", 5, "--data-root", demo_root, "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().removeprefix("predictions in "))
    assert not list(tmp_path.rglob("metrics.json"))
    done = command(
        "score", "--task", "gres", "--data-root", demo_root, "--predictions", folder, "--out", tmp_path / "s"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s" / "metrics.json").read_text())["counters"]["scored"] == 5


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["train", "sft", "-h"]])
def test_help_has_a_short_name_everywhere(words):
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0 and "Usage:" in told.stdout


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"samtok-eval {samtok_eval.__version__}\n"
