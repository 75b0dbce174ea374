"""The zoomed view of a region is the one that the released captioning script shows."""

from __future__ import annotations

from samtok_eval import masks
from samtok_eval.masks import Rle
from samtok_eval.regions import ZoomRule, cut_mask
from tests.support.originals import cases

RULE = ZoomRule(largest_share=0.3)


def shown(region: Rle):
    """Box, size and mask of the view as the golden file writes them, None for a region that is not enlarged."""
    view = RULE.view(region)
    if view is None:
        return None
    enlarged = masks.encode(cut_mask(masks.decode(region), view))
    return {
        "box": list(view.box),
        "view_height_width": [view.height, view.width],
        "view_mask": {"size": [enlarged.height, enlarged.width], "counts": enlarged.counts},
    }


def test_box_size_and_mask_of_every_view_are_the_scripts():
    differing = [i for i, case in enumerate(cases("zoom_view"))
                 if shown(Rle.from_coco(case["mask"])) != case["original"]]  # fmt: skip
    assert differing == []
