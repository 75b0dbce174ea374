"""Where the bundled checkpoint lies: a Qwen3-VL folder with its mask tokenizer inside."""

from __future__ import annotations

from pathlib import Path

DEMO_CHECKPOINT = Path(__file__).parent / "checkpoint"
