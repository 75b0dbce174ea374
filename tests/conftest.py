"""Shared fixtures: the bundled checkpoint, a small demo data root, and folders that only some machines have."""

from __future__ import annotations

import fcntl
import functools
import json
import logging
import os
import resource
import shutil
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from samtok_eval import masks
from samtok_eval.demo import benchmark
from samtok_eval.metrics import caption_programs, captions, judges

# A busy machine is no failure. Every run has the same examples, `make fuzz` draws others.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

# A job in a shell's background does not hear Ctrl-C, and neither would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers share the cores, where threads that wait for one another cost more than they give; and some tests fork, which
# torch does not survive once it has threads. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A file of the reference data, or a skip with the reason."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is not on this machine")
    return path


LONG = ("e2e", "training", "demo", "run")
"""Folders whose files take longest."""


def pytest_collection_modifyitems(items):
    """Long files first, so that at the end no process waits long for another."""
    items.sort(key=lambda item: not set(LONG) & set(item.nodeid.partition("::")[0].split("/")))


@pytest.fixture(autouse=True)
def usual_log_level() -> None:
    """Commands raise the level of the program's log; the next test starts without that."""
    logging.getLogger("samtok_eval").setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def one_meteor():
    """METEOR, which takes ten seconds of work to start, is started once for all runs in this process."""
    started = []

    def scorer():
        caption_programs.probe()
        if not started:
            started.append(captions.CaptionScorer())
            # Each run would end it.
            started[0].close = lambda: None
        return started[0]

    patch = pytest.MonkeyPatch()
    patch.setattr(judges, "CaptionScorer", scorer)
    yield scorer
    patch.undo()
    for each in started:
        captions.CaptionScorer.close(each)


@pytest.fixture
def nearly_full_disk():
    """A context in which files of this process end after four bytes, as where a disk is full."""

    @contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo benchmark, built afresh by this code, once for all processes of a session."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out = base / "data" / "demo"
    with (base / "data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            benchmark.build_demo(out)
    return out


@pytest.fixture(scope="session")
def demo_tokenizer():
    """The bundled mask tokenizer."""
    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer import MaskTokenizer

    return MaskTokenizer.from_pretrained(DEMO_CHECKPOINT)


@pytest.fixture
def endpoint():
    """An OpenAI-compatible server; `behave` gives a reply to a prompt, an error's status, or any body as bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.seen.append(body)
            reply = server.behave(body["messages"][0]["content"])
            status = reply if isinstance(reply, int) else 200
            content = {
                "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                "choices": [{"index": 0, "message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}],
            }  # fmt: skip
            content = content if isinstance(reply, str) else {"error": {"message": "no"}}
            data = reply if isinstance(reply, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.behave = [], lambda prompt: "A"
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def scored(demo_root: Path, tmp_path_factory: pytest.TempPathFactory):
    """A function that scores lines of predictions into a run folder; equal ones are scored once per session.

    Scoring reads all the task's masks again, which takes longer than most tests about finished runs.
    """
    from samtok_eval.run.evaluate import score_file
    from samtok_eval.run.settings import RunOptions

    kept: dict[str, Path] = {}

    def score(folder: Path, lines: str, **options) -> None:
        key = repr((lines, sorted(options.items())))
        if key not in kept:
            kept[key] = tmp_path_factory.mktemp("scored") / "run"
            path = kept[key] / "predictions" / "part-0.jsonl"
            path.parent.mkdir(parents=True)
            path.write_text(lines)
            score_file(RunOptions(data_root=str(demo_root), out=kept[key], **options), path)
        shutil.copytree(kept[key], folder)
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace(str(kept[key]), json.dumps(str(folder))[1:-1]))

    return score


@pytest.fixture(scope="session")
def demo_samples(demo_root: Path):
    """A function that gives the first samples of a task's usual split, read once per session."""
    from samtok_eval.registry import load_tasks
    from samtok_eval.run.samples import read_samples

    @functools.cache
    def first(task: str, limit: int | None):
        known = load_tasks()[task]
        return tuple(read_samples(known, known.metadata.default_split, str(demo_root), limit))

    return first


@pytest.fixture
def make_run(demo_samples, scored, tmp_path: Path):
    """A function that writes a finished run folder: `make_run(name, masks_of)`.

    `masks_of(sample)` gives the answered masks, or None for a sample without an answer. Answers have text, codes and
    decoded masks, as a model's have; a code pair stands for a mask, whatever sample it is in. With `model` and
    `tokenizer` the run says that this backend answered, with the mask tokenizer of this hash.
    """
    from samtok_eval.mask_tokens import Codes, render

    pairs: dict[str, Codes] = {}

    def make(name, masks_of, task="gres", limit=80, text_of=None, model=None, tokenizer=None, **options) -> Path:
        folder = tmp_path / "runs" / name
        lines = []
        for sample in demo_samples(task, limit):
            masks = masks_of(sample)
            if masks is None:
                continue
            codes = [pairs.setdefault(mask.counts, Codes(*divmod(len(pairs), 256))) for mask in masks]
            text = text_of(sample, codes) if text_of else f"It is {render(codes)}."
            decoded = {pair.key: mask.to_coco() for pair, mask in zip(codes, masks, strict=True)}
            lines.append(json.dumps({"id": sample.id, "text": text, "decoded": decoded, "status": "ok", "error": None,
                                     "seconds": {"generate": 0.01}}))  # fmt: skip
        scored(folder, "".join(line + "\n" for line in lines), task=task, limit=limit, **options)

        def told(manifest):
            manifest["model"] = {"name": name, "identity": {"model": model} if model else manifest["model"]["identity"]}
            manifest["tokenizer_sha256"] = tokenizer

        edit_manifest(folder, told)
        return folder

    return make


def edit_manifest(folder, change):
    """Change a run's manifest and make its key and signatures anew, as if the run had been made so."""
    from samtok_eval.run.manifest import manifest_of
    from samtok_eval.run.signature import sealed

    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(sealed(manifest_of(manifest), manifest["signature"]).to_json()))


def right(sample):
    """The true masks as an answer."""
    return sample.target.masks


def shifted(pixels):
    """A function that answers with the true masks moved to the right."""

    def masks_of(sample):
        moved = []
        for rle in sample.target.masks:
            mask = np.roll(masks.decode(rle), pixels, axis=1)
            mask[:, :pixels] = False
            moved.append(masks.encode(mask))
        return tuple(moved)

    return masks_of
