"""The SAMTok mask tokenizer, composed of the `sam2` package's modules.

In: a picture and region masks, or a picture and codes. Out: two codes per mask, or masks. The picture is encoded once
however many masks are asked for, and once for all calls after `remember_pictures`. Rules (pixels, box prompt, candidate
choice, threshold) follow the released SAMTok code, `projects/samtok/models/{sam2,vq_sam2}.py` of bytedance/Sa2VA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from samtok_eval.tokenizer.config import MaskTokenizerConfig
from samtok_eval.tokenizer.quantizer import MissingSecond, ResidualQuantizer
from samtok_eval.tokenizer.sam import build_sam, two_way_transformer
from samtok_eval.tokenizer.state_cache import StateCache

FOREGROUND_LOGIT = 0.5
"""A pixel belongs to the mask when its logit is above this value (not above 0: rule of the released code)."""
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
BOX_CORNER_LABELS = (2, 3)
ABSENT_POINT_LABEL = -1
MASKS_AT_ONCE = 32
"""Masks that go through the mask heads together; bounds memory on large pictures."""
GATHERED_BYTES = 1 << 28
"""Of feature maps that are copied so that masks of several pictures are decoded together: 16 masks at full size."""
STATE_SHARE = 64
"""Numbers in the feature maps of a picture are this share of width x side x side: 1/128 + 1/256 + 1/256."""
REMEMBERED_BYTES = 1 << 30
"""Of feature maps that are kept for later calls: 64 pictures at full size in float32."""


class ImageState(NamedTuple):
    """Feature maps of B encoded pictures, finest first."""

    fine: Tensor
    """(B, d_model/8, S/4, S/4)"""
    middle: Tensor
    """(B, d_model/4, S/8, S/8)"""
    coarse: Tensor
    """(B, d_model, S/16, S/16), the no-memory embedding added"""

    @property
    def nbytes(self) -> int:
        """Bytes of all levels."""
        return sum(level.nbytes for level in self)

    def select(self, picture: Tensor) -> ImageState:
        """The state of each named picture.

        Args:
            picture: int64 (N,) indices into the batch. One picture is expanded without a copy.
        """
        if len(self.coarse) == 1:
            return ImageState(*(level.expand(len(picture), -1, -1, -1) for level in self))
        return ImageState(*(level[picture] for level in self))


class MaskLogits(NamedTuple):
    """What the mask decoder says about N code vectors."""

    candidates: Tensor
    """(N, 3, S/4, S/4) low-resolution logits"""
    predicted_iou: Tensor
    """(N, 3)"""

    @property
    def picked(self) -> Tensor:
        """int64 (N,), the candidate with the highest predicted IoU; the lowest index wins a tie."""
        return self.predicted_iou.argmax(dim=1)

    @property
    def best(self) -> Tensor:
        """float32 (N, S/4, S/4), the logits of the picked candidate."""
        rows = torch.arange(len(self.candidates), device=self.candidates.device)
        return self.candidates[rows, self.picked].float()


class RegionEncoder(nn.Module):
    """Two-way transformer that reads picture and mask prompt into one vector per mask."""

    def __init__(self, config: MaskTokenizerConfig) -> None:
        super().__init__()
        self.transformer = two_way_transformer(config)
        self.mask_tokens = nn.Embedding(1, config.d_model)

    def forward(self, image: Tensor, position: Tensor, corners: Tensor) -> Tensor:
        """Read the learned token off after the transformer.

        Args:
            image: (N, D, h, w) picture features plus dense mask embedding.
            position: (N, D, h, w) dense position encoding.
            corners: (N, 3, D) the two box corners and the padding point.

        Returns:
            (N, D)
        """
        tokens = torch.cat([self.mask_tokens.weight.expand(len(corners), 1, -1), corners], dim=1)
        return self.transformer(image, position, tokens)[0][:, 0]


class MaskTokenizer(nn.Module):
    """Region mask <-> `codebook_depth` codes on one picture.

    The state dict has the key names and shapes of the published `mask_tokenizer_256x2.pth`.
    """

    def __init__(self, config: MaskTokenizerConfig, autocast_dtype: torch.dtype | None = None) -> None:
        """Build with random weights.

        Args:
            config: sizes.
            autocast_dtype: dtype of the heavy layers; None means bfloat16 on CUDA and float32 elsewhere. Weights and
                the quantizer always stay in float32.
        """
        super().__init__()
        self.config = config
        self.autocast_dtype = autocast_dtype
        self.model = nn.Module()
        self.model.sam2_model = build_sam(config)
        self.sam.sam_mask_encoder = RegionEncoder(config)
        self.quantizer = ResidualQuantizer(config.codebook_size, config.codebook_depth, config.latent_dim)
        self._remembered: StateCache | None = None
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = torch.float32,
    ) -> MaskTokenizer:
        """Load a tokenizer.

        Args:
            path_or_hub_id: a folder (or hub repository) with `config.json` + `model.safetensors`, with such a
                `mask_tokenizer` folder inside, or with the published `mask_tokenizer_256x2.pth`; or that file itself.
            device: where to put it.
            dtype: of the heavy layers; None chooses by device, see `__init__`.

        Raises:
            CheckpointError: nothing loadable there, or keys or shapes do not fit (named in the message).
        """
        from samtok_eval.tokenizer.checkpoint import fill, find_tokenizer, read_config_and_weights

        place = find_tokenizer(path_or_hub_id)
        config, weights = read_config_and_weights(place)
        tokenizer = cls(config, autocast_dtype=dtype)
        fill(tokenizer, weights, place)
        return tokenizer.to(device)

    def save_pretrained(self, folder: str | Path, weights_dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors`; floating-point weights are stored as `weights_dtype`."""
        from samtok_eval.tokenizer.checkpoint import save_folder

        save_folder(self, Path(folder), weights_dtype)

    @property
    def sam(self) -> Any:
        """The SAM 2 modules; where they hang is fixed by the published key names."""
        return self.model.sam2_model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.quantizer.books[0].weight.device

    def remember_pictures(self, most_bytes: int = REMEMBERED_BYTES) -> None:
        """Encode each picture once for all later calls, for as long as weights and device stay as they are.

        Args:
            most_bytes: of feature maps that are kept; the least recently used ones are dropped.
        """
        self._remembered = StateCache(most_bytes)

    # ---- public use: pictures as numpy arrays ----

    @torch.inference_mode()
    def encode(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_], boxes: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Codes of masks.

        Args:
            image: uint8 (H, W, 3), RGB.
            masks: bool (N, H, W); of another type, what is not 0 is foreground.
            boxes: float (N, 4), x1 y1 x2 y2 as shares 0..1 of width and height; None takes each mask's own box with
                inclusive corners (first and last foreground column and row).

        Returns:
            int64 (N, depth) on the CPU, each code in 0..codebook_size-1.

        Raises:
            ValueError: shapes do not fit.
        """
        return self.quantizer.encode(self._embed(image, masks, boxes)).cpu()

    @torch.inference_mode()
    def embed(
        self, image: NDArray[np.uint8], masks: NDArray[np.bool_], boxes: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Vectors of masks before the quantizer; arguments as `encode`.

        Returns:
            float32 (N, latent_dim) on the CPU.
        """
        return self._embed(image, masks, boxes).cpu()

    @torch.inference_mode()
    def decode(
        self, image: NDArray[np.uint8], codes: Tensor | NDArray[np.int64], missing_second: MissingSecond = "skip"
    ) -> NDArray[np.bool_]:
        """Masks of codes at the picture's size.

        Args:
            image: uint8 (H, W, 3), RGB.
            codes: int (N, depth), each -1..codebook_size-1; -1 is an absent code.
            missing_second: what an absent code adds, `"skip"` nothing, `"zero"` entry 0 as the released code does.

        Returns:
            bool (N, H, W).

        Raises:
            ValueError: the picture is no uint8 (H, W, 3), or codes are of another depth or in none of the books.
        """
        (found,) = self.decode_pictures([image], [codes], missing_second)
        return found

    @torch.inference_mode()
    def decode_pictures(
        self,
        images: Sequence[NDArray[np.uint8]],
        codes: Sequence[Tensor | NDArray[np.int64]],
        missing_second: MissingSecond = "skip",
    ) -> list[NDArray[np.bool_]]:
        """Masks of codes on several pictures, decoded together where memory allows.

        Args:
            images: uint8 (H, W, 3) each, RGB.
            codes: per picture as for `decode`.
            missing_second: as for `decode`.

        Returns:
            bool (N, H, W) per picture.
        """
        found = [np.zeros((0, *image.shape[:2]), dtype=bool) for image in images]
        for members in _together([len(rows) for rows in codes], self._gathered_at_once()):
            parts = self._logits([images[i] for i in members], [codes[i] for i in members], missing_second)
            for i, logits in zip(members, parts, strict=True):
                height, width = images[i].shape[:2]
                at_size = [self.masks_from_logits(some, height, width) for some in logits.split(MASKS_AT_ONCE)]
                found[i] = np.concatenate(at_size)
        return found

    @torch.inference_mode()
    def decode_logits(
        self, image: NDArray[np.uint8], codes: Tensor | NDArray[np.int64], missing_second: MissingSecond = "zero"
    ) -> Tensor:
        """Low-resolution logits of the best of three candidates.

        Arguments and errors as those of `decode`, but an absent code is read as the released code reads it.

        Returns:
            float32 (N, image_size/4, image_size/4) on the CPU.
        """
        (found,) = self._logits([image], [codes], missing_second)
        return found.cpu()

    @staticmethod
    def masks_from_logits(logits: Tensor, height: int, width: int) -> NDArray[np.bool_]:
        """Low-resolution logits (N, h, w) -> bool (N, height, width) by bilinear resize and the 0.5 logit threshold."""
        if not len(logits):
            return np.zeros((0, height, width), dtype=bool)
        full = F.interpolate(logits[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        return (full > FOREGROUND_LOGIT).cpu().numpy()

    # ---- batched tensors: training and grouped evaluation ----

    def pixels(self, images: list[NDArray[np.uint8]]) -> Tensor:
        """Pictures resized to the square model size (bicubic, aspect not kept) and normalised.

        Args:
            images: uint8 (H, W, 3) RGB arrays of any sizes.

        Returns:
            float32 (B, 3, S, S) on this tokenizer's device.

        Raises:
            ValueError: an array is not uint8 (H, W, 3).
        """
        side = self.config.image_size
        resized = []
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"image must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
            resized.append(np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)))
        return self.normalise(torch.from_numpy(np.stack(resized)).to(self.device))

    @staticmethod
    def normalise(images: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) -> float32 (B, 3, S, S) with ImageNet mean and deviation."""
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def encode_pixels(self, pixels: Tensor) -> ImageState:
        """Run the image encoder once per picture.

        Args:
            pixels: float32 (B, 3, S, S), from `pixels`.
        """
        sam = self.sam
        with self._autocast():
            fine, middle, coarse = sam.forward_image(pixels)["backbone_fpn"]
            return ImageState(fine, middle, coarse + sam.no_mem_embed.view(1, -1, 1, 1))

    def embed_regions(self, state: ImageState, picture: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
        """Vectors of masks, differentiable.

        Args:
            state: encoded pictures.
            picture: int64 (N,), which picture each mask lies on.
            masks: float32 (N, 1, S/4, S/4), 0..1, already resized with antialiasing.
            boxes: float32 (N, 4), x1 y1 x2 y2 as shares of width and height.

        Returns:
            float32 (N, latent_dim).
        """
        sam = self.sam
        corners = boxes.view(-1, 2, 2) * self.config.image_size
        labels = torch.tensor(BOX_CORNER_LABELS, device=boxes.device).expand(len(boxes), -1)
        with self._autocast():
            # Two labelled points, not `boxes=`: the reference does so and thereby gets one more padding point.
            sparse, dense = sam.sam_prompt_encoder(points=(corners, labels), boxes=None, masks=masks)
            position = sam.sam_prompt_encoder.get_dense_pe().expand(len(masks), -1, -1, -1)
            vectors = sam.sam_mask_encoder(state.select(picture).coarse + dense, position, sparse)
        return vectors.float()

    def logits(self, state: ImageState, picture: Tensor, vectors: Tensor) -> MaskLogits:
        """Three candidate masks per code vector, differentiable.

        Args:
            state: encoded pictures.
            picture: int64 (N,), which picture each vector belongs to.
            vectors: float32 (N, latent_dim).
        """
        sam = self.sam
        n = len(vectors)
        nowhere = (
            torch.zeros(n, 1, 2, device=vectors.device),
            torch.full((n, 1), ABSENT_POINT_LABEL, device=vectors.device),
        )
        chosen = state.select(picture)
        with self._autocast():
            sparse, dense = sam.sam_prompt_encoder(points=nowhere, boxes=None, masks=None)
            # The object score is ignored on purpose: the reference switched SAM 2's "no object" gate off.
            candidates, predicted_iou, _, _ = sam.sam_mask_decoder(
                image_embeddings=chosen.coarse,
                image_pe=sam.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=torch.cat([sparse, vectors[:, None]], dim=1),
                dense_prompt_embeddings=dense,
                multimask_output=True,
                repeat_image=False,
                high_res_features=[chosen.fine, chosen.middle],
            )
        return MaskLogits(candidates, predicted_iou)

    def mask_prompt(self, masks: Tensor) -> Tensor:
        """Masks (N, H, W) of any number type -> float32 (N, 1, S/4, S/4) in 0..1, bilinear with antialiasing."""
        side = self.config.logit_size
        return F.interpolate(masks[:, None].float(), (side, side), mode="bilinear", align_corners=False, antialias=True)

    def _state(self, image: NDArray[np.uint8]) -> ImageState:
        """Feature maps of one picture."""

        def encode(image: NDArray[np.uint8]) -> ImageState:
            return self.encode_pixels(self.pixels([image]))

        return self._remembered.state(image, encode) if self._remembered else encode(image)

    def _gathered_at_once(self) -> int:
        """How many masks of several pictures are decoded together."""
        bytes_of_one = self.config.d_model * self.config.image_size**2 // STATE_SHARE * torch.float32.itemsize
        return max(1, min(MASKS_AT_ONCE, GATHERED_BYTES // bytes_of_one))

    def _logits(
        self,
        images: Sequence[NDArray[np.uint8]],
        codes: Sequence[Tensor | NDArray[np.int64]],
        missing_second: MissingSecond,
    ) -> list[Tensor]:
        """Best logits (N, S/4, S/4) of the codes of each picture, on the tokenizer's device."""
        rows = [torch.as_tensor(some, dtype=torch.int64).to(self.device) for some in codes]
        counts = torch.tensor([len(some) for some in rows], device=self.device)
        vectors = self.quantizer.decode(torch.cat(rows), missing_second)
        if not len(vectors):
            side = self.config.logit_size
            return [torch.zeros(0, side, side, device=self.device) for _ in images]
        state = ImageState(*map(torch.cat, zip(*map(self._state, images), strict=True)))
        picture = torch.arange(len(images), device=self.device).repeat_interleave(counts)
        found = [
            self.logits(state, some, part).best
            for some, part in zip(picture.split(MASKS_AT_ONCE), vectors.split(MASKS_AT_ONCE), strict=True)
        ]
        return list(torch.cat(found).split(counts.tolist()))

    def _embed(self, image: NDArray[np.uint8], masks: NDArray[np.bool_], boxes: NDArray[np.float32] | None) -> Tensor:
        masks = np.asarray(masks).astype(bool, copy=False)
        if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
            raise ValueError(f"masks must have shape (N, {image.shape[0]}, {image.shape[1]}), got {masks.shape}")
        if not len(masks):
            return torch.zeros(0, self.config.latent_dim, device=self.device)
        boxes = normalised_boxes(masks) if boxes is None else np.asarray(boxes)
        if boxes.shape != (len(masks), 4):
            raise ValueError(f"boxes must have shape ({len(masks)}, 4), one per mask, got {boxes.shape}")
        state = self._state(image)
        corners = torch.as_tensor(boxes, dtype=torch.float32, device=self.device)
        found = []
        for first in range(0, len(masks), MASKS_AT_ONCE):
            some = slice(first, first + MASKS_AT_ONCE)
            prompt = self.mask_prompt(torch.from_numpy(masks[some].astype(np.uint8)).to(self.device))
            picture = torch.zeros(len(prompt), dtype=torch.int64, device=self.device)
            found.append(self.embed_regions(state, picture, prompt, corners[some]))
        return torch.cat(found)

    def _autocast(self) -> torch.autocast:
        device_type = self.device.type
        dtype = self.autocast_dtype or (torch.bfloat16 if device_type == "cuda" else torch.float32)
        return torch.autocast(device_type, dtype=dtype, enabled=dtype != torch.float32)


def _together(counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Pictures whose masks are decoded together, those without any left out.

    Args:
        counts: masks per picture.
        most: masks of several pictures at once; a picture with more is alone.

    Yields:
        Indices of neighbours.
    """
    members: list[int] = []
    for i in (i for i, count in enumerate(counts) if count):
        if members and sum(counts[k] for k in members) + counts[i] > most:
            yield members
            members = []
        members.append(i)
    if members:
        yield members


def normalised_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Box of each mask as shares of the picture, corners inclusive; an empty mask has the box 0 0 0 0.

    Args:
        masks: bool (N, H, W).

    Returns:
        float32 (N, 4), x1 y1 x2 y2: first and last foreground column / W and row / H.
    """
    height, width = masks.shape[1:]
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return np.asarray(boxes / np.array([width, height, width, height], dtype=np.float32))
