"""Mouse trials for `tarpon view`: frames with labelled and predicted points, behaviours over time. T frames, K points."""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tarpon.shards.manifest import Manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.sources.video.clips import decode
from tarpon.shards.sources.video.display import Display
from tarpon.tools.mouse.look import SURE
from tarpon.tools.view.record import Album, Curve, Detail, Entry, Points, Strip, finite, list_places
from tarpon.train.figures.style import class_colours
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.mouse.metrics.trial import Trial, load_trials

HELD = 4  # trials whose frames are kept, as JPEG: 10 KB a frame of 224 pixels
QUALITY = 92


class ClipFrames:
    """Frames of one stored clip as JPEG files, decoded in order as far as they are asked for, each once."""

    def __init__(self, content: bytes) -> None:
        self._frames, self._display, self._done = decode(content), Display(), []

    def at(self, number: int) -> bytes:
        """ValueError where the clip has fewer frames."""
        while len(self._done) <= number:
            frame = next(self._frames, None)
            if frame is None:
                raise ValueError(f"has no frame {number}")
            buffer = io.BytesIO()
            Image.fromarray(self._display.rgb(frame)).save(buffer, format="jpeg", quality=QUALITY)
            self._done.append(buffer.getvalue())
        return self._done[number]


class MouseAlbum(Album):
    """Trials of a data set, in its order, with a run's predictions where there are any."""

    def __init__(self, manifest: Manifest, run: Path | None) -> None:
        super().__init__(manifest, run)
        self.trials: dict[str, Trial] = {}
        self.classes, self.predicted_classes = list(manifest.card["classes"]), []
        for split in ("val", "test"):
            path = None if run is None else run / "predictions" / f"{split}.npz"
            if path is not None and list_shares(path):
                trials, self.predicted_classes, _ = load_trials(path)
                self.trials |= {trial.key: trial for trial in trials}
        self._lock = threading.Lock()
        self._clips: OrderedDict[int, ClipFrames] = OrderedDict()

    def _entries(self) -> Iterator[Entry]:
        columns = (self.manifest.column(name).tolist() for name in ("key", "split", "group", "frames"))
        for key, split, group, frames in zip(*columns, strict=True):
            yield Entry(key=key, split=split, words=f"{group}, {frames} frames", predicted=key in self.trials)

    def steps(self, row: int) -> int:
        return int(self.manifest.value(row, "frames"))

    def picture(self, row: int, frame: int) -> tuple[bytes, str]:
        with self._lock:  # a decoder goes through a clip once: two readers of it would disturb each other
            if row not in self._clips:
                self._clips[row] = ClipFrames(self.reader.read(row, "clip"))
                while len(self._clips) > HELD:
                    self._clips.popitem(last=False)
            self._clips.move_to_end(row)
            return self._clips[row].at(frame), "image/jpeg"

    def detail(self, row: int) -> Detail:
        value, trial = partial(self.manifest.value, row), self.trials.get(self.manifest.value(row, "key"))
        facts = [
            ("split", value("split")),
            ("kept together as", value("group")),
            ("video", value("source")),
            ("first frame in it", str(value("first_frame"))),
            ("source", f"{value('width')} x {value('height')} px, {value('fps'):g} frames/s"),
            ("stored", f"{value('clip_width')} x {value('clip_height')} px, {value('codec')}"),
        ]
        if trial is not None and (trial.actions >= 0).any():
            known = trial.actions >= 0
            facts.append(("frames given the right class", f"{(trial.predicted == trial.actions)[known].mean():.1%}"))
        return Detail(
            facts=facts,
            steps=self.steps(row),
            unit="frame",
            rate=float(value("fps")),
            strips=self._strips(row, trial),
            curves=[] if trial is None else [_confidence(trial)],
            points=list(self._points(row, trial)),
        )

    def _strips(self, row: int, trial: Trial | None) -> list[Strip]:
        """As stored; beside a prediction in the run's own classes, which may merge some."""
        stored, _ = self.manifest.lists("actions", np.array([row]))
        if trial is None:
            return [_strip("labelled", stored, self.classes)]
        own = self.predicted_classes
        return [_strip("labelled", trial.actions, own), _strip("predicted", trial.predicted, own)]

    def _points(self, row: int, trial: Trial | None) -> Iterator[Points]:
        content, names = self.reader.read(row, "keypoints"), self.manifest.card.get("settings", {}).get("keypoints", ())
        look = {"names": list(names), "colours": class_colours(len(names))}
        if content and names:
            xyl = read_npy(content)
            side = np.array([self.manifest.value(row, "width"), self.manifest.value(row, "height")], float)
            known, sure = np.isfinite(xyl[..., :2]).all(-1), xyl[..., 2] >= SURE
            # the middle of pixel i is at (i + 0.5) of the width, in the source as in the picture
            yield Points(name="labelled", places=list_places((xyl[..., :2] + 0.5) / side, sure, known), **look)
        if trial is not None and trial.keypoints_pred is not None and trial.keypoints_pred.shape[1] == len(names):
            all_of_them = np.ones(trial.keypoints_pred.shape[:2], bool)
            yield Points(name="predicted", places=list_places(trial.keypoints_pred, all_of_them, all_of_them), **look)


def _strip(name: str, values: np.ndarray, names: Sequence[str]) -> Strip:
    return Strip(name=name, values=values.tolist(), names=list(names), colours=class_colours(len(names)))


def _confidence(trial: Trial) -> Curve:
    return Curve(
        name="confidence", unit="probability of the predicted class", values=finite(trial.probs.max(1)), colour="#888888"
    )
