"""Pictures with captions on one canvas."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

TILE, GAP, COLUMNS, LINE = 200, 8, 6, 15  # pixels; pictures in a row; pixels a line of caption
INK, PAPER, EMPTY = "#222222", "#FFFFFF", "#EEEEEE"


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[Sequence[str]]) -> bytes:
    """A PNG of the pictures, each whole in a square tile, with the lines of its caption below."""
    font, lines = ImageFont.load_default(12), max(map(len, captions))
    columns, rows = min(COLUMNS, len(pictures)), -(-len(pictures) // COLUMNS)
    step = TILE + lines * LINE + GAP
    canvas = Image.new("RGB", (GAP + columns * (TILE + GAP), GAP + rows * step), PAPER)
    pen = ImageDraw.Draw(canvas)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = GAP + index % COLUMNS * (TILE + GAP), GAP + index // COLUMNS * step
        canvas.paste(_tile(picture), (x, y))
        for number, text in enumerate(caption):
            pen.text((x, y + TILE + number * LINE), _fit(text, font), fill=INK, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _tile(picture: Image.Image) -> Image.Image:
    scale = TILE / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    tile = Image.new("RGB", (TILE, TILE), EMPTY)
    tile.paste(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _fit(text: str, font: ImageFont.FreeTypeFont) -> str:
    """`text`, with its middle left out where it is wider than a tile: both ends of a name tell files apart."""
    half, short = len(text) // 2, text
    while font.getlength(short) > TILE and half > 1:
        half -= 1
        short = f"{text[:half]}...{text[-half:]}"
    return short
