"""Publishing: what the hub's own parsers read back, and what never reaches a benchmark's page."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from samtok_eval.errors import DataError, UsageError
from samtok_eval.registry import load_tasks
from samtok_eval.reports.leaderboard.publish import (
    check_named,
    eval_results_yaml,
    eval_yaml,
    model_index,
    read_eval_yaml,
    upload,
    write_publication,
)
from tests.support.results import DATA, result, value


@pytest.fixture(scope="module")
def tasks():
    return load_tasks()


def test_the_model_index_reads_back_as_it_was_measured(tasks):
    protocols = {"strict": {"giou": value(0.7), "n_acc": value(None)}, "official": {"giou": value(0.71)}}
    card = ModelCard(model_index([result(protocols=protocols), result(split="testA")], tasks=tasks))
    assert card.data.model_name == "org/model"
    found = [(r.dataset_split, r.metric_config, r.metric_type, r.metric_value) for r in card.data.eval_results]
    assert found == [
        ("val", "strict", "giou", 0.7),
        ("val", "official", "giou", 0.71),
        ("testA", "strict", "giou", 0.7),
        ("testA", "strict", "ciou", 0.65),
        ("testA", "strict", "n_acc", 0.5),
    ]
    first = card.data.eval_results[0]
    assert (first.dataset_type, first.dataset_name, first.task_type) == (
        "gres",
        "GRES (gRefCOCO)",
        "image-segmentation",
    )
    assert first.dataset_args == {"questions_sha256": DATA, "samples": 100}
    assert first.metric_name == "gIoU (strict)"
    assert first.metric_args["low"] == 0.68
    assert first.metric_args["signature"] == "task:gres:val|protocol:strict|model:org/model"


def test_a_demo_result_says_so_in_the_card(tasks):
    first = ModelCard(model_index([result(demo=True)], tasks=tasks)).data.eval_results[0]
    assert first.dataset_type == "demo-gres"
    assert first.dataset_name == "DEMO (synthetic scenes, not GRES (gRefCOCO))"


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "got no result"),
        ([result(), result("org/other")], "got org/model abc123, org/other abc123"),
        ([result(), result(revision="def456")], "got org/model abc123, org/model def456"),
    ],
)
def test_a_card_is_about_one_revision_of_one_model(results, message, tasks):
    with pytest.raises(UsageError, match=message):
        model_index(results, tasks=tasks)


def test_eval_results_hold_the_main_metric_under_the_benchmarks_own_rules(tasks):
    protocols = {
        "strict": {"ciou": value(0.6), "giou": value(0.7)},
        "official": {"ciou": value(0.61), "giou": value(0.71)},
    }
    text = eval_results_yaml(
        [result(protocols=protocols), result(split="testA")],
        {"gres": "org/grefcoco", "gres:testA": "org/other"},
        tasks=tasks,
    )
    entries = parse_eval_result_entries(yaml.safe_load(text))
    assert [(e.dataset_id, e.task_id, e.value, e.date) for e in entries] == [
        ("org/grefcoco", "val", 0.71, "2026-01-02T03:04:05Z"),
        ("org/other", "testA", 0.7, "2026-01-02T03:04:05Z"),
    ]
    assert entries[0].notes.startswith("giou, protocol official, 95 % interval 0.6900 to 0.7300, n 100; task:gres:val")


def test_judged_captions_stand_by_their_average_and_name_the_judge(tasks):
    metrics = {"dlc_pos|llama": value(0.4), "dlc_avg|llama": value(0.6), "empty": value(0.0)}
    dlc = result(task="region_caption", split="dlc", protocols={"strict": metrics})
    entry = parse_eval_result_entries(yaml.safe_load(eval_results_yaml([dlc], {"region_caption": "o/d"}, tasks=tasks)))[
        0
    ]
    assert entry.value == 0.6
    assert entry.notes.startswith("dlc_avg|llama, protocol strict")


@pytest.mark.parametrize(
    ("results", "datasets", "message"),
    [
        ([result(demo=True)], {"gres": "o/d"}, "run on the demo's scenes"),
        ([result()], {"gcg": "o/d"}, "gres:val has no dataset on the hub; name it, e.g. gres=org/name"),
        ([result(protocols={"strict": {"ciou": value(0.6)}})], {"gres": "o/d"}, "has no giou under strict"),
        ([result(), result(task="refcoco")], {"gres": "o/d"}, "results of one task"),
    ],
)
def test_what_does_not_belong_on_a_benchmarks_page_is_refused(tasks, results, datasets, message):
    with pytest.raises(UsageError, match=message):
        eval_results_yaml(results, datasets, tasks=tasks)


def test_a_publication_is_a_folder_and_twice_the_same_bytes(tmp_path, tasks):
    results = [result(), result(demo=True, task="refcoco", protocols={"strict": {"ciou": value(0.9)}})]
    written = write_publication(results, tmp_path, {"gres": "org/grefcoco"}, tasks=tasks)
    names = ["README.md", ".eval_results/gres.yaml", "benchmarks/org__grefcoco/eval.yaml"]
    assert [path.relative_to(tmp_path).as_posix() for path in written] == names
    before = [path.read_bytes() for path in written]
    write_publication(results, tmp_path, {"gres": "org/grefcoco"}, tasks=tasks)
    assert [path.read_bytes() for path in written] == before
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "README.md",
        "eval.yaml",
        "gres.yaml",
    ]


def test_a_benchmarks_eval_yaml_names_the_tasks_of_its_results_in_the_hubs_format(tmp_path, tasks):
    write_publication([result(), result(split="testA")], tmp_path, {"gres": "org/grefcoco"}, tasks=tasks)
    path = tmp_path / "benchmarks" / "org__grefcoco" / "eval.yaml"
    assert yaml.safe_load(path.read_text()) == {
        "name": "GRES (gRefCOCO)",
        "description": "GRES (gRefCOCO), scored by samtok-eval: giou under the protocol strict",
        "evaluation_framework": "samtok-eval",
        "tasks": [{"id": split, "config": "default", "split": split} for split in ("testA", "val")],
    }
    entries = parse_eval_result_entries(yaml.safe_load((tmp_path / ".eval_results" / "gres.yaml").read_text()))
    check_named(entries, read_eval_yaml(path), str(path))


def test_a_benchmarks_own_eval_yaml_is_kept_and_must_have_the_tasks_of_the_results(tmp_path, tasks):
    path = tmp_path / "benchmarks" / "org__grefcoco" / "eval.yaml"
    path.parent.mkdir(parents=True)
    own = "name: N\ndescription: D\nevaluation_framework: math-arena\ntasks:\n  - id: val\n    config: default\n"
    path.write_text(own)
    datasets = {"gres": "org/grefcoco"}
    assert path not in write_publication([result()], tmp_path, datasets, tasks=tasks)
    assert path.read_text() == own
    with pytest.raises(DataError, match=r"eval\.yaml has the tasks val, and a result names 'testA'; add it there"):
        write_publication([result(), result(split="testA")], tmp_path, datasets, tasks=tasks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: N\n", "description"),
        ("name: N\ndescription: D\nevaluation_framework: x\ntasks: []\n", "tasks"),
        ("name: N\ndescription: D\nevaluation_framework: x\ntasks: [{split: val}]\n", "id"),
        ("name: N\ndescription: D\nevaluation_framework: x\ntasks: [{id: a}, {id: a}]\n", "ids of their own, got a, a"),
        ("name: N\ndescription: D\nevaluation_framework: A b\ntasks: [{id: a}]\n", "evaluation_framework"),
        ("name: N\ndescription: D\nevaluation_framework: x\nsolvers: []\ntasks: [{id: a}]\n", "solvers"),
        ("- a\n", "EvalYaml"),
        ("name: [\n", "well-formed YAML"),
    ],
)
def test_an_eval_yaml_of_another_format_is_refused(tmp_path, text, message):
    path = tmp_path / "eval.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_eval_yaml(path)


@pytest.mark.parametrize(
    ("results", "framework", "message"),
    [
        (
            [result(), result(task="refcoco", protocols={"strict": {"ciou": value(0.6)}})],
            "samtok-eval",
            "gres:val, refcoco:val have the same split names in one data set",
        ),
        ([result()], "My Framework", "no eval.yaml of gres: evaluation_framework"),
        ([result(demo=True)], "samtok-eval", "run on the demo's scenes"),
    ],
)
def test_an_eval_yaml_that_the_hub_would_refuse_is_not_written(tasks, results, framework, message):
    with pytest.raises(UsageError, match=message):
        eval_yaml(results, framework, tasks=tasks)


def test_records_that_can_be_had_are_the_source_of_a_result(tasks):
    records = {"sha256": DATA, "place": "https://example.org/records.gz"}
    text = eval_results_yaml([result(records=records)], {"gres": "o/d"}, tasks=tasks)
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert entry.source_url == "https://example.org/records.gz"
    beside = eval_results_yaml([result(records=records | {"place": None})], {"gres": "o/d"}, tasks=tasks)
    assert parse_eval_result_entries(yaml.safe_load(beside))[0].source_url is None


def test_demo_results_and_benchmarks_without_a_page_stay_in_the_card(tmp_path, tasks):
    written = write_publication([result(demo=True)], tmp_path / "demo", {"gres": "org/grefcoco"}, tasks=tasks)
    assert written == [tmp_path / "demo" / "README.md"]
    assert write_publication([result()], tmp_path / "own", tasks=tasks) == [tmp_path / "own" / "README.md"]


def test_a_card_that_is_there_keeps_what_others_wrote(tmp_path, tasks):
    other = model_index([result(task="refcoco", protocols={"strict": {"ciou": value(0.9)}})], tasks=tasks)
    head = other.removesuffix("---\n")
    (tmp_path / "README.md").write_text(f"{head}license: apache-2.0\n---\n# My model\n\nText.\n")
    write_publication([result(protocols={"strict": {"giou": value(0.1)}})], tmp_path, tasks=tasks)
    write_publication([result(protocols={"strict": {"giou": value(0.7)}})], tmp_path, tasks=tasks)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.text.strip() == "# My model\n\nText."
    assert card.data.license == "apache-2.0"
    assert [(r.dataset_type, r.metric_value) for r in card.data.eval_results] == [("refcoco", 0.9), ("gres", 0.7)]


def test_without_the_extra_the_missing_module_is_named(monkeypatch, tasks):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="huggingface_hub"):
        model_index([result()], tasks=tasks)


class FakeHub(BaseHTTPRequestHandler):
    """As much of the hub as one commit needs; keeps what was sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(self.path)
        if "/preupload/main" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif "/commit/main" in self.path and self.server.refuses:
            self.answer(403, {"error": "no write access"})
        elif "/commit/main" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.sent += [line["value"]["path"] for line in lines if line["key"] == "file"]
            where = f"http://{self.headers['host']}/org/model"
            self.answer(
                200, {"commitUrl": f"{where}/commit/1", "commitOid": "1", "pullRequestUrl": f"{where}/discussions/1"}
            )
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def do_GET(self):
        self.answer(404, {"error": "not found"})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.seen, server.sent, server.refuses = [], [], False
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_upload_is_one_commit_of_what_was_written(tmp_path, tasks, hub):
    write_publication([result()], tmp_path, {"gres": "org/grefcoco"}, tasks=tasks)
    (tmp_path / "model.safetensors").write_bytes(b"not ours to send")
    address = upload(tmp_path, "org/model", endpoint=hub.address, token="hf_x")
    assert sorted(hub.sent) == [".eval_results/gres.yaml", "README.md"]
    assert len([path for path in hub.seen if "/commit/" in path]) == 1
    assert address.endswith("/org/model/discussions/1")


def test_a_refused_upload_ends_with_a_message(tmp_path, tasks, hub):
    hub.refuses = True
    write_publication([result()], tmp_path, tasks=tasks)
    with pytest.raises(UsageError, match=r"^org/model was not written: 403 Forbidden.*no write access; check name"):
        upload(tmp_path, "org/model", endpoint=hub.address, token="hf_x")


def test_an_upload_without_a_connection_ends_with_a_message(tmp_path, tasks):
    write_publication([result()], tmp_path, tasks=tasks)
    with pytest.raises(UsageError, match="org/model was not written"):
        upload(tmp_path, "org/model", endpoint="http://127.0.0.1:9", token="hf_x")


@pytest.mark.parametrize(
    ("repo", "message"), [("model", "expected a repository org/model"), ("org/model", "holds no README")]
)
def test_an_upload_without_a_card_or_name_is_refused(tmp_path, repo, message):
    with pytest.raises(UsageError, match=message):
        upload(tmp_path, repo, endpoint="http://127.0.0.1:9")
