"""Qwen2.5-VL and Qwen3-VL checkpoints through `transformers`: batched, left-padded, greedy.

In: requests. Out: texts in which mask words survive whether or not the checkpoint flags them as special. A picture that
several requests of a batch share is encoded once. Greedy decoding is pinned: sampling and repetition settings of the
checkpoint's generation config are overridden, and what was overridden is recorded.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging as transformers_logging

from samtok_eval.errors import CheckpointError, UsageError
from samtok_eval.hub import local_folder
from samtok_eval.mask_tokens import DEFAULT_LAYOUT, NUMBERED_WORD, Layout
from samtok_eval.models.backend import Answer, Backend, Picture, Request
from samtok_eval.models.checkpoint import bound_pixels, compile_language_model, load_vision_language, pixel_bounds
from samtok_eval.models.fingerprint import folder_sha256
from samtok_eval.models.shared_prefix import cache_name, repeat_pictures, shared_inputs
from samtok_eval.run.settings import RunSettings

logger = logging.getLogger(__name__)
PINNED = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
}
"""Greedy decoding, nothing else; `None` means that the setting is absent."""


class LoadedBackend(Backend):
    """A model and its processor as they are in memory, as a policy in training is."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        settings: RunSettings | None = None,
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        """Prepare; nothing of the model is changed.

        Args:
            model: answers in the mode in which it is.
            processor: of the model; its text tokenizer pads on the left from here on.
            name: for tables, folders and messages.
            settings: whether only well-formed spans are let out, whether a picture is encoded once per batch, and
                whether what its questions have in common is read once; the usual by default.
            layout: of the mask tokenizer that decodes the answers.

        Raises:
            CheckpointError: the vocabulary has not the mask words of the layout.
        """
        settings = settings or RunSettings()
        self.model, self.processor, self.name, self.layout = model, processor, name, layout
        self.device, self.dtype = str(model.device), model.dtype
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        self.mask_ids = mask_word_ids(self.tokenizer, name, layout)
        self.constrained = settings.constrained
        self.share_pictures = (
            settings.group_pictures and "mm_encoder_outputs" in inspect.signature(model.forward).parameters
        )
        wanted = settings.share_prefix if settings.share_prefix is not None else self.dtype == torch.float32
        self.share_prefix = wanted and self.share_pictures
        self.generation, self.overridden = pinned_generation(model.generation_config)
        self.work: Counter[str] | None = Counter() if settings.profile else None
        """What was computed, by the names of `run.profile.Work`."""

    def identity(self) -> dict[str, Any]:
        """Name, dtype, image budget and generation settings; weights in memory have no fingerprint."""
        return {
            "model": self.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.partition(":")[0],
            "image_size": pixel_bounds(self.processor),
            "constrained": self.constrained,
            "share_pictures": self.share_pictures,
            # Keys of runs without it are those from before it existed.
            **({"share_prefix": True} if self.share_prefix else {}),
            "generation": {**PINNED, "overridden": self.overridden},
        }

    # Not inference mode: what a model keeps of its last call must not spoil a step of training that follows.
    @torch.no_grad()
    def generate(self, requests: Sequence[Request], max_new_tokens: int) -> list[Answer]:
        """Greedy answers.

        Args:
            requests: one batch.
            max_new_tokens: where an answer is cut.
        """
        started = time.perf_counter()
        inputs = self.inputs(requests)
        self._settle()
        encoded = time.perf_counter()
        if self.share_prefix:
            inputs = shared_inputs(self.model, inputs, self._pictures(requests)[1])
        self._count_prompt(inputs, requests)
        prompt = inputs["input_ids"].shape[1]
        rules = [SpanGrammar(self.mask_ids, prompt, self.layout)] if self.constrained else []
        settings = GenerationConfig(**{**self.generation.to_diff_dict(), "max_new_tokens": max_new_tokens})
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            tokens = self.model.generate(
                **inputs,
                generation_config=settings,
                logits_processor=LogitsProcessorList(rules),
            )[:, prompt:]
        done = time.perf_counter()
        seconds = {
            "encode": (encoded - started) / len(requests),
            "generate": (done - encoded) / len(requests),
        }
        if self.work is not None:
            self.work.update(written=tokens.numel(), steps=tokens.shape[1])
        stops = stop_ids(self.generation)
        return [Answer(answer_text(row, self.tokenizer, stops), seconds) for row in tokens.tolist()]

    def _settle(self) -> None:
        """Wait for the device, so that what one stage started is not measured in the next; only where one measures."""
        if self.work is not None and self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def _count_prompt(self, inputs: dict[str, Any], requests: Sequence[Request]) -> None:
        if self.work is None:
            return
        cache = inputs.get(cache_name(self.model))
        shared = cache.get_seq_length() if cache else 0
        prefixes = len(self._pictures(requests)[0]) * shared
        self.work.update(read=prefixes + inputs["input_ids"][:, shared:].numel())

    def inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Model inputs of one batch; equal to what the processor makes, but each picture is prepared once."""
        distinct, rows = self._pictures(requests)
        pictures = self.processor.image_processor(
            images=[Image.fromarray(image) for image in distinct], return_tensors="pt"
        ).to(self.device)
        grid = pictures["image_grid_thw"]
        if self.work is not None:
            self.work.update(patches=len(pictures["pixel_values"]))
        merge = self.processor.image_processor.merge_size**2
        texts, waiting, image_token = [], iter(rows), self.processor.image_token
        for request in requests:
            first, *rest = chat_text(request, self.processor).split(image_token)
            texts.append(
                first + "".join(image_token * int(grid[next(waiting)].prod() // merge) + after for after in rest)
            )
        inputs = dict(
            self.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False).to(self.device)
        )
        inputs.pop("token_type_ids", None)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.model.config.image_token_id).int()
        inputs["image_grid_thw"] = grid[rows]
        pixels = pictures["pixel_values"].to(self.dtype)
        if self.share_pictures:
            vision = self.model.model.get_image_features(pixels, grid, return_dict=True)
            inputs["mm_encoder_outputs"] = {"image": repeat_pictures(vision, rows)}
        else:
            inputs["pixel_values"] = pixels
        return inputs

    def _pictures(self, requests: Sequence[Request]) -> tuple[list[Picture], list[int]]:
        """The pictures that are encoded, and the index of the one that is shown at each place."""
        shown = [image for request in requests for image in request.images]
        keys = [id(image) if self.share_pictures else i for i, image in enumerate(shown)]
        distinct = dict(zip(keys, shown, strict=True))
        order = {key: row for row, key in enumerate(distinct)}
        return list(distinct.values()), [order[key] for key in keys]


class TransformersBackend(LoadedBackend):
    """One checkpoint on one device."""

    def __init__(
        self,
        path_or_hub_id: str,
        name: str,
        device: str,
        dtype: torch.dtype,
        settings: RunSettings | None = None,
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        """Load model and processor.

        Args:
            path_or_hub_id: folder or hub repository.
            name: for tables, folders and messages.
            device: `cpu` or `cuda`.
            dtype: of the weights.
            settings: also the pixels of a picture after the processor's resize (None keeps the checkpoint's), the
                attention kernel, the spread over devices and whether to compile; the usual by default.
            layout: of the mask tokenizer that decodes the answers.

        Raises:
            CheckpointError: nothing loadable there, or the vocabulary has not the mask words of the layout.
            UsageError: the bounds of pixels exclude each other, or the device cannot do what the settings ask.
        """
        settings = settings or RunSettings()
        self.folder = local_folder(path_or_hub_id)
        transformers_logging.disable_progress_bar()
        asked = {"attn": settings.attn, "device_map": settings.device_map}
        _check_attention(settings.attn, device, dtype)
        logger.info("loading the model %s", name)
        model, processor = load_vision_language(self.folder, dtype, path_or_hub_id, **asked)
        bound_pixels(processor, settings.min_pixels, settings.max_pixels)
        if settings.device_map is None:
            model = model.to(device)
        if settings.compile:
            compile_language_model(model)
        # Keys of runs without them are those from before they existed.
        self._asked = {key: value for key, value in asked.items() if value is not None}
        super().__init__(model.eval(), processor, name, settings, layout)

    def identity(self) -> dict[str, Any]:
        """The same, the weights' hash, and what was asked of attention and devices."""
        return {**super().identity(), **self._asked, "weights_sha256": self.weights_sha256}

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the folder as it was when it was first asked for."""
        return folder_sha256(self.folder)


def _check_attention(attn: str | None, device: str, dtype: torch.dtype) -> None:
    if attn == "flash_attention_2" and (dtype == torch.float32 or not device.startswith("cuda")):
        computed = f"{str(dtype).removeprefix('torch.')} on {device}"
        raise UsageError(
            f"--attn {attn} computes in bfloat16 or float16 on CUDA, and this run in {computed}; "
            "give --dtype bf16 or another --attn"
        )


def chat_text(request: Request, processor: Any) -> str:
    """The conversation in the words of the checkpoint's chat template, the start of the answer at its end.

    Args:
        request: to be answered.
        processor: of the checkpoint.

    Returns:
        A text with one image token for each picture, in the order of `request.images`.
    """
    # Where a benchmark's text holds the word for a picture, it must not be taken for one.
    plain = processor.image_token.replace("|", "")

    def content(part: str | Picture) -> dict[str, str]:
        if isinstance(part, str):
            return {"type": "text", "text": part.replace(processor.image_token, plain)}
        return {"type": "image"}

    chat = [{"role": message.role, "content": list(map(content, message.parts))} for message in request.messages]
    return str(processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def stop_ids(generation: GenerationConfig) -> set[int | None]:
    """Ids that end an answer, padding among them."""
    return {*_as_list(generation.eos_token_id), generation.pad_token_id}


def answer_text(token_ids: Sequence[int], tokenizer: Any, stops: Collection[int | None]) -> str:
    """Generated ids -> text up to the end word, control words kept: phrase marks and mask words may be such.

    Args:
        token_ids: of the answer alone.
        tokenizer: of text.
        stops: ids that end an answer.
    """
    end = next((i for i, token in enumerate(token_ids) if token in stops), len(token_ids))
    return str(tokenizer.decode(token_ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False))


class SpanGrammar(LogitsProcessor):
    """Lets only well-formed spans out: start, a word of each book in order, end; no mask word elsewhere."""

    def __init__(self, mask_ids: Sequence[int], prompt_length: int, layout: Layout = DEFAULT_LAYOUT) -> None:
        """Prepare.

        Args:
            mask_ids: ids of the mask words, in the order of `Layout.words`.
            prompt_length: tokens before the answer.
            layout: of the mask words.
        """
        self.mask_ids = list(mask_ids)
        numbered = self.mask_ids[1:-1]
        books = [numbered[first : first + layout.size] for first in range(0, layout.count, layout.size)]
        steps = [self.mask_ids[:1], *books, self.mask_ids[-1:]]
        self.next = {word: after for words, after in pairwise(steps) for word in words}
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) with forbidden words at minus infinity."""
        allowed = torch.ones_like(scores, dtype=torch.bool)
        allowed[:, self.mask_ids[1:]] = False
        if input_ids.shape[1] > self.prompt_length:
            for row, last in enumerate(input_ids[:, -1].tolist()):
                if last in self.next:
                    allowed[row] = False
                    allowed[row, self.next[last]] = True
        return scores.masked_fill(~allowed, float("-inf"))


def mask_word_ids(tokenizer: Any, where: str, layout: Layout = DEFAULT_LAYOUT) -> list[int]:
    """Ids of the mask words, in the order of `Layout.words`.

    Args:
        tokenizer: of text.
        where: what the message calls the checkpoint.
        layout: of the mask tokenizer that decodes the words.

    Raises:
        CheckpointError: the vocabulary lacks some, or has those of a larger layout.
    """
    vocabulary = tokenizer.get_vocab()
    words = layout.words
    missing = [word for word in words if word not in vocabulary]
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} of the {len(words)} mask words of layout {layout} ({missing[0]} first); "
            "it is not a SAMTok checkpoint of that layout: choose one, name its own mask tokenizer with --tokenizer, "
            "or add the words and fine-tune"
        )
    check_no_further_words(vocabulary, where, layout)
    return [int(vocabulary[word]) for word in words]


def check_no_further_words(vocabulary: Iterable[str], where: str, layout: Layout) -> None:
    """Refuse a vocabulary with mask words of a larger layout, whose answers would be read as other masks.

    Raises:
        CheckpointError: there are numbered words that the layout does not have.
    """
    numbered = sum(NUMBERED_WORD.fullmatch(word) is not None for word in vocabulary)
    if numbered > layout.count:
        raise CheckpointError(
            f"{where} has {numbered} numbered mask words, its mask tokenizer of layout {layout} has {layout.count}; "
            "they belong to different checkpoints: name the right mask tokenizer with --tokenizer"
        )


def pinned_generation(published: GenerationConfig) -> tuple[GenerationConfig, dict[str, Any]]:
    """Greedy generation settings, and what of the checkpoint's own they override."""
    overridden = {
        key: getattr(published, key)
        for key, pinned in PINNED.items()
        if getattr(published, key, None) not in (None, pinned)
    }
    settings = {key: value for key, value in PINNED.items() if value is not None}
    stops = {"eos_token_id": published.eos_token_id, "pad_token_id": published.pad_token_id}
    if stops["pad_token_id"] is None:
        stops["pad_token_id"] = _as_list(published.eos_token_id)[0]
    return GenerationConfig(**settings, **stops), overridden


def _as_list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]
