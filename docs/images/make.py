"""Makes `report.webp`, the picture of a report at the head of the README: `python docs/images/make.py`.

It scores the answers that ship with the program (`samtok-eval demo --replay`), opens the report of GRES in Chromium
(Debian: `apt install chromium`) and keeps its scores and two of its lowest answers. Run it again when reports look
otherwise.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from samtok_eval.demo.replay import replayed
from samtok_eval.reports.page.page import write_reports

OUT = Path(__file__).parent / "report.webp"
WIDTH = 1100
"""Of the window, in CSS pixels."""
SCALE = 1.5
GAP = 24
CARDS = (2, 3)
"""Of the lowest answers, from 0; two that stand side by side."""
MOST_BYTES = 200_000


def main() -> None:
    """Score, report, photograph."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        _, runs = next(replayed(Path(folder)))
        report = write_reports([run.path for run in runs])[0]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800}, device_scale_factor=SCALE)
        page.goto(report.as_uri())
        cards = page.locator("#worst .card")
        rows = [[page.locator("#scores").screenshot()], [cards.nth(i).screenshot() for i in CARDS]]
        browser.close()
    picture = stacked([side_by_side([opened(part) for part in row]) for row in rows])
    picture.save(OUT, quality=80, method=6)
    size = OUT.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{OUT} has {size} bytes, more than {MOST_BYTES}; lower SCALE")
    sys.stdout.write(f"{OUT}: {picture.width} x {picture.height}, {size} bytes\n")


def opened(content: bytes) -> Image.Image:
    """A photograph of a part of the page."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def side_by_side(parts: list[Image.Image]) -> Image.Image:
    """Pictures in a row, from the left."""
    joined = Image.new(
        "RGB", (sum(part.width + GAP for part in parts) - GAP, max(part.height for part in parts)), "white"
    )
    left = 0
    for part in parts:
        joined.paste(part, (left, 0))
        left += part.width + GAP
    return joined


def stacked(rows: list[Image.Image]) -> Image.Image:
    """Pictures one below the other, with a margin."""
    height = sum(row.height + GAP for row in rows) + GAP
    joined = Image.new("RGB", (max(row.width for row in rows) + 2 * GAP, height), "white")
    top = GAP
    for row in rows:
        joined.paste(row, (GAP, top))
        top += row.height + GAP
    return joined


if __name__ == "__main__":
    main()
