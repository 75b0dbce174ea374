"""Shape of a mask tokenizer: everything needed to build one before its weights are read.

The defaults describe the published SAMTok tokenizer (SAM 2.1 Hiera-L at 1024 px, two codebooks of 256).
The field names are the constructor arguments of the `sam2` package's modules wherever such an argument exists.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from samtok_eval.mask_tokens import Layout

SAM2_BACKBONE_STRIDE = 16
SAM2_TRUNK_STRIDE = 4
MAX_SIDE = 2**13
"""Pixels of a picture's side; the size of what is computed for one follows from it."""
_Side: TypeAlias = Annotated[int, Field(gt=0, le=MAX_SIDE)]
_Count: TypeAlias = Annotated[int, Field(gt=0)]


class MaskTokenizerConfig(BaseModel):
    """Sizes of the image encoder, the mask heads and the residual quantizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=1024, gt=0, le=MAX_SIDE)
    """Side in pixels of the square picture that the image encoder sees."""
    embed_dim: int = Field(default=144, gt=0)
    """Channels of the first Hiera stage; each later stage doubles them."""
    num_heads: int = Field(default=2, gt=0, le=MAX_SIDE)
    """Attention heads of the first Hiera stage."""
    stages: tuple[_Count, _Count, _Count, _Count] = (2, 6, 36, 4)
    """Blocks per Hiera stage."""
    global_att_blocks: tuple[int, ...] = (23, 33, 43)
    """Indices of the blocks with global instead of windowed attention."""
    window_pos_embed_bkg_spatial_size: tuple[_Side, _Side] = (7, 7)
    """Size of the background position embedding, in cells."""
    window_spec: tuple[_Side, _Side, _Side, _Side] = (8, 4, 16, 8)
    """Attention window per stage, in cells."""
    d_model: int = Field(default=256, gt=0)
    """Width of the feature pyramid and of the mask heads."""
    backbone_channel_list: tuple[int, int, int, int] = (1152, 576, 288, 144)
    """Channels of the four stages, last stage first."""
    latent_dim: int = Field(default=256, gt=0)
    """Width of the vector that is quantized; must equal `d_model`."""
    codebook_size: int = Field(default=256, gt=1)
    """Entries of each codebook."""
    codebook_depth: int = Field(default=2, gt=0)
    """Number of residual codebooks, i.e. of words per mask."""
    decoder_heads: int = Field(default=8, gt=0, le=MAX_SIDE)
    """Attention heads of the mask encoder and of the mask decoder."""
    decoder_mlp_dim: int = Field(default=2048, gt=0)
    """Hidden width of their feed-forward blocks."""
    decoder_downsample_rate: int = Field(default=2, gt=0, le=MAX_SIDE)
    """Factor by which their cross-attention narrows the channels."""
    video_memory: bool | None = None
    """Whether SAM 2's video memory modules exist. They are never used for tokenizing, but the published file carries
    them. None: they exist when `d_model` is 256, the only width SAM 2.1's memory is built for."""

    @model_validator(mode="after")
    def _consistent(self) -> MaskTokenizerConfig:
        channels = tuple(self.embed_dim * factor for factor in (8, 4, 2, 1))
        if self.backbone_channel_list != channels:
            raise ValueError(
                f"backbone_channel_list must be embed_dim x (8, 4, 2, 1) = {channels}, got {self.backbone_channel_list}"
            )
        if self.latent_dim != self.d_model:
            raise ValueError(f"latent_dim must equal d_model ({self.d_model}), got {self.latent_dim}")
        if self.d_model % 16:
            raise ValueError(f"d_model must be a multiple of 16, got {self.d_model}")
        cells = self.image_size // SAM2_TRUNK_STRIDE
        if self.image_size % SAM2_BACKBONE_STRIDE or cells % self.window_spec[0]:
            raise ValueError(
                f"image_size must be a multiple of 16 and image_size/4 of window_spec[0]={self.window_spec[0]}, "
                f"got {self.image_size}"
            )
        starts = {sum(self.stages[:i]) for i in range(1, len(self.stages))}
        if starts & set(self.global_att_blocks):
            raise ValueError(
                f"the first block of a stage cannot attend globally (Hiera pools there): "
                f"remove {sorted(starts & set(self.global_att_blocks))} from global_att_blocks"
            )
        return self

    @property
    def layout(self) -> Layout:
        """Size and depth of the codebooks, which give mask words their meaning."""
        return Layout(self.codebook_size, self.codebook_depth)

    @property
    def has_video_memory(self) -> bool:
        """Whether the state dict holds SAM 2's memory attention and memory encoder."""
        return self.d_model == 256 if self.video_memory is None else self.video_memory

    @property
    def logit_size(self) -> int:
        """Side of the low-resolution mask logits in pixels, also of the mask prompt."""
        return self.image_size // SAM2_TRUNK_STRIDE
