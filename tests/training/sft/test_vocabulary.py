"""Mask words in a vocabulary: where they go, how their rows begin, and when nothing is done."""

from __future__ import annotations

import pytest
import torch

from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.mask_tokens import WORDS, Layout
from samtok_eval.training.sft.vocabulary import add_mask_words, load_checkpoint, new_rows, write_with_mask_words
from tests.support.tiny_checkpoints import SPARE, qwen2_5, qwen3_without_words, tokenizer_without_words


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def base(request, tmp_path_factory):
    return qwen3_without_words(tmp_path_factory.mktemp("base") / "checkpoint", tied=request.param)


def test_new_rows_are_the_mean_plus_a_fiftieth_of_the_deviation_of_each_column():
    """Two old rows, so that mean and deviation can be worked out by hand; the third column has no deviation."""
    known = torch.tensor([[1.0, 0.0, 5.0], [3.0, 20.0, 5.0]])
    rows = new_rows(known, seed=0)
    noise = torch.randn(514, 3, generator=torch.Generator().manual_seed(0))
    deviation = torch.tensor([2.0**0.5, 200.0**0.5, 1e-3])
    expected = torch.tensor([2.0, 10.0, 5.0]) + 0.02 * noise * deviation
    assert rows.shape == (514, 3)
    assert torch.allclose(rows, expected, atol=1e-6)


def test_new_rows_spread_as_the_rule_says_around_many_old_rows():
    known = torch.randn(5000, 16, generator=torch.Generator().manual_seed(1)) * 3 + 7
    rows = new_rows(known, seed=0)
    assert (rows.mean(0) - known.mean(0)).abs().max() < 4 * 0.02 * 3 / 514**0.5
    assert (rows.std(0) / known.std(0)).mean() == pytest.approx(0.02, rel=0.05)


def test_words_follow_the_old_vocabulary_and_old_rows_stay(base):
    model, processor = load_checkpoint(base, torch.float32)
    tied = model.config.tie_word_embeddings
    old = model.get_input_embeddings().weight.detach().clone()
    old_head = model.get_output_embeddings().weight.detach().clone()
    first = len(processor.tokenizer)
    assert add_mask_words(model, processor.tokenizer, seed=3) == 514
    ids = processor.tokenizer.convert_tokens_to_ids(list(WORDS))
    assert ids == list(range(first, first + 514))
    rows, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert rows.shape[0] == head.shape[0] == first + 514 == model.config.text_config.vocab_size
    assert torch.equal(rows[:first], old[:first])
    # The spare rows of a published checkpoint are no old words, and become mask words.
    assert torch.allclose(rows[first:], new_rows(old[:first], 3))
    assert (head is rows) == tied
    if not tied:
        assert torch.equal(head[: first + SPARE], old_head)


def test_every_process_draws_the_same_rows(base):
    heads = []
    for unrelated in (1, 2):
        model, processor = load_checkpoint(base, torch.float32)
        torch.manual_seed(unrelated)
        add_mask_words(model, processor.tokenizer)
        heads.append(torch.cat([model.get_input_embeddings().weight, model.get_output_embeddings().weight]))
    assert torch.equal(*heads)


def test_a_second_time_nothing_happens(base):
    model, processor = load_checkpoint(base, torch.float32)
    add_mask_words(model, processor.tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    assert add_mask_words(model, processor.tokenizer) == 0
    assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.mark.parametrize("name", ["is_deepspeed_zero3_enabled", "is_fsdp_enabled"])
def test_words_are_added_before_weights_are_split(base, monkeypatch, name):
    from samtok_eval.training.sft import vocabulary

    model, processor = load_checkpoint(base, torch.float32)
    monkeypatch.setattr(vocabulary, name, lambda: True)
    with pytest.raises(UsageError, match="samtok-eval train words"):
        add_mask_words(model, processor.tokenizer)


def test_more_spare_rows_than_words_are_kept(tmp_path):
    model, processor = load_checkpoint(qwen3_without_words(tmp_path / "c", spare=600), torch.float32)
    rows = model.get_input_embeddings().weight.shape[0]
    add_mask_words(model, processor.tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == rows


def test_a_vocabulary_with_some_of_the_words_is_refused(base, tmp_path):
    from transformers import AutoTokenizer

    model, _ = load_checkpoint(base, torch.float32)
    some = AutoTokenizer.from_pretrained(tokenizer_without_words(tmp_path / "some", keep=WORDS[:7]))
    with pytest.raises(CheckpointError, match=r"7 of the 514 mask words of layout 256x2 \(<\|mt_start\|> first\)"):
        add_mask_words(model, some)


def test_words_without_rows_are_refused(base):
    from transformers import AutoTokenizer

    from samtok_eval.demo.checkpoint import DEMO_CHECKPOINT

    model, _ = load_checkpoint(base, torch.float32)
    with pytest.raises(CheckpointError, match="of different checkpoints"):
        add_mask_words(model, AutoTokenizer.from_pretrained(DEMO_CHECKPOINT))


@pytest.mark.parametrize("make", [qwen2_5, qwen3_without_words])
def test_a_written_checkpoint_loads_in_the_harness_and_may_speak_of_masks(make, tmp_path):
    from samtok_eval.models.transformers_backend import TransformersBackend

    source, out = make(tmp_path / "base"), tmp_path / "out"
    assert write_with_mask_words(source, out) == 514
    backend = TransformersBackend(str(out), "tiny", "cpu", torch.float32)
    ids = backend.tokenizer("It is <|mt_start|><|mt_0044|><|mt_0442|><|mt_end|>.")["input_ids"]
    assert sum(i in backend.mask_ids for i in ids) == 4
    assert backend.tokenizer.decode(ids, skip_special_tokens=True).endswith("<|mt_0442|><|mt_end|>.")
    with pytest.raises(UsageError, match="not empty"):
        write_with_mask_words(source, out)


def test_another_family_and_an_empty_folder_are_refused(base, tmp_path, monkeypatch):
    from samtok_eval.training.sft import vocabulary

    with pytest.raises(CheckpointError, match="must hold config, weights"):
        load_checkpoint(tmp_path, torch.float32)
    monkeypatch.setattr(vocabulary, "FAMILIES", ("qwen2_5_vl",))
    with pytest.raises(CheckpointError, match="model type qwen3_vl; expected one of qwen2_5_vl"):
        load_checkpoint(base, torch.float32)


def test_words_of_another_layout_are_added_whole_and_fit_no_other(tmp_path):
    from samtok_eval.models.transformers_backend import TransformersBackend

    deep, source, out = Layout(64, 3), qwen3_without_words(tmp_path / "base"), tmp_path / "out"
    assert write_with_mask_words(source, out, layout=deep) == 194
    backend = TransformersBackend(str(out), "tiny", "cpu", torch.float32, layout=deep)
    assert backend.tokenizer.convert_ids_to_tokens(backend.mask_ids) == list(deep.words)
    model, processor = load_checkpoint(out, torch.float32)
    assert add_mask_words(model, processor.tokenizer, layout=deep) == 0
    with pytest.raises(CheckpointError, match="194 of the 514 mask words"):
        add_mask_words(model, processor.tokenizer)
    with pytest.raises(CheckpointError, match=r"192 numbered mask words.*layout 64x2 has 128"):
        add_mask_words(model, processor.tokenizer, layout=Layout(64, 2))
    with pytest.raises(CheckpointError, match="lacks 320 of the 514 mask words of layout 256x2"):
        TransformersBackend(str(out), "tiny", "cpu", torch.float32)
