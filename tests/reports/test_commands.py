"""The commands about finished runs, as people type them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import HEAVY
from tests.conftest import right, shifted
from tests.support.command import command

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture
def pair(make_run):
    """A run and a worse one."""
    return make_run("before", right), make_run("after", shifted(9))


def test_none_of_them_imports_anything_heavy(pair, tmp_path):
    shutil.copytree(LEADERBOARDS, tmp_path / "board")
    commands = [
        ["compare", *pair],
        ["gate", "--baseline", pair[0], "--candidate", pair[0]],
        ["report", *pair, "--out", tmp_path / "report"],
        ["leaderboard", "build", "--folder", tmp_path / "board"],
        ["view", pair[0], "--export", tmp_path / "site", "--no-samples"],
    ]
    probe = (
        "import sys\nfrom samtok_eval.cli.main import main\nfor words in {commands}:\n"
        "    sys.argv = ['x', *words]\n    try:\n        main()\n    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    listed = [list(map(str, words)) for words in commands]
    done = subprocess.run([sys.executable, "-c", probe.format(commands=listed, heavy=HEAVY)], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


def test_compare_writes_table_and_json(pair, tmp_path):
    done = command("compare", *pair, "--protocol", "strict", "--json", tmp_path / "out.json")
    assert done.returncode == 0 and "differences to before" in done.stdout
    told = json.loads((tmp_path / "out.json").read_text())
    assert {cell["protocol"] for cell in told["cells"]} == {"strict"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["compare", "{before}", "/nowhere"], 2, "is not a finished run folder"),
        (["compare", "{before}", "--protocol", "lenient"], 1, "no protocol 'lenient'"),
        (["compare", "{before}", "--published", "no such method"], 1, "no published number of gres:val"),
        (["gate", "--baseline", "{before}"], 1, "candidate"),
        (["gate", "--baseline", "{before}", "--candidate", "{after}", "--alpha", "7"], 1, "between 0 and 1"),
        (["gate", "--baseline", "{before}", "--candidate", "{after}"], 4, "worse than the baseline: gres:val cIoU -"),
        (
            ["gate", "--baseline", "{before}", "--candidate", "{before}", "--on-undecided", "fail"],
            6,
            "undecided: gres:val",
        ),
        (["gate", "--baseline", "{before}", "--candidate", "/nowhere"], 2, "does not exist"),
        (["report", "{before}", "--data-root", "/nowhere"], 2, "is not a folder"),
        (["leaderboard", "build", "--folder", "/nowhere"], 2, "neither published.csv nor results"),
        (["leaderboard", "submit", "{before}", "--model", "a/b", "--revision", "r"], 5, "without --limit"),
        (["leaderboard", "publish", "a/b", "--revision", "r", "--out", "x", "--dataset", "gres"], 1, "expected TASK="),
        (["leaderboard", "publish", "a/b", "--revision", "r", "--out", "x"], 1, "no result of a/b r"),
    ],
)
def test_mistakes_end_with_one_line_and_their_exit_code(pair, tmp_path, words, code, message):
    names = {"before": pair[0], "after": pair[1]}
    done = command(*(word.format(**names) for word in words), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_published_numbers_stand_beside_runs_without_a_comparison(pair):
    done = command("compare", *pair, "--published", "SAMTok")
    assert done.returncode == 0, done.stderr
    assert "Published under the papers' own protocols" in done.stdout
    assert "Qwen25VL-SAMTok (rl)§" in done.stdout and "79.4" in done.stdout


def test_a_result_goes_from_run_to_tables_and_card(make_run, tmp_path):
    pytest.importorskip("huggingface_hub")
    run, board = make_run("whole", right, limit=None), tmp_path / "leaderboards"
    words = ["leaderboard", "submit", run, "--model", "org/model", "--revision", "r1", "--parameters", "3B"]
    assert command(*words, cwd=tmp_path).returncode == 0
    assert (board / "results" / "org__model" / "r1" / "gres.json").is_file()
    assert command("leaderboard", "build", cwd=tmp_path).returncode == 0
    assert "org/model" in (board / "README.md").read_text()
    done = command("leaderboard", "publish", "org/model", "--revision", "r1", "--out", "card", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model-index" in (tmp_path / "card" / "README.md").read_text()


# A list of runs, and JSON on standard output


def test_runs_are_listed_with_their_main_metric_under_names_that_can_be_typed(make_run, tmp_path):
    folders = [make_run("gres/val/model/abcdef1", right), make_run("gres/val/model/abcdef2", right)]
    make_run("refcoco/val/model/1234567", right, task="refcoco")
    broken = make_run("gres/val/model/zzzz", right)
    (broken / "manifest.json").write_text("{")
    done = command("runs", tmp_path / "runs", "--json", "-")
    listed = json.loads(done.stdout)
    names = [Path(run["shown"]).name for run in listed]
    # Two that ended in the same second stand in the order of their names.
    assert (sorted(names[:2]), names[2:]) == (["abcdef1", "abcdef2"], ["1234", "zzzz"])
    assert listed[0]["entry"] == json.loads((folders[0] / "metrics.json").read_text())["strict"]["giou"]
    assert listed[2]["metric"] == "ciou" and listed[3]["state"] == "broken"
    assert "not read" in done.stderr and "gres:val" in done.stderr
    shown = command("runs", tmp_path / "runs", "--task", "refcoco:val").stdout
    assert shown.count("refcoco:val") == 1 and "gres" not in shown
    assert "100.0 ±" in shown and "first 80" in shown
    assert command("report", listed[2]["shown"]).returncode == 0


def test_runs_of_no_folder_are_an_error_of_one_line(tmp_path):
    done = command("runs", tmp_path / "none")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_json_on_standard_output_stands_alone(make_run):
    folders = [make_run("baseline", right), make_run("candidate", shifted(1))]
    compared = command("compare", *folders, "--json", "-")
    assert json.loads(compared.stdout) and "differences to" in compared.stderr
    gated = command("gate", "--baseline", folders[0], "--candidate", folders[1], "--json", "-")
    assert json.loads(gated.stdout) and gated.returncode in (0, 4)
    planned = command("plan", "--baseline", folders[0], "--json", "-")
    assert json.loads(planned.stdout)
