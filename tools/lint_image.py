"""The check of a stored JPEG image, whatever it shows."""

import io
from collections.abc import Iterator

from PIL import Image

from tarpon.shards.sources.images import BROKEN
from tarpon.tools.lint_checks import Stored


def check_image(sample: Stored) -> Iterator[str]:
    """The image decodes, in the size that the manifest says, as an upright RGB JPEG."""
    row = sample.row
    try:
        with Image.open(io.BytesIO(sample.files["jpg"])) as picture:
            kind, size = f"{picture.mode} {picture.format}", picture.size
            if size == (row["width"], row["height"]):  # of another size nothing is decoded: it may be of any
                picture.load()
    except (Image.DecompressionBombError, *BROKEN) as error:
        yield f"jpg does not decode ({error})"
        return
    if kind != "RGB JPEG":
        yield f"jpg is {kind}, RGB JPEG is expected"
    if size != (row["width"], row["height"]):
        yield f"jpg is {size[0]} x {size[1]}, the manifest says {row['width']} x {row['height']}"
