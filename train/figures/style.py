"""What every figure of a run shares: how it becomes pixels, its colours and its words.

Figures are drawn once, by `curves` and the figures of each task, and shown by TensorBoard (`pixels`) and by the
report (`png`). They are made without pyplot, so nothing global is touched and any thread may draw. All are meant for a white
ground, and a class has the same colour in every figure.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's eight, told apart by people with any of the common colour blindnesses; the calm blue first, because class 0 is
# the resting class and fills most of an ethogram.
CLASS_COLOURS = ("#56B4E9", "#D55E00", "#009E73", "#E69F00", "#0072B2", "#CC79A7", "#F0E442", "#000000")
UNLABELLED = "#C9C9C9"
SERIES_COLOURS = ("#222222", "#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE")  # Tol's bright set, for what is not a class
WIDTH_IN = 10.0  # inches; 1100 px at the default resolution


def pixels(figure: Figure, *, dpi: int = 110) -> np.ndarray:
    """(H, W, 3) uint8 RGB, as TensorBoard's `add_image(..., dataformats="HWC")` takes it."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)  # savefig would lay out and draw everything twice
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def png(figure: Figure, *, dpi: int = 110, colours: int | None = None) -> bytes:
    """A PNG file's bytes; `colours` (2 to 256) reduces it to a palette, which makes a photograph about a third as large."""
    image = Image.fromarray(np.ascontiguousarray(pixels(figure, dpi=dpi)))
    if colours is not None:
        # The octree keeps a small bright mark its own colour; median cut turned yellow crosses on grey frames into brown.
        image = image.quantize(colours, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def class_colours(count: int) -> tuple[str, ...]:
    """`count` hex colours in class order. Past eight classes no set stays safe for colour-blind readers: a wheel is used."""
    if count <= len(CLASS_COLOURS):
        return CLASS_COLOURS[:count]
    return tuple(to_hex(colormaps["turbo"](position)) for position in np.linspace(0.03, 0.97, count))


def plain(text: str, *, limit: int = 32) -> str:
    """Text as it stands: a dollar sign would start matplotlib's mathematics, and a long name would cover its neighbour."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.replace("$", r"\$")


Frames = Callable[[str, Sequence[int]], np.ndarray]  # (trial key, ascending frame numbers) -> (n, H, W, 3) uint8
