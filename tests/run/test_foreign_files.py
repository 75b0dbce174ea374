"""Files that others wrote: which are read, and what is said of those that hold nothing to score."""

from __future__ import annotations

import json

import pytest

from samtok_eval.errors import DataError
from samtok_eval.prediction import Prediction
from samtok_eval.prediction_log import read_predictions
from samtok_eval.run.evaluate import score_file
from samtok_eval.run.settings import RunOptions


@pytest.fixture
def scored(demo_root, tmp_path):
    """A function that scores a file or folder of a task's demo split: `scored(task, path, **options)`."""

    def run(task, path, **options):
        return score_file(RunOptions(task=task, data_root=str(demo_root), out=tmp_path / "scored", **options), path)

    return run


@pytest.fixture(scope="module")
def questions(demo_root):
    """Rows in GAR-Bench's format, all of them right."""
    rows = json.loads((demo_root / "gar_bench" / "GAR-Bench-VQA.json").read_text())
    return [{**row, "model_output": row["answer"]} for row in rows]


def as_lines(rows, end="\n"):
    return "".join(json.dumps(row) + end for row in rows)


def test_lines_of_the_benchmarks_own_format_are_read_like_its_json_file(scored, questions, tmp_path):
    whole, lines = tmp_path / "outputs.json", tmp_path / "outputs.jsonl"
    whole.write_text(json.dumps(questions))
    lines.write_text("\n" + as_lines(questions))
    assert scored("region_vqa", whole).metrics == scored("region_vqa", lines).metrics
    assert scored("region_vqa", lines).values("official")["accuracy"]["value"] == 1


@pytest.mark.parametrize("form", ["json", "lines", "our lines"])
def test_byte_order_marks_and_carriage_returns_change_nothing(scored, questions, tmp_path, form):
    ours = [{"id": row["image"], "text": row["model_output"]} for row in questions]
    text = {"json": json.dumps(questions, indent=1), "lines": as_lines(questions), "our lines": as_lines(ours)}[form]
    path = tmp_path / ("outputs.json" if form == "json" else "outputs.jsonl")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert scored("region_vqa", path).values("official")["accuracy"]["value"] == 1


def test_numbers_are_ids(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"id": 279135, "text": "a ski"}\n')
    assert list(read_predictions([path])) == [Prediction(id="279135", text="a ski")]
    path.write_text('{"id": true, "text": "a ski"}\n')
    with pytest.raises(DataError, match="id: Input should be a valid string"):
        list(read_predictions([path]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"image": "a.png", "model_output": "A"}\n{"image": ', r"x\.jsonl:2 is not valid JSON"),
        ("x.jsonl", '{"image": ', r"x\.jsonl:1: Invalid JSON"),
        ("x.jsonl", '{"text": "A"}\n', r"x\.jsonl:1: id: Field required"),
        ("x.jsonl", '["A"]\n', r"x\.jsonl:1: Input should be an object"),
        ("x.json", '{"A": 1}', "not in the result format of region_vqa"),
        ("x.jsonl", "", r"x\.jsonl: expected one model_output per sample, got none in 0 rows"),
        ("x.json", "[]", r"x\.json: expected one model_output per sample, got none in 0 rows"),
        ("x.json", '[{"image": "a.png", "answer": "A"}]', "got none in 1 rows"),
        ("x.json", '[{"image": "a.png", "model_output": null}]', "got none in 1 rows"),
        (
            "x.json",
            '[{"image": "a.png", "model_output": 3}]',
            r"sample a\.png: model_output must be text or null, got 3",
        ),
        ("x.jsonl", '{"id": "images/vqa_0.png", "masks": []}', "holds no answer that region_vqa could score"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(scored, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        scored("region_vqa", tmp_path / name)
    assert error.value.exit_code == 2


def test_an_output_that_is_null_is_a_missing_answer(scored, questions, tmp_path):
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{**questions[0], "model_output": None}, *questions[1:]]))
    run = scored("region_vqa", path)
    assert run.metrics["counters"]["missing"] == 1
    assert run.values("official")["accuracy"]["value"] == pytest.approx(1 - 1 / len(questions))


def test_lines_without_an_answer_are_no_answers(scored, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"id": "1"}\n{"id": "2"}\n')
    with pytest.raises(DataError, match=r"lines\.jsonl holds no answer that gres could score"):
        scored("gres", path)


# ---- folders ----


def test_a_folder_of_the_benchmarks_files_is_read_whatever_else_lies_there(scored, questions, tmp_path):
    folder = tmp_path / "outputs" / "GAR-1B"
    folder.mkdir(parents=True)
    for i, row in enumerate(questions):
        (folder / f"{i}.json").write_text(json.dumps([row]))
    (folder / "._0.json").write_bytes(b"\x00\x05\x16\x07")
    (folder / "manifest.json").write_text('{"name": "an app"}')
    (folder.parent / "manifest.json").write_text('["another program"]')
    run = scored("region_vqa", folder)
    assert run.values("official")["accuracy"]["value"] == 1
    assert run.manifest.model.name == "GAR-1B"


def test_two_folders_of_predictions_have_two_signatures(scored, demo_root, tmp_path):
    hashes = set()
    for i, answer in enumerate("AB"):
        folder = tmp_path / str(i)
        folder.mkdir()
        rows = json.loads((demo_root / "gar_bench" / "GAR-Bench-VQA.json").read_text())
        (folder / "outputs.jsonl").write_text(as_lines({"image": r["image"], "model_output": answer} for r in rows))
        hashes.add(scored("region_vqa", folder).manifest.model.identity["predictions_sha256"])
    assert len(hashes) == 2


def test_a_broken_mask_in_a_file_of_others_names_file_and_place(scored, tmp_path):
    row = {"image_id": "1", "caption": "a", "phrases": ["a"], "pred_masks": [{"size": [4, 4], "counts": 5}]}
    (tmp_path / "1.json").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"1\.json: masks\.0\.counts: Input should be a valid string"):
        scored("gcg", tmp_path / "1.json")


def test_an_empty_folder_says_what_is_expected(scored, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither \*\.jsonl nor \*\.json"):
        scored("gcg", tmp_path / "empty")
