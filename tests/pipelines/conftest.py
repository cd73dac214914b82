"""Loaders over the packed lab, and the truth about its frames by another way: PyAV, PIL and the CSV files."""

import io
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tarpon.pipelines.clip.feed import ClipFields
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import ClipDraw
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.video import clips as video
from tarpon.tools.mouse.demo.tracking import SCORER

MERGE = (0, 1, 2, 1, 3, 1, 4, 5)
SWAP = (0, 1, 3, 2, 5, 4)
LIKELIHOOD = 0.9
GREYS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}  # deliver grey levels 0..255


@pytest.fixture(scope="session")
def packed_as(tmp_path_factory, mouse_lab, mouse_shards, pack_mouse) -> Callable[[str], Manifest]:
    """The lab's shards in a codec, packed once."""
    made = {"vp9": mouse_shards}

    def get(codec: str) -> Manifest:
        if codec not in made:
            with ThreadPoolExecutor(2) as pool:
                made[codec], faults = pack_mouse(
                    mouse_lab,
                    tmp_path_factory.mktemp(codec),
                    executor=pool,
                    source=mouse.MouseSource(clip=video.ClipFormat(codec=codec)),
                )
            assert faults == []
        return made[codec]

    return get


@pytest.fixture
def make_loader() -> Callable[..., Loader]:
    """(manifest, frames=, batch=, size=, noise_sd=, limit=, device=, prefetch=, ...) -> loader of grey levels 0..255."""

    def make(
        manifest: Manifest,
        *,
        frames: int = 16,
        batch: int = 1,
        size: int = 160,
        noise_sd: float = 0.0,
        limit: int = 0,
        device: int | None = None,
        prefetch: int = 2,
        resize: bool = False,
        decode_batches: int = 0,
        stance_frames: int = 0,
        with_likelihood: bool = False,
    ) -> Loader:
        ways = {"noise_sd": noise_sd, "stance_frames": stance_frames, "with_likelihood": with_likelihood}
        fields = ClipFields(frames=frames, size=size, likelihood=LIKELIHOOD, merge=MERGE, swap=SWAP, **ways, **GREYS)
        feed = Feed(manifest, Reader(manifest), fields, pool=np.arange(len(manifest)), budget=Budget(limit=limit))
        graph = ClipGraph(size=size, batch=batch, resize=resize, noise=noise_sd > 0)
        return Loader(graph, feed, device=device, prefetch=prefetch, decode_batches=decode_batches)

    return make


@pytest.fixture
def drawn() -> Callable[..., ClipDraw]:
    """A draw that changes nothing but what is given."""

    def make(frames: int = 16, **given) -> ClipDraw:
        still = {
            "window": 0.0,
            "brightness": 1.0,
            "contrast": 1.0,
            "dropped": np.zeros(frames, bool),
            "noise": None,
            "roll": 0,
            "flip": False,
            "jitter": np.zeros((6, 2), np.float32),
        }
        return ClipDraw(**still | given)

    return make


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a window must hold, from the lab folder alone."""

    lab: Path

    def pixels(self, stem: str, first: int, count: int, *, size: int) -> np.ndarray:
        """(T, H, W, 3) float of source frames first.. counted from the file's start, resized by PIL."""
        with av.open(str(self.lab / "Videos" / f"{stem}.mp4")) as container:
            frames = itertools.islice(container.decode(video=0), first, first + count)
            return np.stack(
                [
                    np.asarray(
                        Image.fromarray(frame.to_ndarray(format="rgb24")).resize((size, size), Image.Resampling.BILINEAR), float
                    )
                    for frame in frames
                ]
            )

    def actions(self, stem: str, trial: int, start: int, count: int) -> np.ndarray:
        """Merged classes of rows of a trial's CSV."""
        path = self.lab / "Annotations" / f"prediction_{stem}.mp4_{trial}.csv"
        return np.array(MERGE)[np.loadtxt(path, delimiter=",", skiprows=1, dtype=int)[start : start + count, 1]]

    def keypoints(self, stem: str, first: int, count: int, *, side: int) -> np.ndarray:
        """(T, 6, 3) x, y in 0..1 and visible, in the model's order, of video frames first.."""
        path = self.lab / "Videos" / f"{stem}{SCORER}.csv"
        rows = np.loadtxt(path, delimiter=",", skiprows=3 + first, max_rows=count)[:, 1:].reshape(count, 6, 3)[
            :, [0, 5, 1, 2, 3, 4]
        ]
        seen = rows[..., 2] >= LIKELIHOOD
        return np.concatenate([np.where(seen[..., None], rows[..., :2] / side, 0), seen[..., None]], -1)


@pytest.fixture(scope="session")
def truth(mouse_lab) -> Truth:
    return Truth(lab=mouse_lab)


@pytest.fixture(scope="session")
def busiest() -> Callable[[Manifest, int, int], int]:
    """(manifest, row, frames) -> start of the trial's window with most motion."""

    def find(manifest: Manifest, row: int, frames: int) -> int:
        proof = np.load(io.BytesIO(Reader(manifest).read(row, "proof"))).astype(float)
        motion = np.abs(np.diff(proof, axis=0)).reshape(len(proof) - 1, -1).sum(1)
        return int(np.convolve(motion[:-3], np.ones(frames), "valid")[3:].argmax()) + 3

    return find
