"""Intersection over union of boxes."""

from __future__ import annotations

Box = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels."""
SAME_BOX = 0.5
"""IoU from which on two boxes count as the same, the rule of accuracy on referring expressions."""


def box_iou(first: Box, second: Box) -> float:
    """IoU of two boxes of width x2 - x1; 0 when both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    inter = max(width, 0) * max(height, 0)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - inter
    return inter / union if union else 0.0
