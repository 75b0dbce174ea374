"""A wrong task file ends a command with one line that names the file, the field or line, and what to do."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_main import TASK_FILE
from tests.support.command import command

READ = 'return [Sample("1", image, (Turn("user", ("x",)),), Target())]'
SAMPLE = 'Sample("1", image, (Turn("user", ("x",)),), Target())'
SCORE = "return score_region(sample, prediction, protocol)"
METRICS = 'return {"giou": giou(records)}'
PROTOCOLS = 'protocols = (Protocol("strict", policy="default", missing_second="skip", errors_fail=True),)'
RECORD = "from samtok_eval.prediction import Record; return Record("
WRONG = {
    # The file itself.
    "a syntax error": ("class Nothing(Task):", "class Nothing(Task:", ":10: SyntaxError: "),
    "a wrong indent": ("    prompt = ", "      prompt = ", "IndentationError: unexpected indent; correct the file"),
    "an import that fails": ("import giou", "import gious", ":4: ImportError: cannot import name 'gious'"),
    "a package that is not there": (
        "import giou",
        "import giou\nimport nopackage",
        ":5: ModuleNotFoundError: No module",
    ),
    "what raises": (
        "class Nothing",
        "1 / 0\nclass Nothing",
        ":10: ZeroDivisionError: division by zero; correct the file",
    ),
    "what ends the program": ("class Nothing", "raise SystemExit\nclass Nothing", ":10: SystemExit; correct the file"),
    "no task": ("TASKS = (Nothing(),)", "", "must define TASKS, a tuple of Task objects; end the file with `TASKS = ("),
    "a list of tasks": ("(Nothing(),)", "[Nothing()]", "must define TASKS as a tuple of Task objects, got a list"),
    "an empty tuple": ("(Nothing(),)", "()", "must define TASKS as a tuple of Task objects, got an empty tuple"),
    "a class": ("(Nothing(),)", "(Nothing,)", "it holds the class Nothing; call it: Nothing()"),
    "a task of a name that is taken": ('name="nothing"', 'name="gres"', "metadata.name 'gres' is taken"),
    # The card.
    "a missing field of the card": ('title="Nothing", ', "", "TaskMetadata.title: Field required"),
    "an unknown field": ("version=1", "version=1, colour=2", "TaskMetadata.colour: Extra inputs are not permitted"),
    "a field of another type": ("version=1", 'version="new"', "TaskMetadata.version: Input should be a valid integer"),
    "a name that leaves the folder": ('name="nothing"', 'name="../x"', "metadata.name holds '../x'; use letters"),
    "a default that is no split": ('default_split="all"', 'default_split="val"', "is 'val'; choose from splits all"),
    "a main metric that is none": ('main_metric="giou"', 'main_metric="iou"', "is 'iou'; choose from metrics giou"),
    # The class.
    "no card": ("    metadata = ", "    card = ", "Nothing.metadata is missing; give it as an attribute of the class"),
    "no prompt": ("    prompt = ", "    prompting = ", "Nothing.prompt is missing; give it as an attribute"),
    "a text as prompt": ("prompt = SEGMENT_PHRASE", 'prompt = "Where is it?"', "Nothing.prompt must be a Prompt"),
    "no protocols": ("    protocols = ", "    protocol_s = ", "Nothing.protocols is missing; give it as an attribute"),
    "one protocol instead of several": (
        PROTOCOLS,
        PROTOCOLS.replace(",)", ")"),
        "Nothing.protocols must be a tuple of",
    ),
    "an unknown policy": ('policy="default"', 'policy="lenient"', "reads answers by 'lenient'; choose a policy from"),
    "no scorer": ("def score(", "def scores(", "Can't instantiate abstract class Nothing "),
    "a reader without split": (
        "def read(self, data_root, split)",
        "def read(self, root)",
        "Nothing.read(data_root, split)",
    ),
    # The reader.
    "a reader that raises": (READ, "return {}['masks']", ":18 in read: KeyError: 'masks'; correct the file"),
    "a reader that returns nothing": (READ, "pass", "must return a list of Sample objects, got None"),
    "a generator": (READ, f"yield {SAMPLE}", "must return a list of Sample objects, got a generator"),
    "rows instead of samples": (READ, "return [{}]", "must return a list of Sample objects, got a dict at 0"),
    "no samples": (READ, "return []", "returns no samples; read some, or leave the split out of metadata.splits"),
    "an id that is no text": (SAMPLE, SAMPLE.replace('"1"', "1"), "sample 1: id must be a text that is not empty"),
    "duplicate ids": (
        READ,
        READ.replace("]", f", {SAMPLE}]"),
        "read of nothing:all: 1 ids occur twice, 1 first; every",
    ),
    "a path that is a text": ("data_root / ", 'str(data_root) + "/" + ', "sample '1': image.path must be a Path"),
    "a size that is no number": ("8, 8)", '8, "8")', "image.width must be a whole number of pixels, got '8'"),
    "a turn of one text": ('("x",)', '"x"', "turns[0].parts must be a tuple of texts and regions, got 'x'"),
    "one turn instead of several": ('(Turn("user", ("x",)),)', 'Turn("user", ("x",))', "turns must be a tuple of Turn"),
    "another role": ('Turn("user"', 'Turn("human"', "turns[0].role must be user or assistant, got 'human'"),
    "no target": ("Target()", "None", "target must be a Target, got None"),
    "an array as a mask": (
        "Target()",
        "Target((b'',))",
        "target.masks[0] must be a Rle, got a bytes; samtok_eval.masks.",
    ),
    "a mask of another size": (
        "Target()",
        "Target((empty(8, 9),))",
        "target.masks[0] is 8x9, its picture 8x8 (height x",
    ),
    "slices that are no texts": (
        "Target())",
        'Target(), "", {"size": 1})',
        "slices must be texts by name, got {'size': 1}",
    ),
    # The scorer.
    "a scorer that raises": (SCORE, "return sample.mask", ":20 in score: AttributeError: 'Sample' object has no attri"),
    "a scorer that returns nothing": (SCORE, "pass", "Nothing.score must return a Record, got None for sample '1'"),
    "a number as record": (SCORE, "return 1.0", "Nothing.score must return a Record, got a float for sample '1'"),
    "a record of another sample": (SCORE, f"{RECORD}'2', '1', 'strict', 'ok')", "Record.id must be '1', got '2'"),
    "a record without protocol": (
        SCORE,
        f"{RECORD}'1', '1', None, 'ok')",
        "Record.protocol must be 'strict', got None",
    ),
    "an area that is no number of pixels": (
        SCORE,
        f"{RECORD}'1', '1', 'strict', 'ok', inter=0.5)",
        "inter must be a whole",
    ),
    "a value that is a text": (
        SCORE,
        f"{RECORD}'1', '1', 'strict', 'ok', values={{'a': 'b'}})",
        "values must be numbers",
    ),
    "metrics that raise": (METRICS, "return records.iou", ":22 in metrics: AttributeError: "),
    "no metrics": (METRICS, "pass", "Nothing.metrics(records, protocol) must return metrics by name, got None"),
    "a number as metric": (METRICS, 'return {"giou": 0.5}', "giou must be a Ratio, Sums, Ranked or Description"),
    "metrics without the main one": (
        METRICS,
        'return {"iou": giou(records)}',
        "gives iou, but not metadata.main_metric",
    ),
}
"""What is wrong: what is written, what instead, and part of the message."""


@pytest.mark.parametrize("what", WRONG)
def test_one_line_names_file_field_and_remedy(tmp_path, what):
    written, instead, message = WRONG[what]
    folder = tmp_path / "mine"
    folder.mkdir()
    assert TASK_FILE.count(written) >= 1
    (folder / "wrong.py").write_text(TASK_FILE.replace(written, instead, 1))
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"id": "1", "text": "none"}) + "\n")
    words = ["--task", "nothing", "--tasks-dir", folder, "--data-root", tmp_path, "--predictions", answers]
    done = command("score", *words, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: {folder / 'wrong.py'}")
    assert message in done.stderr
    assert done.stdout == ""


def test_the_file_is_right_before_it_is_made_wrong(tmp_path):
    (tmp_path / "right.py").write_text(TASK_FILE)
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": "1", "text": "none"}) + "\n")
    words = ["--task", "nothing", "--tasks-dir", tmp_path, "--data-root", tmp_path]
    done = command("score", *words, "--predictions", tmp_path / "answers.jsonl", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_picture_says_of_its_size_is_compared_before_anything_is_scored(tmp_path):
    from PIL import Image

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "wrong.py").write_text(TASK_FILE)
    Image.new("RGB", (8, 9)).save(tmp_path / "one.png")
    words = ["--task", "nothing", "--tasks-dir", tmp_path / "mine", "--data-root", tmp_path, "--out", tmp_path / "out"]
    done = command("run", *words, "--model", "random")
    assert done.returncode == 3
    assert "one.png is 9x8, its annotations say 8x8" in done.stderr


def test_all_of_an_error_is_shown_where_it_is_asked_for(tmp_path):
    (tmp_path / "wrong.py").write_text(TASK_FILE.replace(READ, "return {}['masks']"))
    words = ["predict", "--task", "nothing", "--tasks-dir", tmp_path, "--data-root", tmp_path, "--model", "random"]
    done = command(*words, "-v", "--out", tmp_path / "out")
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
