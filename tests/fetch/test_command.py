"""`data fetch` against a server on this machine that publishes the demo benchmark as the benchmarks are published."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from samtok_eval.registry import load_tasks
from tests.support.command import command
from tests.support.faulty_server import answers, breaks_after, hub_answer


def row(tasks, kind, address, **fields):
    fields = {"tasks": tasks, "kind": kind, "address": address, "licence": "as you like", "host": "this machine",
              "checked": "address"} | fields  # fmt: skip

    def value(item):
        if isinstance(item, dict):
            return "{" + ", ".join(f"{value(key)} = {value(inner)}" for key, inner in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        return str(item) if isinstance(item, int) else f"'{item}'"

    return "[[source]]\n" + "".join(f"{key} = {value(item)}\n" for key, item in fields.items())


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, body in files.items():
            file.writestr(name, body)
    return out.getvalue()


@pytest.fixture
def published(server, demo_root, tmp_path):
    """The demo's files on the server, and a table that says where."""

    def body(name):
        return (demo_root / name).read_bytes()

    grefs = body("grefcoco/grefs(unc).json")
    server.files["/grefs(unc).json"] = grefs
    server.files["/instances.json"] = body("grefcoco/instances.json")
    server.files["/refcoco.zip"] = zipped(
        {name: body(name) for name in ("refcoco/instances.json", "refcoco/refs(unc).p")}
    )
    for path in (demo_root / "coco" / "train2014").iterdir():
        server.files[f"/train2014/{path.name}"] = path.read_bytes()
    gcg = {f"val_test/{name}": body(f"gcg/{name}") for name in ("val_gcg_coco_mask_gt.json",
                                                                  "val_gcg_coco_caption_gt.json")}  # fmt: skip
    server.files["/api/datasets/own/gcg/revision/main"] = hub_answer(gcg, "c0ffee", large=tuple(gcg)[:1])
    server.files |= {f"/datasets/own/gcg/resolve/c0ffee/{name}": content for name, content in gcg.items()}
    pngs = {f"panoptic_val2017/{path.name}": path.read_bytes() for path in
            (demo_root / "coco" / "panoptic_val2017").iterdir()}  # fmt: skip
    server.files["/panoptic.zip"] = zipped({"annotations/panoptic_val2017.zip": zipped(pngs)})
    server.files["/val2017.zip"] = zipped(
        {f"val2017/{path.name}": path.read_bytes() for path in (demo_root / "coco" / "val2017").iterdir()}
    )
    at = server.address
    table = tmp_path / "sources.toml"
    table.write_text(
        row(["gres"], "file", f"{at}/grefs(unc).json", path="grefcoco/grefs(unc).json", size=len(grefs),
            sha256=sha256(grefs))
        + row(["gres"], "file", f"{at}/instances.json", path="grefcoco/instances.json")
        + row(["refcoco"], "zip", f"{at}/refcoco.zip", sha256=sha256(server.files["/refcoco.zip"]),
              members={"refcoco/instances.json": "refcoco/instances.json",
                       "refcoco/refs(unc).p": "refcoco/refs(unc).p"})
        + row(["gres", "refcoco"], "pictures", f"{at}/train2014/", path="coco/train2014")
        + row(["gcg"], "hub", f"{at}/datasets/own/gcg@main", pattern="val_test/{split}_gcg_*", below="val_test/",
              path="gcg")
        + row(["gcg"], "by_hand", "https://page/of/pictures", path="gcg/images")
        + row(["scene_graph"], "zip", f"{at}/panoptic.zip",
              inner={"annotations/panoptic_val2017.zip": {"panoptic_val2017/*": "coco/panoptic_val2017/"}})
        + row(["scene_graph"], "by_hand", "https://page/of/psg", path="psg/psg.json")
        + row(["scene_graph"], "pictures", f"{at}/val2017/", path="coco/val2017",
              archive={"address": f"{at}/val2017.zip", "members": {"val2017/*": "coco/val2017/"}})
    )  # fmt: skip
    return server, table


def fetch(table, root, *words):
    return command("data", "fetch", "--sources", table, "--data-root", root, "--tries", "2", *words)


def files_below(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_task_is_there_after_one_command_with_only_the_pictures_of_its_split(published, tmp_path, demo_root):
    server, table = published
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "gres:testA")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gres:testA: from this machine; licence: as you like" in done.stdout
    samples = load_tasks()["gres"].read(root, "testA")
    pictures = {sample.image.path.relative_to(root).as_posix() for sample in samples}
    assert 0 < len(pictures) < len(list((demo_root / "coco" / "train2014").iterdir()))
    assert files_below(root) == {"grefcoco/grefs(unc).json", "grefcoco/instances.json", *pictures}
    assert f"{len(pictures)} pictures got" in done.stdout
    verified = command("data", "verify", "--data-root", root)
    assert "ok   gres:testA" in verified.stdout
    assert server.most_at_once <= 4

    before = server.asked.total()
    again = fetch(table, root, "--task", "gres:testA")
    assert again.returncode == 0
    assert server.asked.total() == before
    assert "there    grefcoco/grefs(unc).json" in again.stdout


def test_pictures_come_first_where_no_annotation_says_how_large_they_are(published, tmp_path, demo_root):
    server, table = published
    files = [path for path in (demo_root / "ferret_bench").rglob("*") if path.is_file() and "reason" not in str(path)]
    names = [path.relative_to(demo_root).as_posix() for path in files]
    server.files |= {f"/{name}": (demo_root / name).read_bytes() for name in names}
    rows = [row(["region_caption:ferret"], "file", f"{server.address}/{name}", path=name) for name in names]
    pictures = row(["region_caption:ferret"], "pictures", f"{server.address}/pictures/", path="coco/val2017")
    table.write_text("".join(rows) + pictures)
    for path in (demo_root / "coco" / "val2017").iterdir():
        server.files[f"/pictures/{path.name}"] = path.read_bytes()
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "region_caption:ferret")
    assert done.returncode == 0, done.stdout + done.stderr
    samples = load_tasks()["region_caption"].read(root, "ferret")
    named = {sample.image.path.relative_to(root).as_posix() for sample in samples}
    assert files_below(root) == {*names, *named}
    assert f"region_caption:ferret: {len(named)} pictures got\n" in done.stdout

    one = sorted(named)[0]
    (root / one).unlink()
    del server.files[f"/pictures/{one.rpartition('/')[2]}"]
    lost = fetch(table, root, "--task", "region_caption:ferret")
    assert (lost.returncode, f"FAIL     region_caption:ferret: {one}: " in lost.stdout) == (2, True)


def test_a_dry_run_writes_nothing_and_says_what_would_come(published, tmp_path):
    server, table = published
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "gres,gcg", "--dry-run")
    assert done.returncode == 0, done.stderr
    size = len(server.files["/grefs(unc).json"])
    assert f"wanted   grefcoco/grefs(unc).json: {size} bytes, {server.address}/grefs(unc).json" in done.stdout
    assert f"gres:val: {size} bytes and 1 file of unknown size to download" in done.stdout
    assert "gres:val: pictures are known once the annotations are there" in done.stdout
    both = sum(len(body) for path, body in server.files.items() if "/resolve/c0ffee/" in path)
    assert f"gcg:val: {both} bytes to download" in done.stdout
    assert "by hand  gcg/images: get it from https://page/of/pictures" in done.stdout
    assert not root.exists()
    assert set(server.asked) == {"/api/datasets/own/gcg/revision/main"}


def test_a_dry_run_beside_annotations_counts_pictures(published, tmp_path):
    _, table = published
    root = tmp_path / "data"
    assert fetch(table, root, "--task", "gres", "--pictures", "none").returncode == 0
    assert not (root / "coco").exists()
    done = fetch(table, root, "--task", "gres", "--limit", "20", "--dry-run")
    count = len({sample.image.path for sample in load_tasks()["gres"].read(root, "val")[:20]})
    assert f"gres:val: {count} of {count} pictures to download" in done.stdout
    assert fetch(table, root, "--task", "gres", "--limit", "20").returncode == 0
    assert len(list((root / "coco" / "train2014").iterdir())) == count


def test_an_archive_is_unpacked_and_removed(published, tmp_path, demo_root):
    server, table = published
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "refcoco", "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert (root / "refcoco" / "refs(unc).p").read_bytes() == (demo_root / "refcoco" / "refs(unc).p").read_bytes()
    assert not list((root / ".fetch").glob("*.zip"))
    (root / "refcoco" / "instances.json").unlink()
    assert fetch(table, root, "--task", "refcoco", "--limit", "3").returncode == 0
    assert server.asked["/refcoco.zip"] == 2
    assert (root / "refcoco" / "instances.json").exists()


def test_a_hub_s_data_set_is_the_other_way_to_refcoco(published, tmp_path):
    from tests.datasets.test_refer_hub import write_parquet

    server, table = published
    write_parquet(tmp_path / "made.parquet")
    file = {"data/refcoco_unc_val-00000-of-00001-1a2b.parquet": (tmp_path / "made.parquet").read_bytes()}
    server.files["/api/datasets/own/refs/revision/v1"] = hub_answer(file, "abcdef", large=tuple(file))
    server.files |= {f"/datasets/own/refs/resolve/abcdef/{name}": body for name, body in file.items()}
    table.write_text(
        table.read_text().replace("kind = 'zip'\n", "kind = 'zip'\nvia = 'original'\n", 1)
        + row(["refcoco:val"], "hub", f"{server.address}/datasets/own/refs@v1", via="hub", below="data/",
              pattern="data/refcoco_unc_{split}-*.parquet", path="refcoco/hub")
    )  # fmt: skip
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "refcoco", "--via", "hub", "--pictures", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_below(root) == {"refcoco/hub/refcoco_unc_val-00000-of-00001-1a2b.parquet"}
    assert len(load_tasks()["refcoco"].read(root, "val")) == 4
    assert "/refcoco.zip" not in server.asked


def test_what_only_a_person_can_get_ends_with_exit_code_2_and_where_to_get_it(published, tmp_path, demo_root):
    server, table = published
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "scene_graph", "--pictures", "zip")
    assert done.returncode == 2
    assert "by hand  psg/psg.json: get it from https://page/of/psg (this machine)" in done.stdout
    assert "not everything is there: 1 by hand" in done.stderr
    names = {path.name for path in (demo_root / "coco" / "panoptic_val2017").iterdir()}
    assert {path.name for path in (root / "coco" / "panoptic_val2017").iterdir()} == names
    (root / "psg").mkdir()
    (root / "psg" / "psg.json").write_bytes((demo_root / "psg" / "psg.json").read_bytes())
    before = server.asked.total()
    again = fetch(table, root, "--task", "scene_graph", "--pictures", "zip")
    assert again.returncode == 0, again.stdout + again.stderr
    assert server.asked.total() == before


def test_failures_are_named_the_rest_comes_and_the_same_command_goes_on(published, tmp_path):
    server, table = published
    root = tmp_path / "data"
    assert fetch(table, root, "--task", "gres", "--pictures", "none").returncode == 0
    samples = load_tasks()["gres"].read(root, "val")
    first, second, third, fourth = [f"/train2014/{n}" for n in dict.fromkeys(s.image.path.name for s in samples)][:4]
    body = server.files.pop(first)
    server.faults[second] = [answers(200, b"\x89PNG no picture")]
    server.faults[third] = [answers(200, server.files[third][: len(server.files[third]) // 2])]
    done = fetch(table, root, "--task", "gres", "--limit", "60")
    assert done.returncode == 2
    assert "404, it is not there" in done.stdout
    assert done.stdout.count("cannot be read") == 2
    assert "3 pictures failed" in done.stdout
    assert "3 pictures missing" in done.stderr
    assert not any((root / "coco" / path[1:]).exists() for path in (first, second, third))
    assert (root / "coco" / fourth[1:]).exists()
    server.files[first] = body
    assert fetch(table, root, "--task", "gres", "--limit", "60").returncode == 0


def test_a_file_of_another_version_is_left_alone_and_named(published, tmp_path):
    server, table = published
    root = tmp_path / "data"
    (root / "grefcoco").mkdir(parents=True)
    own = root / "grefcoco" / "grefs(unc).json"
    own.write_text("[]")
    done = fetch(table, root, "--task", "gres", "--pictures", "none")
    assert done.returncode == 2
    assert f"{own} has 2 bytes instead of" in done.stdout
    assert "move it away to get the published one" in done.stdout
    assert own.read_text() == "[]"
    assert "/grefs(unc).json" not in server.asked


def test_a_damaged_archive_is_thrown_away(published, tmp_path):
    server, table = published
    table.write_text(table.read_text().replace(f"sha256 = '{sha256(server.files['/refcoco.zip'])}'\n", ""))
    server.faults["/refcoco.zip"] = [answers(200, b"PK no archive")]
    root = tmp_path / "data"
    done = fetch(table, root, "--task", "refcoco", "--pictures", "none")
    assert done.returncode == 2
    assert "is not a whole zip archive" in done.stdout
    assert files_below(root) == set()
    assert fetch(table, root, "--task", "refcoco", "--pictures", "none").returncode == 0


def test_a_hub_that_does_not_answer_is_a_failure_beside_the_rest(published, tmp_path):
    server, table = published
    server.faults["/api/datasets/own/gcg/revision/main"] = [answers(404)]
    done = fetch(table, tmp_path / "data", "--task", "gcg,refcoco", "--limit", "1")
    assert done.returncode == 2
    assert "FAIL     gcg/val_test/val_gcg_*" in done.stdout
    assert "got      refcoco/instances.json, refcoco/refs(unc).p" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--task", "gress"], 1, "did you mean gres"),
        (["--task", "gres:half"], 1, "no split 'half'"),
        (["--task", "mmr"], 2, "no source of mmr:val is known; see docs/data.md"),
        (["--task", "gres", "--jobs", "100"], 1, "--jobs"),
        (["--task", "gres", "--via", "torrent"], 1, "--via"),
    ],
)
def test_mistakes_end_with_one_line_and_write_nothing(published, tmp_path, words, code, message):
    _, table = published
    done = fetch(table, tmp_path / "data", *words)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert message in done.stderr
    assert files_below(tmp_path) == {"sources.toml"}


def test_the_demo_is_not_downloaded(published):
    _, table = published
    done = command("data", "fetch", "--sources", table, "--data-root", "demo", "--task", "gres")
    assert (done.returncode, done.stderr) == (1, "error: --data-root demo is built, not downloaded; give a folder\n")


def test_what_the_disk_cannot_hold_is_not_begun(published, tmp_path, monkeypatch):
    from samtok_eval.fetch import plan

    _, table = published
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    done = fetch(table, tmp_path / "data", "--task", "gres")
    assert done.returncode == 1
    assert "has 10 bytes left, and" in done.stderr


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(published, tmp_path):
    server, table = published
    root = tmp_path / "data"
    grefs = server.files["/grefs(unc).json"]
    begun = []

    def slow(handler):
        breaks_after(1000, grefs)(handler)
        handler.wfile.flush()
        begun.append(1)
        time.sleep(20)

    server.faults["/grefs(unc).json"] = [slow]
    words = ["-m", "samtok_eval", "data", "fetch", "--sources", str(table), "--data-root", str(root), "--task", "gres",
             "--pictures", "none", "--jobs", "1", "--timeout", "1"]  # fmt: skip
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    while not begun and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "interrupted; the same command goes on where this one stopped" in errors
    assert fetch(table, root, "--task", "gres", "--pictures", "none").returncode == 0
    assert "bytes=1000-" in server.ranges
