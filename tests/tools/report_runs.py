"""Run folders as the report finds them, and its page parsed as a browser would. Loaded by the fixture `report_runs`."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials

CLASSES = ["rest", "paw_withdraw", "walk"]


POINTS = ["mouth", "tail_base"]


SECTIONS = [
    "result",
    "how-the-split-was-made",
    "training",
    "classes",
    "bouts",
    "labels-from-probabilities",
    "trials",
    "ethograms",
    "keypoints",
    "how-the-scores-are-measured",
    "all-metrics",
    "configuration-and-machine",
]


class Page(HTMLParser):
    """What a reader sees: text, table rows and images by section, and every address that would be fetched."""

    def __init__(self, path):
        super().__init__()
        self.text, self.rows, self.images, self.addresses, self.tags = {}, {}, {}, [], set()
        self.alternatives, self.ids, self.heads = {}, set(), []  # texts of images by section; `scope` of every head
        self.section, self.style, self.cell = "head", False, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.style = tag == "style"
        if tag == "section":
            self.section = attrs["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.cell = True
            self.rows[self.section][-1].append("")
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.heads += [attrs.get("scope")] if tag == "th" else []
        if tag == "img":
            self.alternatives.setdefault(self.section, []).append(attrs["alt"])
            self.images.setdefault(self.section, []).append(attrs["src"])
        self.addresses += [value for name, value in attrs.items() if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        if self.style:
            return
        self.text[self.section] = self.text.get(self.section, "") + data
        if self.cell:
            self.rows[self.section][-1][-1] += data

    def handle_endtag(self, tag):
        self.style = False
        self.cell = self.cell and tag not in ("td", "th")

    def pictures(self, section):
        """The images of a section, decoded; each must be a PNG inside the page."""
        found = []
        for source in self.images.get(section, []):
            head, data = source.split(",", 1)
            assert head == "data:image/png;base64"
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert image.format == "PNG"
            found.append(np.asarray(image.convert("RGB")))
        return found


def make_trial(key, group, *, seed, frames=40, keypoints=True):
    rng = np.random.default_rng(seed)
    actions = np.repeat(rng.permutation([0, 0, 0, 1, 2]), frames // 5).astype(np.int64)
    probs = (np.eye(3)[actions] + 1.6 * rng.random((frames, 3))).astype(np.float32)
    places = rng.uniform(0.2, 0.8, (frames, 2, 2)).astype(np.float32)
    seen = np.concatenate([places, np.ones((frames, 2, 1), np.float32)], axis=2)
    return Trial(
        key=key,
        group=group,
        actions=actions,
        probs=probs / probs.sum(1, keepdims=True),
        size=(64, 48),
        keypoints=seen if keypoints else None,
        keypoints_pred=places + np.float32(0.01) if keypoints else None,
    )


def make_run(folder, *, splits=("val", "test"), keypoints=True, classes=CLASSES, groups=("m1", "m2"), curves=False):
    """A finished run: one trial a group, each group named after its split; drawing curves is slow, so most tests do without."""
    (folder / "predictions").mkdir(parents=True)
    metrics = {}
    for place, split in enumerate(splits):
        trials = [
            make_trial(f"{split}_trial_{i}", f"{split} {group}", seed=10 * place + i, keypoints=keypoints)
            for i, group in enumerate(groups)
        ]
        points = POINTS if keypoints else []
        save_trials(folder / "predictions" / f"{split}.npz", trials, classes=classes, points=points)
        metrics[split] = score(trials, classes=classes, points=points)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.yaml").write_text("task: mouse\noptim:\n  lr: 5.0e-05\n")
    lines = [{"step": step, "epoch": 0, "loss": 1.0 / step, "val/macro_f1": 0.4} for step in (1, 2, 3)] if curves else []
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(
        json.dumps({"task": "mouse", "machine": {"gpu": "one H200"}, "versions": {"torch": "2.11"}})
    )
    return folder


def grey_frames(asked):
    """Stored frames of a 64 x 48 video, and a note of what was asked for."""

    def frames(key, places):
        asked[key] = list(places)
        return np.full((len(places), 48, 64, 3), 90, np.uint8)

    return frames
