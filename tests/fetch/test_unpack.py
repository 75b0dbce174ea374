"""Archives: what of them is written, and what never is."""

from __future__ import annotations

import io
import zipfile

import pytest

from samtok_eval.errors import DataError, UsageError
from samtok_eval.fetch import unpack as module
from samtok_eval.fetch.unpack import BrokenArchiveError, unpack


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, body in members.items():
            file.writestr(name, body)
    return path


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_members_go_where_the_table_says_and_others_nowhere(tmp_path, root):
    path = archive(tmp_path / "a.zip", **{"refcoco/refs(unc).p": "refs", "refcoco/x.txt": "x", "pics/b/c.jpg": "c"})
    wanted = {"refcoco/refs(unc).p": "refcoco/refs(unc).p", "pics/*": "coco/pics/"}
    assert unpack(path, root, wanted, {}) == 2
    assert files(root) == {"refcoco/refs(unc).p": b"refs", "coco/pics/b/c.jpg": b"c"}


def test_archives_inside_archives_are_unpacked_too(tmp_path, root):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("panoptic_val2017/1.png", "one")
        file.writestr("panoptic_val2017/2.png", "two")
    path = archive(tmp_path / "a.zip", **{"annotations/panoptic_val2017.zip": inner.getvalue()})
    wanted = {"annotations/panoptic_val2017.zip": {"panoptic_val2017/*": "coco/panoptic_val2017/"}}
    assert unpack(path, root, {}, wanted) == 2
    assert files(root) == {"coco/panoptic_val2017/1.png": b"one", "coco/panoptic_val2017/2.png": b"two"}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".unpack")] == []


@pytest.mark.parametrize("name", ["pics/../../evil", "pics//etc/evil", "pics/a/../../../evil"])
def test_a_member_that_leaves_the_folder_keeps_the_whole_archive_out(tmp_path, root, name):
    path = archive(tmp_path / "a.zip", **{"pics/good.jpg": "good", name: "evil"})
    with pytest.raises(DataError, match=r"not a harmless archive.*leads out of"):
        unpack(path, root, {"pics/*": "pics/"}, {})
    assert files(root) == {}
    assert not list(tmp_path.rglob("evil"))


def test_links_and_encrypted_members_are_refused(tmp_path, root):
    info = zipfile.ZipInfo("pics/link")
    info.external_attr = 0o120777 << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(BrokenArchiveError, match="a link or encrypted"):
        unpack(path, root, {"pics/*": "pics/"}, {})
    body = bytearray(archive(tmp_path / "b.zip", **{"pics/x": "x"}).read_bytes())
    # Bit 0 of the flags, in the central directory.
    body[body.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(body)
    with pytest.raises(BrokenArchiveError, match="a link or encrypted"):
        unpack(tmp_path / "b.zip", root, {"pics/*": "pics/"}, {})
    assert files(root) == {}


def test_what_is_there_is_not_written_over(tmp_path, root):
    path = archive(tmp_path / "a.zip", **{"a/one": "one", "a/two": "two"})
    assert unpack(path, root, {"a/*": "a/"}, {}) == 2
    stamp = (root / "a/one").stat().st_mtime_ns
    assert unpack(path, root, {"a/*": "a/"}, {}) == 2
    assert (root / "a/one").stat().st_mtime_ns == stamp
    (root / "a/two").write_text("own")
    with pytest.raises(DataError, match=r"is there, and is not a/two of a\.zip; move it away first"):
        unpack(path, root, {"a/*": "a/"}, {})
    assert (root / "a/two").read_text() == "own"


def test_damage_is_found_and_leaves_nothing_half_written(tmp_path, root):
    path = archive(tmp_path / "a.zip", **{"a/one": "one" * 100})
    body = bytearray(path.read_bytes())
    body[body.index(b"oneoneone") + 3] = ord("x")
    path.write_bytes(body)
    with pytest.raises(BrokenArchiveError, match="not a whole zip archive: Bad CRC-32"):
        unpack(path, root, {"a/one": "one"}, {})
    assert files(root) == {}
    path.write_bytes(body[:-30])
    with pytest.raises(BrokenArchiveError, match="not a whole zip archive"):
        unpack(path, root, {"a/one": "one"}, {})


def test_an_archive_without_the_member_says_so(tmp_path, root):
    with pytest.raises(DataError, match=r"has no member b/\*; its publisher changed it"):
        unpack(archive(tmp_path / "a.zip", **{"a/one": "one"}), root, {"b/*": "b/"}, {})


def test_what_the_disk_cannot_hold_is_not_begun(tmp_path, root, monkeypatch):
    path = archive(tmp_path / "a.zip", **{"a/one": "one" * 100})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(UsageError, match="10 bytes left, and 300 are needed to unpack"):
        unpack(path, root, {"a/*": "a/"}, {})
    assert files(root) == {}


def test_whoever_stops_it_is_heard_between_files(tmp_path, root):
    path = archive(tmp_path / "a.zip", **{"a/one": "one", "a/two": "two"})
    calls = []

    def stopped():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, root, {"a/*": "a/"}, {}, stopped)
    assert files(root) == {"a/one": b"one"}
