"""Mouse trials to look at: the class and video tables, and a contact sheet of labelled frames with their points."""

import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.reader import Reader
from tarpon.shards.sources.video import clips
from tarpon.tools.look import Preview
from tarpon.tools.table import table
from tarpon.train.figures.style import UNLABELLED, class_colours
from tarpon.train.tasks.mouse.metrics.segments import find_runs

TILE, CAPTION, GAP, COLUMNS = 288, 40, 8, 6  # pixels; pictures in a row
SURE = 0.9  # likelihood from which a point is drawn full
INK, PAPER = "#222222", "#FFFFFF"


def format_tables(manifest: Manifest) -> Iterator[str]:
    """Lines of the class table and of the video summary."""
    classes = manifest.card["classes"]
    head, rows = ["class"], [[name] for name in (*classes, "unlabelled")]
    for split in SPLITS:
        frames, bouts = count_classes(manifest, split)
        head += [f"{split} frames", "share", "bouts"]
        labelled = max(int(frames[:-1].sum()), 1)
        for index, row in enumerate(rows):
            last = index == len(classes)
            row += [int(frames[index]), "" if last else float(frames[index] / labelled), "" if last else int(bouts[index])]
    yield from table(head, rows)
    yield ""
    yield from _videos(manifest)


def count_classes(manifest: Manifest, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames and bouts of each class in a split: (C + 1,) int64 with the unlabelled last, (C,) int64."""
    count = len(manifest.card["classes"])
    values, offsets = manifest.lists("actions", manifest.rows(split))
    frames = np.bincount(np.where(values < 0, count, values), minlength=count + 1)
    bouts = np.zeros(count, np.int64)
    for begin, end in pairwise(offsets):
        bouts += np.bincount(find_runs(values[begin:end])[2], minlength=count)
    return frames, bouts


def _videos(manifest: Manifest) -> Iterator[str]:
    columns = {
        name: manifest.column(name)
        for name in (
            "source_sha256",
            "subject",
            "width",
            "height",
            "clip_width",
            "clip_height",
            "codec",
            "fps",
            "frames",
            "clip_size",
            "keypoints_size",
            "body_length",
        )
    }
    sizes = Counter(zip(*(columns[name].tolist() for name in ("width", "height", "clip_width", "clip_height")), strict=True))
    gop = manifest.card.get("settings", {}).get("clip", {}).get("gop", "unknown")
    yield f"videos: {len(set(columns['source_sha256']))}, of {len(set(columns['subject']) - {''}) or 'unnamed'} subject(s)"
    for (width, height, clip_width, clip_height), count in sizes.most_common():
        yield f"size: {width} x {height} stored as {clip_width} x {clip_height} in {count} clips"
    rates = ", ".join(f"{rate:g}" for rate in sorted(set(columns["fps"].tolist())))
    size = columns["clip_size"].sum()
    yield (
        f"clips: {', '.join(sorted(set(columns['codec'])))}, a key frame every {gop}, {rates} frames/s, "
        f"{size / 2**20:.1f} MiB, {size / max(columns['frames'].sum(), 1):.0f} bytes a frame"
    )
    names, body = manifest.card.get("settings", {}).get("keypoints", ()), columns["body_length"]
    yield f"points: {', '.join(names) or 'none'}; in {int((columns['keypoints_size'] > 0).sum())} of {len(manifest)} clips" + (
        f"; body length {np.nanmin(body):.0f} to {np.nanmax(body):.0f} pixels" if np.isfinite(body).any() else ""
    )


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One frame to draw."""

    row: int
    frame: int
    action: int  # -1 unlabelled


def pick_frames(manifest: Manifest, *, count: int, seed: int) -> list[Pick]:
    """`count` frames at most, shared out evenly over the classes that occur, in class order; no frame twice.

    The trial is drawn first, then the frame, so that one long bout does not fill a class.
    """
    rng = np.random.default_rng(seed)
    values, offsets = manifest.lists("actions", np.arange(len(manifest)))
    frames: dict[int, dict[int, np.ndarray]] = defaultdict(dict)  # class -> row -> frames in a random order
    for row, (begin, end) in enumerate(pairwise(offsets)):
        for action in np.unique(values[begin:end]):
            frames[int(action)][row] = rng.permutation(np.flatnonzero(values[begin:end] == action))
    if set(frames) - {-1}:
        frames.pop(-1, None)
    # each class as a queue: first one frame of every trial, then the second of every trial, ...
    queues = {}
    for action, by_row in sorted(frames.items()):
        rank = [
            (turn, index, row, int(frame))
            for index, row in enumerate(rng.permutation(list(by_row)))
            for turn, frame in enumerate(by_row[row][:count])
        ]
        queues[action] = [Pick(row=int(row), frame=frame, action=action) for _, _, row, frame in sorted(rank)]
    taken: list[Pick] = []
    for turn in range(count):
        taken += [queue[turn] for queue in queues.values() if turn < len(queue)]
    return sorted(taken[:count], key=lambda pick: pick.action)


def draw_sheet(manifest: Manifest, *, count: int, seed: int) -> bytes:
    """A PNG: labelled frames with their points, captioned with action, frame and key; the points' names below."""
    chosen = pick_frames(manifest, count=count, seed=seed)
    pictures = _decode(manifest, chosen)
    columns, rows = min(COLUMNS, len(chosen)), -(-len(chosen) // COLUMNS)
    width, step = GAP + columns * (TILE + GAP), TILE + CAPTION + GAP
    names = manifest.card.get("settings", {}).get("keypoints", ())
    lines = _legend_lines(names, width=width - 2 * GAP)
    canvas = Image.new("RGB", (width, GAP + rows * step + 20 * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for index, (pick, picture) in enumerate(zip(chosen, pictures, strict=True)):
        x, y = GAP + index % COLUMNS * (TILE + GAP), GAP + index // COLUMNS * step
        canvas.paste(picture, (x, y))
        _caption(pen, manifest, pick, x=x, y=y + TILE)
    for number, line in enumerate(lines):
        x = GAP
        for point in line:
            _dot(pen, x + 6, GAP + rows * step + 20 * number + 8, colour=class_colours(len(names))[point], full=True)
            pen.text((x + 16, GAP + rows * step + 20 * number), names[point], fill=INK, font=_font(13))
            x += _entry_width(names[point])
    buffer = io.BytesIO()
    canvas.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _decode(manifest: Manifest, chosen: list[Pick]) -> list[Image.Image]:
    """Every pick as a tile with its points; each clip is decoded once."""
    reader, tiles = Reader(manifest), {}
    cache: dict[int, list[Pick]] = defaultdict(list)
    for pick in chosen:
        cache[pick.row].append(pick)
    for row, wanted in cache.items():
        stored = clips.frames_at(reader.read(row, "clip"), [pick.frame for pick in wanted])
        content = reader.read(row, "keypoints")
        points = read_npy(content) if content else None
        side = np.array([manifest.value(row, "width"), manifest.value(row, "height")], float)
        for pick, array in zip(wanted, stored, strict=True):
            tiles[pick] = _tile(array, None if points is None else points[pick.frame], side=side)
    reader.close()
    return [tiles[pick] for pick in chosen]


def _tile(array: np.ndarray, points: np.ndarray | None, *, side: np.ndarray) -> Image.Image:
    """A (TILE, TILE) picture: the whole frame, centred, with (K, 3) points given in pixels of the source's `side`."""
    picture = Image.fromarray(array)
    scale = TILE / max(picture.size)
    size = np.maximum(np.rint(np.array(picture.size) * scale), 1).astype(int)
    corner = (TILE - size) // 2
    tile = Image.new("RGB", (TILE, TILE), UNLABELLED)
    tile.paste(picture.resize(tuple(size.tolist()), Image.Resampling.BICUBIC), tuple(corner.tolist()))
    pen = ImageDraw.Draw(tile)
    for colour, (x, y, likelihood) in zip(class_colours(len(points)), points, strict=True) if points is not None else ():
        if np.isfinite([x, y]).all():
            # the middle of pixel i is at (i + 0.5) of the width, in the source as in the tile
            where = (np.array([x, y]) + 0.5) / side * size + corner
            _dot(pen, *where, colour=colour, full=likelihood >= SURE)
    return tile


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, *, colour: str, full: bool) -> None:
    """A small disc, so that the animal below stays visible; a ring where the likelihood is low."""
    if full:
        pen.ellipse([x - 3, y - 3, x + 3, y + 3], outline=PAPER, width=1, fill=colour)
    else:
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], outline=colour, width=2)


def _caption(pen: ImageDraw.ImageDraw, manifest: Manifest, pick: Pick, *, x: int, y: int) -> None:
    classes = manifest.card["classes"]
    name = classes[pick.action] if pick.action >= 0 else "unlabelled"
    colour = class_colours(len(classes))[pick.action] if pick.action >= 0 else UNLABELLED
    pen.rectangle([x, y + 5, x + 11, y + 16], fill=colour)
    pen.text((x + 16, y + 2), f"{name}, frame {pick.frame}, {manifest.value(pick.row, 'split')}", fill=INK, font=_font(13))
    pen.text((x, y + 20), _fit(manifest.value(pick.row, "key"), width=TILE), fill=INK, font=_font(11))


def _fit(text: str, *, width: int) -> str:
    """`text`, with its middle left out where it is wider than `width` pixels: both ends of a key tell trials apart."""
    half = len(text) // 2
    short = text
    while _font(11).getlength(short) > width and half > 1:
        half -= 1
        short = f"{text[:half]}...{text[-half:]}"
    return short


def _legend_lines(names: list[str], *, width: int) -> list[list[int]]:
    """Points of each line of the legend."""
    lines: list[list[int]] = [[]] if names else []
    used = 0
    for point, name in enumerate(names):
        if lines[-1] and used + _entry_width(name) > width:
            lines.append([])
            used = 0
        lines[-1].append(point)
        used += _entry_width(name)
    return lines


def _entry_width(name: str) -> int:
    return 36 + int(_font(13).getlength(name))


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


PREVIEW = Preview(tables=format_tables, sheet=draw_sheet)
