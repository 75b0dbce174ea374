"""Pictures of a split are found again in a training mix, whatever format and name they have there."""

from __future__ import annotations

import json

import pytest

from samtok_eval.datasets.overlap import coco_id, find_overlap, picture_names, read_overlap
from samtok_eval.errors import DataError, UsageError
from samtok_eval.sample import ImageRef
from tests.support.command import command

TURNS = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "yes"}]


def pictures(folder, names):
    """The pictures of a split; those of a name with content are on disk."""
    found = []
    for name, content in names.items():
        path = folder / name
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        found.append(ImageRef(path.stem, path, 4, 4))
    return found


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def lines(*entries):
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_train2014_000000123456.jpg", 123456),
        ("coco/train2017/000000123456.jpg", 123456),
        ("COCO_test2015_000000000007.JPG", 7),
        ("COCO_train2014_000000581857_16.jpg", 581857),
        ("123456.jpg", None),
        ("sa_000000123456.jpg", None),
        ("000000123456_16.jpg", None),
        ("000000123456.json", None),
    ],
)
def test_names_of_2014_and_2017_have_one_coco_id(name, number):
    assert coco_id(name) == number


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mix.json", json.dumps([{"image": "a/1.jpg", "conversations": TURNS}, {"image": ["b/2.jpg", "c/3.jpg"]}])),
        ("mix.jsonl", lines({"image": "a/1.jpg"}, {"messages": []}, {"images": ["b/2.jpg", "c/3.jpg"]}, {"image": ""})),
        ("instances.json", json.dumps({"images": [{"file_name": "a/1.jpg"}, {"coco_url": "b/2.jpg"},
                                                  {"file_name": "c/3.jpg"}], "annotations": []})),
        ("names.txt", "a/1.jpg\n\n b/2.jpg\r\nc/3.jpg"),
        ("names.json", json.dumps(["a/1.jpg", "b/2.jpg", "c/3.jpg"])),
    ],
)  # fmt: skip
def test_every_format_names_its_pictures_in_order(tmp_path, name, content):
    assert list(picture_names(written(tmp_path / name, content))) == ["a/1.jpg", "b/2.jpg", "c/3.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("mix.json", "[{}]", DataError, "names no picture"),
        ("mix.json", '[{"image": {"path": "x"}}]', DataError, "entry 1: a path or a list of paths is needed"),
        ("mix.json", '[{"image": [1]}]', DataError, "a text is needed, got 1"),
        ("mix.json", '[{"image": "x"}', DataError, "is not valid JSON"),
        ("mix.json", "[3]", DataError, "entry 1"),
        ("mix.json", lines({"image": "x"}, {"image": "y"}), DataError, "give JSON lines the ending .jsonl"),
        ("mix.jsonl", '{"image": "x"}\n{"image"\n', DataError, "mix.jsonl:2 is not valid JSON"),
        ("instances.json", '{"images": [{"id": 3}]}', DataError, "'coco_url' is missing"),
        ("instances.json", '{"images": 3}', DataError, "holds neither a list nor COCO's `images`"),
        ("mix.parquet", "", UsageError, "give conversations"),
    ],
)
def test_what_is_no_training_file_is_refused(tmp_path, name, content, error, message):
    with pytest.raises(error, match=message.replace(".", r"\.")):
        find_overlap("gres", "val", [], [written(tmp_path / name, content)])


def test_a_missing_training_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json is missing"):
        find_overlap("gres", "val", [], [tmp_path / "nowhere.json"])


def test_pictures_are_recognised_by_coco_id_then_bytes_then_name(tmp_path):
    split = pictures(tmp_path / "data", {
        "COCO_train2014_000000000001.jpg": None,
        "renamed.jpg": b"a picture",
        "far.jpg": None,
        "1.jpg": b"one of ours",
        "never.jpg": b"never seen",
    })  # fmt: skip
    mix = written(tmp_path / "mix" / "mix.txt", "train2017/000000000001.jpg\nother.jpg\nsome/far.jpg\n1.jpg\n")
    pictures(mix.parent, {"other.jpg": b"a picture", "1.jpg": b"one theirs!"})
    found = find_overlap("gres", "val", split, [mix])
    assert found.shared == {
        "COCO_train2014_000000000001": {str(mix): "COCO id"},
        "renamed": {str(mix): "bytes"},
        "far": {str(mix): "file name"},
    }
    assert (found.train[0].names, found.train[0].shared, found.absent) == (4, 3, 2)
    assert found.summary == "3 of 5 pictures of gres:val (60.0%) occur in the training mix"


def test_a_picture_in_several_files_counts_once_and_names_them_all(tmp_path):
    split = pictures(tmp_path, {"000000000001.jpg": None}) * 2
    train = [written(tmp_path / name, "000000000001.jpg\n" * 3) for name in ("a.txt", "b.txt")]
    found = find_overlap("gres", "val", split, train)
    assert found.pictures == ("000000000001",) and list(found.shared["000000000001"]) == [*map(str, train)]
    assert [file.names for file in found.train] == [1, 1]
    with pytest.raises(UsageError, match="twice"):
        find_overlap("gres", "val", split, [train[0], train[0]])


def test_names_that_leave_the_folder_are_compared_but_not_opened(tmp_path):
    split = pictures(tmp_path / "data", {"secret.jpg": b"ours"})
    mix = written(tmp_path / "mix" / "mix.txt", f"../data/secret.jpg\n{tmp_path}/data/secret.jpg\n")
    assert find_overlap("gres", "val", split, [mix]).shared == {"secret": {str(mix): "file name"}}


def test_the_command_counts_and_writes_what_report_reads(demo_root, tmp_path):
    names = sorted(path.name for path in (demo_root / "coco" / "train2014").iterdir())
    mix = written(tmp_path / "mix.txt", "\n".join(["else.jpg", *names]))
    done = command("data", "overlap", "--train", mix, "--task", "gres:val", "--data-root", demo_root,
                   "--images", demo_root / "coco" / "train2014", "--json", tmp_path / "overlap.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_overlap(tmp_path / "overlap.json")
    assert found.summary in done.stdout and set(found.shared) == set(found.pictures) and not found.absent
    (tmp_path / "overlap.json").write_text('{"task": "gres"}')
    with pytest.raises(DataError, match="is no overlap file"):
        read_overlap(tmp_path / "overlap.json")
