"""A mask tokenizer of other codebooks than 256x2, from its codes to the report of a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT
from samtok_eval.demo.world.scenes import draw_scene
from samtok_eval.errors import CheckpointError, DataError, UsageError
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, Codes, Layout, masks_of, parse, render
from samtok_eval.models.select import ModelOptions, load_backend
from samtok_eval.registry import load_tasks
from samtok_eval.reports.gate.paired import changed_answers
from samtok_eval.reports.page.page import write_reports
from samtok_eval.reports.runs import read_scored
from samtok_eval.run.evaluate import evaluate, run, score_file
from samtok_eval.run.folder import load_run
from samtok_eval.run.settings import RunOptions, RunSettings
from samtok_eval.tokenizer import MaskTokenizer, MaskTokenizerConfig

DEEP = Layout(64, 3)
LIMIT = 6


def tokenizer_of(layout, folder):
    """A mask tokenizer of the demo's sizes but for its codebooks, with random weights."""
    config = MaskTokenizer.from_pretrained(DEMO_CHECKPOINT).config.model_dump()
    torch.manual_seed(0)
    tokenizer = MaskTokenizer(
        MaskTokenizerConfig(**config | {"codebook_size": layout.size, "codebook_depth": layout.depth})
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory):
    return tokenizer_of(DEEP, tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def deep(deep_folder):
    return MaskTokenizer.from_pretrained(deep_folder)


@pytest.fixture(scope="module")
def reconstructed(deep_folder, demo_root, tmp_path_factory):
    """`run --task reconstruction` with the deep mask tokenizer."""
    out = tmp_path_factory.mktemp("runs")
    return evaluate("reconstruction", tokenizer=str(deep_folder), data_root=str(demo_root), out=out, limit=LIMIT)


@pytest.fixture(scope="module")
def answered(deep_folder, demo_root, tmp_path_factory):
    """A benchmark answered by the oracle in words of the deep mask tokenizer."""
    out = tmp_path_factory.mktemp("runs")
    options = {"tokenizer": str(deep_folder), "data_root": str(demo_root), "limit": LIMIT}
    return evaluate("gres", model="oracle", out=out, **options)


def lines(done):
    return [json.loads(line) for line in (done.path / "predictions" / "part-0.jsonl").read_text().splitlines()]


def test_masks_become_codes_words_codes_and_masks_again(deep):
    scene = draw_scene(0)
    truth = np.stack([thing.mask for thing in scene.objects])
    codes = deep.encode(scene.image, truth)
    assert codes.shape == (len(truth), 3) and deep.config.layout == DEEP
    text = render(codes.tolist(), DEEP)
    assert [span.status for span in parse(text, DEEP)] == ["ok"] * len(truth)
    read = masks_of(text, layout=DEEP)
    assert read == [Codes(*entries) for entries in codes.tolist()]
    assert np.array_equal(deep.decode(scene.image, torch.tensor(read)), deep.decode(scene.image, codes))


def test_an_absent_tail_decodes_as_the_codes_before_it_or_as_entries_0(deep):
    image = draw_scene(0).image
    codes = torch.tensor([[5, -1, -1]])
    books = [book.weight for book in deep.quantizer.books]
    assert torch.equal(deep.quantizer.decode(codes, "skip")[0], books[0][5])
    assert torch.equal(deep.quantizer.decode(codes, "zero")[0], books[0][5] + books[1][0] + books[2][0])
    zero = deep.decode(image, codes, missing_second="zero")
    assert np.array_equal(zero, deep.decode(image, torch.tensor([[5, 0, 0]])))


@pytest.mark.parametrize("layout", [Layout(1024, 1), Layout(16, 4)], ids=str)
def test_codebooks_of_any_size_and_depth_encode_and_decode(layout, tmp_path):
    tokenizer = MaskTokenizer.from_pretrained(tokenizer_of(layout, tmp_path))
    scene = draw_scene(1)
    codes = tokenizer.encode(scene.image, np.stack([thing.mask for thing in scene.objects]))
    assert masks_of(render(codes.tolist(), layout), layout=layout) == [tuple(entries) for entries in codes.tolist()]
    assert tokenizer.decode(scene.image, codes).shape == (len(codes), *scene.image.shape[:2])


def test_reconstruction_measures_every_book(reconstructed):
    assert reconstructed.manifest.layout == (64, 3)
    assert all(len(key.split(",")) == 3 for line in lines(reconstructed) for key in line["decoded"])
    measured = reconstructed.metrics["strict"]
    assert {f"{metric}_{book}" for metric in ("used", "perplexity") for book in (1, 2, 3)} <= set(measured)
    assert measured["used_3"]["n"] == LIMIT
    first = reconstructed.metrics["first_code"]
    assert "used_1" in first and "used_2" not in first and "used_3" not in first


def test_metrics_of_books_stand_together_in_tables():
    task = load_tasks()["reconstruction"]
    assert task.with_layout(DEEP).metadata.metrics[-6:] == (
        "used_1", "used_2", "used_3", "perplexity_1", "perplexity_2", "perplexity_3",
    )  # fmt: skip
    assert task.with_layout(DEFAULT_LAYOUT) is task and task.layout == DEFAULT_LAYOUT


def test_a_run_is_read_under_the_layout_of_its_manifest(reconstructed, deep_folder, demo_root, tmp_path):
    read = read_scored(reconstructed.path)
    assert read.task.layout == DEEP and all(protocol.layout == DEEP for protocol in read.task.protocols)
    options = RunOptions(task="reconstruction", data_root=str(demo_root), out=tmp_path / "scored")
    again = score_file(options, reconstructed.path)
    assert again.metrics["strict"] == reconstructed.metrics["strict"] and again.manifest.layout == (64, 3)
    named = options.model_copy(update={"tokenizer": str(deep_folder)})
    assert score_file(named, reconstructed.path).metrics["strict"] == reconstructed.metrics["strict"]


def test_a_report_shows_a_grid_per_book(reconstructed):
    (path,) = write_reports([reconstructed.path])
    page = path.read_text()
    for name in ("First", "Second", "Third"):
        assert f"{name} codebook" in page
    assert 'viewBox="0 0 80 80"' in page and "of 64 codes used" in page


def test_an_answer_in_its_words_names_no_whole_mask_of_256x2(answered):
    texts = [line["text"] for line in lines(answered) if line["decoded"]]
    assert texts
    for text in texts:
        assert all(span.status == "ok" for span in parse(text, DEEP))
        assert all(span.status == "bad_range" for span in parse(text))


def test_a_256x2_checkpoint_refuses_its_answers(answered, demo_root, tmp_path):
    predictions = answered.path / "predictions" / "part-0.jsonl"
    options = {"model": f"replay:{predictions}", "data_root": str(demo_root), "limit": LIMIT, "out": tmp_path}
    with pytest.raises(UsageError, match="layout 64x3, the mask tokenizer is of layout 256x2"):
        evaluate("gres", **options)
    with pytest.raises(UsageError, match="layout 64x3, the mask tokenizer is of layout 256x2"):
        score_file(RunOptions(task="gres", data_root=str(demo_root), out=tmp_path, tokenizer="demo"), predictions)
    alone = tmp_path / "answers.jsonl"
    shutil.copy(predictions, alone)
    with pytest.raises(DataError, match="made with another mask tokenizer"):
        evaluate("gres", **options | {"model": f"replay:{alone}"})
    with pytest.raises(DataError, match="made with another mask tokenizer"):
        score_file(RunOptions(task="gres", data_root=str(demo_root), out=tmp_path, limit=LIMIT), alone)
    with pytest.raises(ValueError, match=r"shape \(N, 2\)"):
        MaskTokenizer.from_pretrained(DEMO_CHECKPOINT).decode(draw_scene(0).image, torch.tensor([[1, 2, 3]]))


def test_its_answers_can_be_replayed_with_the_same_mask_tokenizer(answered, deep_folder, demo_root, tmp_path):
    model = f"replay:{answered.path / 'predictions' / 'part-0.jsonl'}"
    options = {"tokenizer": str(deep_folder), "data_root": str(demo_root), "limit": LIMIT, "out": tmp_path}
    assert evaluate("gres", model=model, **options).metrics["strict"] == answered.metrics["strict"]


def test_lines_outside_of_a_run_are_read_under_the_named_mask_tokenizer(answered, deep_folder, demo_root, tmp_path):
    alone = tmp_path / "answers.jsonl"
    shutil.copy(answered.path / "predictions" / "part-0.jsonl", alone)
    options = RunOptions(
        task="gres", data_root=str(demo_root), out=tmp_path, limit=LIMIT, tokenizer=str(deep_folder), fresh=True
    )
    found = score_file(options, alone)
    assert found.metrics["strict"] == answered.metrics["strict"] and found.manifest.layout == (64, 3)


def test_a_checkpoint_whose_words_do_not_fit_its_mask_tokenizer_is_refused(deep, tmp_path):
    task = load_tasks()["gres"]
    with pytest.raises(CheckpointError, match=r"512 numbered mask words.*layout 64x3 has 192"):
        load_backend(ModelOptions(model="demo", settings=RunSettings(device="cpu")), deep, task, [])
    larger = MaskTokenizer.from_pretrained(tokenizer_of(Layout(256, 4), tmp_path))
    with pytest.raises(CheckpointError, match=r"lacks 512 of the 1026 mask words of layout 256x4"):
        load_backend(ModelOptions(model="demo", settings=RunSettings(device="cpu")), larger, task, [])


def test_protocols_of_scripts_for_pairs_are_left_out_and_named(answered, deep_folder, demo_root, tmp_path):
    assert "samtok" not in answered.metrics and "strict" in answered.metrics
    with pytest.raises(UsageError, match="no protocol 'samtok' for codes of layout 64x3"):
        evaluate(
            "gres", model="oracle", tokenizer=str(deep_folder), data_root=str(demo_root), out=tmp_path,
            protocols=("samtok",), limit=LIMIT,
        )  # fmt: skip


def test_the_random_model_draws_a_code_per_book(deep_folder, demo_root, tmp_path):
    for name in ("gres", "gcg", "scene_graph"):
        done = evaluate(
            name, model="random", tokenizer=str(deep_folder), data_root=str(demo_root), out=tmp_path, limit=2
        )
        texts = [line["text"] for line in lines(done)]
        assert any(parse(text, DEEP) for text in texts)
        assert all(span.status == "ok" for text in texts for span in parse(text, DEEP))


def test_token_match_reads_both_sides_under_the_layout(answered, deep_folder, demo_root, tmp_path):
    done = evaluate(
        "gres", model="oracle", tokenizer=str(deep_folder), data_root=str(demo_root), out=tmp_path, limit=LIMIT,
        reference_codes=answered.path,
    )  # fmt: skip
    assert done.metrics["strict"]["token_match"]["value"] == 1


def test_regions_of_a_question_are_written_in_words_of_the_layout(deep_folder, demo_root, tmp_path, deep):
    """Earlier rounds of the interactive task hold masks."""
    task = load_tasks()["interactive"].with_layout(DEEP)
    done = run(
        RunOptions(
            task="interactive", model="oracle", tokenizer=str(deep_folder), data_root=str(demo_root), out=tmp_path,
            limit=4, history="pred",
        )
    )  # fmt: skip
    assert done.manifest.counters["errored"] == 0
    assert task.status(lines(done)[0]["text"]) == "ok"


def test_of_two_runs_each_is_read_under_its_own_layout(answered):
    predictions = read_scored(answered.path).predictions()
    strict = load_tasks()["gres"].protocol("strict")
    changed = changed_answers(predictions, predictions, replace(strict, layout=DEEP), strict)
    assert changed.codes and not changed.text


def test_what_is_not_in_a_manifest_is_256x2_and_256x2_is_not_in_a_manifest(demo_root, tmp_path):
    done = evaluate("gres", model="oracle", data_root=str(demo_root), out=tmp_path, limit=2)
    assert done.manifest.layout is None and read_scored(done.path).task.layout == DEFAULT_LAYOUT


@pytest.mark.parametrize("value", [[64], [64, 3, 1], [0, 2], ["64", 3], "64x3", [2**40, 2**40]])
def test_a_manifest_with_an_impossible_layout_is_refused(answered, tmp_path, value):
    folder = tmp_path / "run"
    shutil.copytree(answered.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"layout": value}))
    with pytest.raises(DataError, match="layout"):
        load_run(folder)


def test_a_manifest_whose_layout_was_changed_does_not_fit_its_keys(answered, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(answered.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"layout": [65, 3]}))
    with pytest.raises(DataError, match="does not fit the key of its scores"):
        read_scored(folder)
