"""`<stem>_annotated.mp4`: the video with its points, the class and its probability, and a strip of all classes over time.

T frames, C classes, K points.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from tarpon.shards import atomic
from tarpon.shards.progress import track
from tarpon.shards.sources.video import clips
from tarpon.tools.mouse.labelled import Labelled
from tarpon.train.figures.style import class_colours

ENCODERS = ("libx264", "mpeg4")  # the first that PyAV was built with
TICKS = 90_000  # a second, of the time stamps: any frame rate falls between them
LEAST_WIDTH = 320  # pixels: a smaller video is shown larger, or the words would not fit
SEEN = 0.6  # likelihood from which on a point of a pose file is drawn
BEFORE_S = 5.0  # seconds shown on either side of the frame in the strip
GREY, WHITE = (90, 90, 90), (255, 255, 255)


def write(labelled: Labelled, out: Path) -> Path:
    """Write the video; returns its path. It has the frames and time stamps of the source, without sound."""
    path, drawer = out / f"{labelled.path.stem}_annotated.mp4", Drawer(labelled)
    total = len(labelled.actions)
    with atomic.replace(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream(encoder(), rate=labelled.fps)
        stream.width, stream.height = drawer.size
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, TICKS)
        stream.codec_context.time_base = Fraction(1, TICKS)
        if stream.codec_context.name == "libx264":
            stream.options = {"preset": "veryfast", "crf": "20"}
        else:
            stream.bit_rate = 4_000_000
        frames = track(_frames(labelled), total=total, what=f"annotate {labelled.path.name}", unit="frames")
        for number, (stamp, picture) in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.asarray(drawer.draw(picture, number)), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def encoder() -> str:
    """Of H.264 where PyAV has it, else MPEG-4 part 2."""
    return next(name for name in ENCODERS if name in av.codecs_available)


def _frames(labelled: Labelled) -> Iterator[tuple[int, Image.Image]]:
    """Time stamp in ticks from the first frame on, rising, and the picture of each labelled frame."""
    first, last = None, -1
    for number, frame in zip(range(len(labelled.actions)), clips.decode(labelled.path), strict=False):
        known = frame.pts is not None and frame.time_base is not None
        seconds = frame.pts * frame.time_base if known else number / labelled.fps
        first = seconds if first is None else first
        last = max(round((seconds - first) * TICKS), last + 1)
        yield last, frame.to_image()


class Drawer:
    """Draws on one picture after the other of one video."""

    def __init__(self, labelled: Labelled) -> None:
        self.labelled = labelled
        width, height = labelled.size
        self.scale = max(1, -(-LEAST_WIDTH // width))  # a whole number: pixels stay square and sharp
        self.shown = (width * self.scale, height * self.scale)
        self.unit = max(10, round(self.shown[0] / 40))  # height of the words, pixels
        self.font = ImageFont.load_default(self.unit)
        self.colours = [ImageColor.getrgb(colour) for colour in class_colours(len(labelled.classes))]
        self.words = 2 * self.unit  # height of the line of words
        self.strip = self.unit * len(labelled.classes)  # height of the strip: a line a class
        self.size = tuple(side + side % 2 for side in (self.shown[0], self.shown[1] + self.words + self.strip))  # even: yuv420p
        self.names = self.unit + max(round(self.font.getlength(name)) for name in labelled.classes)

    def draw(self, picture: Image.Image, number: int) -> Image.Image:
        """The picture of a frame with all that is known of it."""
        canvas = Image.new("RGB", self.size)
        canvas.paste(picture if picture.size == self.shown else picture.resize(self.shown, Image.Resampling.NEAREST))
        pen = ImageDraw.Draw(canvas)
        self._points(pen, number)
        self._words(pen, number)
        self._strip(canvas, pen, number)
        return canvas

    def _points(self, pen: ImageDraw.ImageDraw, number: int) -> None:
        points, own = self.labelled.predicted, self.labelled.predicted is not None
        points = points if own else self.labelled.given
        if points is None or number >= len(points):
            return
        radius = max(4, self.unit // 3)  # less would lose its colour, which is stored at half the size
        for index, point in enumerate(points[number]):
            if not np.isfinite(point[:2]).all() or (not own and point[2] < SEEN):
                continue
            x, y = (float(value) * self.scale for value in point[:2])
            colour = class_colours(len(points[number]))[index]
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=WHITE)

    def _words(self, pen: ImageDraw.ImageDraw, number: int) -> None:
        action, top = int(self.labelled.actions[number]), self.shown[1]
        sure = float(self.labelled.probs[number, action])
        pen.rectangle((0, top + self.unit // 2, self.unit, top + self.unit // 2 + self.unit), fill=self.colours[action])
        label = f"{self.labelled.classes[action]} {sure:.2f}   frame {number}   {float(number / self.labelled.fps):.2f} s"
        pen.text((2 * self.unit, top + self.unit // 3), label, font=self.font, fill=WHITE)

    def _strip(self, canvas: Image.Image, pen: ImageDraw.ImageDraw, number: int) -> None:
        """A line a class, with the seconds around the frame; the bright line in the middle is now."""
        left, top, width = self.names, self.shown[1] + self.words, self.shown[0] - self.names
        reach = max(1, round(BEFORE_S * float(self.labelled.fps)))
        at = number + np.round(np.linspace(-reach, reach, width)).astype(int)
        there = (at >= 0) & (at < len(self.labelled.actions))
        actions = np.where(there, self.labelled.actions[at.clip(0, len(self.labelled.actions) - 1)], -1)
        for index, name in enumerate(self.labelled.classes):
            y = top + index * self.unit
            pen.text((self.unit // 4, y - self.unit // 8), name, font=self.font, fill=self.colours[index])
            line = np.where((actions == index)[:, None], self.colours[index], np.where(there[:, None], (40, 40, 40), (0, 0, 0)))
            block = np.broadcast_to(line.astype(np.uint8), (self.unit - 1, width, 3))
            canvas.paste(Image.fromarray(np.ascontiguousarray(block)), (left, y))
        now = left + width // 2
        pen.line((now, top, now, top + self.strip - 1), fill=WHITE, width=max(1, self.unit // 8))
