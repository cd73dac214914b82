"""Copies of fish images with a model's answers in a white band below."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from tarpon.shards.sources.images import JpegImage

WIDTH = 420  # pixels that a line of the band needs; a narrower picture stands in the middle
TEXT, LINE, MARGIN = 14, 19, 8  # pixels: letters, from line to line, around
INK, PAPER = "#222222", "#FFFFFF"


def write_annotated(
    out: Path, pictures: Mapping[str, JpegImage], table: pa.Table, *, habitats: Sequence[str], threshold: float
) -> None:
    """One JPEG a row of the table, at the image's own place below `out`.

    Args:
        pictures: by the table's image column.
        threshold: of a habitat's probability, from which on it is named.
    """
    for row in table.to_pylist():
        name = row["image"]
        path = out / (name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(pictures[name].content)) as picture:
            add_caption(picture.convert("RGB"), caption_lines(row, habitats=habitats, threshold=threshold)).save(
                path, quality=90
            )


def caption_lines(row: Mapping[str, object], *, habitats: Sequence[str], threshold: float) -> list[str]:
    """One row of predictions as lines of text."""
    lives = [f"{name} {row[f'{name}_prob']:.2f}" for name in habitats if row[f"{name}_prob"] >= threshold]
    feeding = f", {row['feeding']} {row['feeding_prob']:.2f}" if "feeding" in row else ""
    return [
        f"{row['family']} {row['family_prob']:.2f}",
        f"{row['order']} {row['order_prob']:.2f}",
        f"trophic level {row['troph']:.2f}{feeding}",
        *([", ".join(lives[i : i + 3]) for i in range(0, len(lives), 3)] or ["no habitat"]),
    ]


def add_caption(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The picture with a white band of text below; never scaled."""
    width = max(picture.width, WIDTH)
    canvas = Image.new("RGB", (width, picture.height + len(lines) * LINE + 2 * MARGIN), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for number, line in enumerate(lines):
        pen.text((MARGIN, picture.height + MARGIN + number * LINE), line, fill=INK, font=font)
    return canvas
