"""What is fuzzed: for each target some good files, which of them are damaged, and the command that reads them.

A command runs in this process as the shell would run it. It may end with the exit codes that are documented for bad
input and with one line of error; whatever else leaves it is a finding, and so is a file that it left half written.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from tests.fuzz import outputs
from tests.fuzz.mutations import damaged, damaged_text, hostile
from tests.support.command import command as typed

LONGEST_LINE = 300
"""Characters of an error that a user gets, without the word before it."""
REFUSED = frozenset({0, 1, 2, 5})
"""Fine, usage, data, incomplete: what bad files may end in."""
GATED = REFUSED | {4, 6}


class FindingError(AssertionError):
    """Something that must not happen."""


@dataclass(frozen=True)
class Target:
    """Something that reads files."""

    name: str
    prepare: Callable[[Path], None]
    """Writes the good files into an empty folder."""
    damaged: tuple[str, ...]
    """Patterns of those that are damaged."""
    read: Callable[[Path], None]
    """Reads them; raises `FindingError`, or whatever slipped through."""
    damage: Callable[[Random, str, bytes], bytes] = damaged
    kept: tuple[str, ...] = ()
    """Patterns of files that a command writes and the next case finds."""
    weight: int = 10
    """How often it is drawn, beside the others."""
    tags: frozenset[str] = field(default=frozenset())


def command(*words: str | Path, codes: frozenset[int] = REFUSED) -> int:
    """Run a command as the shell does; its exit code.

    Raises:
        FindingError: another exit code, or an error that is not one short line.
    """
    done = typed(*words)
    code, err = done.returncode, done.stderr
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    if code not in codes:
        raise FindingError(f"exit code {code}: {told}")
    # A gate says its verdict as an error.
    if code and len(told) != 1:
        raise FindingError(f"exit code {code} with {len(told)} lines of error: {err[-600:]}")
    for line in told:
        if len(line) > LONGEST_LINE + len("error: "):
            raise FindingError(f"a line of {len(line)} characters: {line[:400]}")
    return code


# ---- good files ----


@cache
def tiny_root() -> Path:
    """The demo benchmark with one scene a split, made once for this process."""
    import tempfile

    from samtok_eval.demo import benchmark

    root = Path(tempfile.mkdtemp(prefix="fuzz-")) / "data"
    few = dict.fromkeys(benchmark.SPLIT_SCENES, 1)
    with mock.patch.object(benchmark, "SPLIT_SCENES", few), mock.patch.object(benchmark, "MULTI_ROUND_SCENES", 1):
        benchmark.build_demo(root)
    return root


def good_answers(task: Any, samples: Any) -> str:
    """Lines of predictions as a run writes them, all right."""
    from samtok_eval.mask_tokens import Codes

    lines = []
    for sample in samples:
        written = task.written(sample)
        codes = [Codes(index % 256, 7) for index in range(len(written))]
        decoded = {pair.key: mask.to_coco() for pair, mask in zip(codes, written, strict=True)}
        row = {"id": sample.id, "text": task.answer(sample, codes), "decoded": decoded, "status": "ok", "error": None,
               "seconds": {"generate": 0.1}}  # fmt: skip
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def copied(root: Path, names: tuple[str, ...]) -> None:
    """Parts of the data, pictures as links."""
    for name in names:
        source = tiny_root() / name
        if source.is_dir():
            shutil.copytree(source, root / name, symlinks=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)


def _prepare_task(name: str, split: str, folders: tuple[str, ...]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        from samtok_eval.registry import load_tasks

        copied(folder / "data", folders)
        if "coco" not in folders:
            (folder / "data").mkdir(exist_ok=True)
            (folder / "data" / "coco").symlink_to(tiny_root() / "coco")
        task = load_tasks()[name]
        (folder / "predictions.jsonl").write_text(good_answers(task, task.read(folder / "data", split)))

    return prepare


def _score(name: str, split: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        command(
            "score", "--task", f"{name}:{split}", "--data-root", folder / "data", "--out", folder / "out",
            "--predictions", folder / "predictions.jsonl",
        )  # fmt: skip

    return read


@dataclass(frozen=True)
class _Split:
    task: str
    split: str
    folders: tuple[str, ...]
    files: tuple[str, ...]


SPLITS = (
    _Split("gres", "val", ("grefcoco",), ("grefcoco/*.json",)),
    _Split("refcoco", "val", ("refcoco",), ("refcoco/*",)),
    _Split("refcoco+", "val", ("refcoco+",), ("refcoco+/*",)),
    _Split("refcocog", "val", ("refcocog",), ("refcocog/*",)),
    _Split("refcoco-m", "val", ("refcoco-m",), ("refcoco-m/data/*",)),
    _Split("gcg", "val", ("gcg",), ("gcg/val_*.json",)),
    _Split("grounding_suite", "eval", ("grounding_suite",), ("grounding_suite/*.jsonl",)),
    _Split("interactive", "refcoco", ("segllm",), ("segllm/mr_refcoco_val_sampled.json",)),
    _Split("interactive", "paco", ("segllm",), ("segllm/mr_paco_val_sampled.json",)),
    _Split("mmr", "val", ("mmr",), ("mmr/*.json",)),
    _Split("reasonseg", "val", ("reasonseg",), ("reasonseg/val/*",)),
    _Split("reconstruction", "refcoco-val", ("refcoco",), ("refcoco/*",)),
    _Split("reconstruction", "gar", ("gar_bench",), ("gar_bench/*.json",)),
    _Split("reconstruction", "entityseg", ("entityseg",), ("entityseg/*.json",)),
    _Split("region_caption", "refcocog-val", ("refcocog",), ("refcocog/*",)),
    _Split("region_caption", "vg", ("visual_genome",), ("visual_genome/*.json",)),
    _Split("region_caption", "dlc", ("dlc_bench",), ("dlc_bench/*.json",)),
    _Split("region_caption", "gar-detail", ("gar_bench",), ("gar_bench/*Detailed.json",)),
    _Split("region_caption", "gar-simple", ("gar_bench",), ("gar_bench/*Simple.json",)),
    _Split("region_caption", "ferret", ("ferret_bench",), ("ferret_bench/*.json", "ferret_bench/**/*.jsonl")),
    _Split("region_caption", "videorefer", ("videorefer_bench",), ("videorefer_bench/*.json",)),
    _Split("region_class", "lvis", ("osprey",), ("osprey/lvis*.json",)),
    _Split("region_vqa", "test", ("gar_bench",), ("gar_bench/GAR-Bench-VQA.json",)),
    _Split("scene_graph", "test", ("psg", "coco"), ("psg/psg.json", "coco/panoptic_val2017/*")),
    _Split("scene_graph", "val", ("psg", "coco"), ("psg/psg_val.json", "coco/panoptic_val2017/*")),
)


def _damaged_answer(rng: Random, name: str, content: bytes) -> bytes:
    """Predictions whose texts alone are damaged."""
    del name
    rows = [json.loads(line) for line in content.splitlines()]
    for _ in range(rng.choice([1, 1, 3])):
        row = rng.choice(rows)
        row["text"] = damaged_text(rng, row["text"])
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _of_splits() -> Iterator[Target]:
    for each in SPLITS:
        name, prepare = f"{each.task}:{each.split}", _prepare_task(each.task, each.split, each.folders)
        read, files = _score(each.task, each.split), tuple(f"data/{pattern}" for pattern in each.files)
        yield Target(f"data {name}", prepare, files, read)
        yield Target(f"predictions {name}", prepare, ("predictions.jsonl",), read, weight=4)
        yield Target(f"answers {name}", prepare, ("predictions.jsonl",), read, _damaged_answer, weight=6)


# ---- run folders ----


def _prepare_runs(folder: Path) -> None:
    """Two finished runs, and tolerances for a gate."""
    _prepare_task("gres", "val", ("grefcoco",))(folder)
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for name, worse in (("baseline", 0), ("candidate", 2)):
        run = folder / "runs" / name
        for row in rows[:worse]:
            row["text"], row["decoded"] = "nothing", {}
        (run / "predictions").mkdir(parents=True)
        part = run / "predictions" / "part-0.jsonl"
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command("score", "--task", "gres", "--data-root", folder / "data", "--out", run, "--predictions", part)
    (folder / "tolerances.toml").write_text('alpha = 0.05\non_undecided = "warn"\n\n[gres]\ngiou = 0.5\nciou = 1.0\n')


def _gate(folder: Path) -> None:
    runs = folder / "runs"
    words = [
        "gate",
        "--baseline",
        runs / "baseline",
        "--candidate",
        runs / "candidate",
        "--tolerances",
        folder / "tolerances.toml",
        "--junit",
        folder / "out" / "junit.xml",
        "--json",
        folder / "out" / "x.json",
    ]
    command(*words, "--summary", folder / "summary.md", codes=GATED)
    outputs.check_folder(folder)


def _compare(folder: Path) -> None:
    command("compare", folder / "runs" / "baseline", folder / "runs" / "candidate", "--published", "")
    command("runs", folder / "runs", "--json", folder / "out" / "runs.json")
    command("plan", "--baseline", folder / "runs" / "baseline")


def _report(folder: Path) -> None:
    command("report", folder / "runs" / "baseline", folder / "runs" / "candidate", "--out", folder / "out")
    outputs.check_folder(folder)


def _again(folder: Path) -> None:
    words = ["score", "--task", "gres", "--data-root", folder / "data", "--out", folder / "out"]
    command(*words, "--predictions", folder / "runs" / "candidate")


RUN_FILES = ("runs/candidate/manifest.json", "runs/candidate/metrics.json", "runs/candidate/records.jsonl",
             "runs/candidate/predictions/*.jsonl")  # fmt: skip


def _renamed(rng: Random, name: str, content: bytes) -> bytes:
    """A run whose model, ids and phrases are hostile, and which is whole otherwise."""
    from samtok_eval.run.manifest import manifest_of
    from samtok_eval.run.signature import sealed
    from tests.fuzz.mutations import TEXTS

    word = rng.choice([text for text in TEXTS if len(text) < 400 and "\ud800" not in text])
    if name.endswith("manifest.json"):
        manifest = json.loads(content)
        manifest["model"]["name"] = word
        manifest["dataset"]["root"] = rng.choice([manifest["dataset"]["root"], word])
        return json.dumps(sealed(manifest_of(manifest), manifest["signature"]).to_json()).encode()
    rows = [json.loads(line) for line in content.splitlines()]
    which, number = rng.choice(["phrase", "id", "image_id"]), rng.randrange(len(rows))
    mine = rows[number]["id"]
    for row in rows:
        if row["id"] == mine:
            row[which] = f"{word}{row['id']}" if which == "id" else word
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# ---- leaderboards ----

BOARD_FILES = ("board/*.csv", "board/results/**/*.json")


def _prepare_board(folder: Path) -> None:
    """A folder with a few published numbers and two results of ours."""
    import csv

    from tests.support.results import PUBLISHED

    board = folder / "board"
    board.mkdir()
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.reader(file))
    with (board / "published.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [rows[0], *(r for r in rows[1:] if r[0].startswith("GRES"))][:30]
        )
    for name in ("authors.csv", "computed_by.csv"):
        lines = (PUBLISHED.parent / name).read_text().splitlines(keepends=True)
        (board / name).write_text("".join(lines[:8]))
    _prepare_runs(folder)
    for name in ("baseline", "candidate"):
        command("leaderboard", "submit", folder / "runs" / name, "--model", f"org/{name}", "--revision", "abc1234",
                "--folder", board)  # fmt: skip


def _build(folder: Path) -> None:
    command("leaderboard", "build", "--folder", folder / "board")
    outputs.check_folder(folder / "board")


def _hostile_board(rng: Random, name: str, content: bytes) -> bytes:
    """Cells of the CSV files replaced by names that no format should obey."""
    import csv

    from tests.fuzz.mutations import FORMULAS, MARKUP, PATHS

    if not name.endswith(".csv") or rng.random() < 0.3:
        return damaged(rng, name, content)
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(rng.choice([1, 2, 4])):
        row = rng.randrange(1, len(rows)) if len(rows) > 1 else 0
        cell = rng.randrange(len(rows[row]))
        rows[row][cell] = rng.choice([*FORMULAS, *MARKUP, *PATHS, str(hostile(rng))[:300]])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


# ---- judges, settings, logs ----

JUDGE_FILES = ("replies.jsonl", "eval.json", "review.jsonl", "rated.json")


def _prepare_judged(folder: Path) -> None:
    _prepare_task("region_caption", "dlc", ("dlc_bench",))(folder)
    rows = [{"judge": "a judge", "prompt": f"prompt {i}", "reply": "A"} for i in range(3)]
    (folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval.json").write_text(json.dumps({"1": {"prompt": ["a", "b"], "response": ["A", "B"]}, "avg": 0.5}))
    (folder / "review.jsonl").write_text(
        json.dumps({"question_id": 1, "answer2": "x", "content": "8 9", "tuple": [8, 9], "category": "c"}) + "\n"
    )
    rated = [{"caption": "a", "pred": "b", "gpt": {"score": 3}}]
    (folder / "rated.json").write_text(json.dumps(rated))


def _judged(folder: Path) -> None:
    for name in JUDGE_FILES:
        command("score", "--task", "region_caption:dlc", "--data-root", folder / "data", "--out", folder / "out",
                "--predictions", folder / "predictions.jsonl", "--judge", f"replay:{folder / name}")  # fmt: skip


def _prepare_settings(folder: Path) -> None:
    _prepare_task("gres", "val", ("grefcoco",))(folder)
    (folder / "run.toml").write_text('task = "gres"\nlimit = 3\nseed = 1\nprotocols = ["strict"]\nbatch_size = 4\n')
    (folder / "run.yaml").write_text("task: gres\nlimit: 3\nseed: 1\nprotocols: [strict]\nbatch_size: 4\n")
    log = "".join(json.dumps({"step": i, "loss": 1 / (i + 1), "rate": 0.1, "seconds": 1.5}) + "\n" for i in range(5))
    (folder / "training_log.jsonl").write_text(log)


def _settings(folder: Path) -> None:
    for name in ("run.toml", "run.yaml"):
        command("score", "--config", folder / name, "--data-root", folder / "data", "--out", folder / "out",
                "--predictions", folder / "predictions.jsonl")  # fmt: skip
    command("curves", folder / "training_log.jsonl", "--field", "loss", "--out", folder / "out" / "x.svg")


# ---- checkpoints and training data ----


def _prepare_checkpoint(folder: Path) -> None:
    """A mask tokenizer of some thousand parameters, and the bundled model's small files beside it."""
    import torch

    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
    from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

    config = json.loads((DEMO_CHECKPOINT / "mask_tokenizer" / "config.json").read_text())
    del config["model_type"]
    torch.manual_seed(0)
    MaskTokenizer(MaskTokenizerConfig(**config)).save_pretrained(folder / "model" / "mask_tokenizer")
    for path in DEMO_CHECKPOINT.iterdir():
        if path.is_file() and path.suffix != ".jsonl":
            shutil.copy(path, folder / "model" / path.name)


def _load_mask_tokenizer(folder: Path) -> None:
    from samtok_eval.tokenizer import MaskTokenizer

    _refused(lambda: MaskTokenizer.from_pretrained(folder / "model"))


def _run_checkpoint(folder: Path) -> None:
    command("run", "--task", "gres", "--model", folder / "model", "--data-root", tiny_root(), "--limit", "1", "--out",
            folder / "out", "--max-new-tokens", "4", "--quiet", codes=REFUSED | {3})  # fmt: skip


def _prepare_sft(folder: Path) -> None:
    copied(folder, ("coco",))
    picture = next((folder / "coco" / "train2014").iterdir()).relative_to(folder)
    talk = [{"from": "human", "value": "<image>\nWhere is the dog?"},
            {"from": "gpt", "value": "<|mt_start|><|mt_0044|><|mt_0442|><|mt_end|>"}]  # fmt: skip
    rows = [{"id": str(i), "image": str(picture), "conversations": talk} for i in range(3)]
    (folder / "sft.json").write_text(json.dumps(rows))
    (folder / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _validate_sft(folder: Path) -> None:
    for name in ("sft.json", "sft.jsonl"):
        command("tokenize", "--validate", folder / name, "--data-root", folder)


SOURCE_FILES = ("refcoco/instances.json", "panoptic.json", "panoptic/a.png", "prompts.jsonl")


def _prepare_sources(folder: Path) -> None:
    """A COCO file, a panoptic one, and prompts for reinforcement."""
    from PIL import Image

    copied(folder, ("coco/train2014", "refcoco/instances.json"))
    pictures = sorted((folder / "coco" / "train2014").iterdir())
    (folder / "panoptic").mkdir()
    Image.new("RGB", (128, 128), (7, 0, 0)).save(folder / "panoptic" / "a.png")
    listed = [{"id": 1, "file_name": pictures[0].name, "height": 128, "width": 128}]
    segments = [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7}, {"id": 8}]}]
    (folder / "panoptic.json").write_text(json.dumps({"images": listed, "annotations": segments}))
    row = {"problem": "<image>\nSegment it.", "answer": "No target.", "source": "thinking_gres"}
    cycle = {"cap_problem": "<image>\nDescribe it.", "seg_answer": "x", "source": "cycle"}
    rows = [{**each, "images": [f"coco/train2014/{pictures[0].name}"]} for each in (row, cycle)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


def _refused(read: Callable[[], object]) -> None:
    """Read something that no command reads alone."""
    from samtok_eval.errors import SamtokError

    try:
        read()
    except SamtokError as error:
        if len(str(error)) > 1000:
            raise FindingError(f"no short line: {error}") from error


def _sources(folder: Path) -> None:
    from samtok_eval.training.grpo.prompts import read_prompts
    from samtok_eval.training.tokenizer.sources import open_source

    def every(spec: str) -> None:
        source = open_source(spec)
        for index in range(len(source)):
            opened = source.open(index)
            for number in range(opened.count):
                # What is broken in one mask is counted by who trains.
                with contextlib.suppress(ValueError):
                    opened.mask(number)

    _refused(lambda: every(f"coco:{folder / 'refcoco' / 'instances.json'}@{folder / 'coco' / 'train2014'}"))
    _refused(lambda: every(f"panoptic:{folder / 'panoptic.json'}@{folder / 'coco' / 'train2014'}"))
    _refused(lambda: read_prompts(folder / "prompts.jsonl"))


def _prepare_replies(folder: Path) -> None:
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "an answer"}, "finish_reason": "stop",
         "token_ids": [1, 2]}], "usage": {"prompt_tokens": 1}}  # fmt: skip
    (folder / "body.json").write_text(json.dumps(body))


def _replies(folder: Path) -> None:
    """What the clients of served models and of judges do with the body of a reply."""
    from pydantic import ValidationError

    from samtok_eval.metrics.judge import _reply
    from samtok_eval.models.openai.client import Completion

    content = (folder / "body.json").read_bytes()
    with contextlib.suppress(ValueError):
        _reply(content)
    with contextlib.suppress(ValidationError):
        found = Completion.model_validate_json(content)
        assert isinstance(found.text, str)
        assert found.token_ids is None or all(isinstance(word, int) for word in found.token_ids)


def _prepare_official(task: str, split: str, folders: tuple[str, ...]) -> Callable[[Path], None]:
    """Answers in the benchmark's own format, as scoring writes them."""

    def prepare(folder: Path) -> None:
        _prepare_task(task, split, folders)(folder)
        _score(task, split)(folder)
        shutil.move(folder / "out" / "official_format", folder / "official")
        shutil.rmtree(folder / "out")

    return prepare


def _score_official(task: str, split: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        words = ["score", "--task", f"{task}:{split}", "--data-root", folder / "data", "--out", folder / "out"]
        command(*words, "--predictions", folder / "official")

    return read


EXPORTED = ("gcg:val", "grounding_suite:eval", "region_caption:dlc", "region_caption:gar-simple",
            "region_caption:ferret", "region_vqa:test")  # fmt: skip


def _of_official() -> Iterator[Target]:
    for each in SPLITS:
        name = f"{each.task}:{each.split}"
        if name in EXPORTED:
            prepare = _prepare_official(each.task, each.split, each.folders)
            yield Target(f"official {name}", prepare, ("official/*",), _score_official(each.task, each.split), weight=6)


def _prepare_stored(folder: Path) -> None:
    _prepare_board(folder)
    (stored,) = (folder / "board" / "results" / "org__baseline").rglob("*.json")
    shutil.copy(stored, folder / "stored.json")


def _stored(folder: Path) -> None:
    words = ["gate", "--baseline", folder / "stored.json", "--candidate", folder / "runs" / "candidate"]
    command(*words, codes=GATED)
    command("leaderboard", "verify", "--folder", folder / "board")
    command("leaderboard", "publish", "org/baseline", "--revision", "abc1234", "--folder", folder / "board", "--out",
            folder / "out")  # fmt: skip


STORED_FILES = ("stored.json", "board/results/**/*.json", "board/results/**/*.gz")


TARGETS: tuple[Target, ...] = (
    *_of_splits(),
    Target("run folder, gate", _prepare_runs, (*RUN_FILES, "tolerances.toml"), _gate, weight=30),
    Target("run folder, compare", _prepare_runs, RUN_FILES, _compare, weight=20),
    Target("run folder, report", _prepare_runs, RUN_FILES, _report, weight=10),
    Target("run folder, score again", _prepare_runs, RUN_FILES, _again, weight=20),
    Target("names, gate", _prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _gate, _renamed, weight=10),
    Target("names, compare", _prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _compare, _renamed, weight=10),
    Target("names, report", _prepare_runs, (RUN_FILES[0], RUN_FILES[2]), _report, _renamed, weight=10),
    Target("leaderboard", _prepare_board, BOARD_FILES, _build, _hostile_board, weight=30),
    Target("judge", _prepare_judged, JUDGE_FILES, _judged, weight=10),
    *_of_official(),
    Target("stored results", _prepare_stored, STORED_FILES, _stored, weight=15),
    Target("replies of servers", _prepare_replies, ("body.json",), _replies, weight=6),
    Target("training data", _prepare_sources, SOURCE_FILES, _sources, weight=15, tags=frozenset({"torch"})),
    Target("settings", _prepare_settings, ("run.toml", "run.yaml", "training_log.jsonl"), _settings, weight=10),
    Target("conversations", _prepare_sft, ("sft.json", "sft.jsonl"), _validate_sft, weight=10),
    Target(
        "mask tokenizer", _prepare_checkpoint, ("model/mask_tokenizer/*",), _load_mask_tokenizer, weight=10,
        tags=frozenset({"torch"}),
    ),
    Target(
        "checkpoint", _prepare_checkpoint, ("model/*.json", "model/*.jinja", "model/mask_tokenizer/*.json"),
        _run_checkpoint, weight=3, tags=frozenset({"torch"}),
    ),
)  # fmt: skip
BY_NAME = {target.name: target for target in TARGETS}
