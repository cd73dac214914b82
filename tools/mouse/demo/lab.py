"""A synthetic lab folder for the mouse task: bottom-view videos, DeepLabCut files and one annotation file a trial.

The layout, the names and the file formats are those of a real lab; the animals are drawn. All eight actions are in
every video, each to be seen in the pixels and in the keypoints alike. The annotation files are the truth.
"""

import datetime
import os
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from tarpon.shards.progress import Progress
from tarpon.tools.mouse.demo.behaviour import FPS, NUM_ACTIONS, Animal, perform, schedule, schedule_apart
from tarpon.tools.mouse.demo.drawing import POINTS, figure, floor, frames
from tarpon.tools.mouse.demo.faults import good_pair, spoil, spoilt_stems
from tarpon.tools.mouse.demo.tracking import SCORER, track, write_dlc

ACTIONS = ("rest", "paw_withdraw", "paw_lick", "paw_guard", "paw_shake", "flinch", "walk", "active")
FOLDERS = ("Videos", "Annotations")
TRIAL_FRAMES = 360
LATE = 15  # frames without a label at the start of a trial whose annotation has 345 rows
LATE_SHARE = 1 / 6  # of the trials
FAULT_SIDE = 128  # pixels at most; the videos made to be spoilt are small
GOP = 250  # frames; lab recordings have sparse key frames, and none at the start of a trial
# No look-ahead and fixed B-frames: half the time of plain veryfast (512 x 512, one core), at 1.4 times the bytes.
X264 = {"preset": "veryfast", "crf": "23", "threads": "1",
        "x264-params": "bframes=2:b-adapt=0:weightp=0:scenecut=0:rc-lookahead=0:aq-mode=0"}  # fmt: skip
FIRST_DAY = datetime.date(2023, 10, 25)
VIDEOS_PER_ANIMAL = 1.5


@dataclass(frozen=True, kw_only=True)
class Session:
    """One video to make. All its randomness comes from `seed`, so the order of making does not matter."""

    stem: str
    animal: Animal
    late: tuple[bool, ...]  # a trial each: annotation starts LATE frames in
    size: int  # frame side in pixels
    seed: tuple[int, int]
    apart: bool = False  # the trials have different actions


def write(
    out: Path,
    *,
    videos: int = 12,
    seed: int = 7,
    size: int = 512,
    faults: bool = False,
    apart: bool = False,
    workers: int | None = None,
) -> dict:
    """Write `out/Videos` and `out/Annotations`.

    Args:
        videos: good videos, of two or three trials of 360 frames each; about three videos for two animals.
        size: frame side in pixels, a multiple of 16 from 64 up.
        apart: each trial of a video has its own actions, to catch who reads one trial's frames with another's labels.
        faults: also write one video or file of every kind that packing must refuse, beside the good ones.
        workers: processes; None takes one a usable core. The files do not depend on it.

    Returns:
        Counts of the good part: `videos`, `animals`, `trials`, `frames` (video frames), `labelled` (annotation rows),
        `shares` (action name -> share of the labelled frames); and `faults`, a list of {"file", "kind", "trial"}:
        the file at fault, what is wrong with it, and the annotation that must not be packed, relative to `out`.
    """
    out = Path(out)
    _check(out, videos=videos, size=size, workers=workers)
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    good = [replace(session, apart=apart) for session in _sessions(videos, seed=seed, size=size)]
    bad = []
    if faults:
        good += _extra(good_pair(), seed=seed, first=1000, size=min(size, FAULT_SIDE))
        bad = _extra(spoilt_stems(), seed=seed, first=2000, size=min(size, FAULT_SIDE))
    counts = _make(good + bad, out=out, workers=workers)
    kept = [counts[session.stem] for session in good]
    total = np.sum(kept, axis=0)
    return {
        "videos": len(kept),
        "animals": len({session.animal.name for session in good}),
        "trials": sum(len(session.late) for session in good),
        "frames": sum(len(session.late) for session in good) * TRIAL_FRAMES,
        "labelled": int(total.sum()),
        "shares": {name: float(total[action] / total.sum()) for action, name in enumerate(ACTIONS)},
        "faults": spoil(out, scorer=SCORER) if faults else [],
    }


def _check(out: Path, *, videos: int, size: int, workers: int | None) -> None:
    if videos < 1:
        raise ValueError(f"videos={videos} must be 1 or more")
    if size < 64 or size % 16:
        raise ValueError(f"size={size} must be a multiple of 16 from 64 up, such as 128, 256 or 512")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers} must be 1 or more, or None for one a core")
    for folder in FOLDERS:
        if (out / folder).is_dir() and any((out / folder).iterdir()):
            raise ValueError(f"{out / folder} already holds files, which would mix with the new ones; choose an empty folder")


def _sessions(videos: int, *, seed: int, size: int) -> list[Session]:
    """The good videos: animals return on another day, half the videos have three trials."""
    rng = np.random.default_rng((seed, 0))
    herd = _herd(min(videos, max(2, round(videos / VIDEOS_PER_ANIMAL))), rng=rng)
    trials = rng.permutation([2 + place % 2 for place in range(videos)])
    late = np.zeros(trials.sum(), bool)
    late[rng.permutation(len(late))[: max(1, round(LATE_SHARE * len(late)))]] = True
    starts = np.concatenate([[0], np.cumsum(trials)])
    made = []
    for video in range(videos):
        visit, number = divmod(video, len(herd))
        day = FIRST_DAY + datetime.timedelta(days=7 * visit + number // 4)
        cohort = ("CFA", "SAL")[number % 2]
        made.append(Session(
            stem=f"shortened_{day.isoformat()}_{cohort}_{10 + number:03d}_{herd[number].name}_tracking",
            animal=herd[number], late=tuple(late[starts[video] : starts[video + 1]].tolist()),
            size=size, seed=(seed, video + 1),
        ))  # fmt: skip
    return made


def _extra(stems: list[str], *, seed: int, first: int, size: int) -> list[Session]:
    """Small videos of one trial under given names; the ear tag is part of the name."""
    rng = np.random.default_rng((seed, first))
    return [
        Session(stem=stem, animal=_animal(stem.split("_")[4], rng=rng), late=(False,), size=size,
                seed=(seed, first + 1 + place))
        for place, stem in enumerate(stems)
    ]  # fmt: skip


def _herd(count: int, *, rng: np.random.Generator) -> list[Animal]:
    return [_animal(f"{267 + 4 * place}{'MF'[int(rng.integers(2))]}", rng=rng) for place in range(count)]


def _animal(name: str, *, rng: np.random.Generator) -> Animal:
    return Animal(
        name=name, body=rng.uniform(0.26, 0.33), girth=rng.uniform(0.9, 1.15), tempo=rng.uniform(0.92, 1.08),
        sore_side=int(rng.choice([-1, 1])), coat=int(rng.integers(52, 84)), paw=int(rng.integers(188, 214)),
        floor=int(rng.integers(112, 168)),
    )  # fmt: skip


def _make(sessions: list[Session], *, out: Path, workers: int | None) -> dict[str, np.ndarray]:
    """Write every session; stem -> (8,) labelled frames of each action."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(sessions))
    with Progress(len(sessions), what="demo", unit="videos") as bar:
        if workers == 1:
            counts = {}
            for session in sessions:
                counts[session.stem] = write_session(session, out)
                bar.update()
            return counts
        # spawn: the caller may hold threads or a GPU context, and neither survives a fork
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            return _collect(pool, sessions, out=out, bar=bar)


def _collect(pool: Executor, sessions: list[Session], *, out: Path, bar: Progress) -> dict[str, np.ndarray]:
    pending = {pool.submit(write_session, session, out): session.stem for session in sessions}
    counts = {}
    for done in as_completed(pending):
        counts[pending[done]] = done.result()
        bar.update()
    return counts


def write_session(session: Session, out: Path) -> np.ndarray:
    """Write one video, its DLC file and its annotations; (8,) labelled frames of each action."""
    rng = np.random.default_rng(session.seed)
    labels = (schedule_apart if session.apart else schedule)(len(session.late), frames=TRIAL_FRAMES, rng=rng)
    ground = floor(session.animal, size=session.size, rng=rng)
    points, pictures, last = [], [], None
    for trial in labels:
        motion = perform(trial, animal=session.animal, size=session.size, avoid=last, rng=rng)
        last = motion.centre[-1]
        pose = figure(motion, animal=session.animal, size=session.size)
        points.append(pose.points)
        pictures.append(frames(pose, animal=session.animal, ground=ground, rng=np.random.default_rng(rng.integers(2**63))))
    tracked = track(np.concatenate(points), size=session.size, rng=rng)
    write_dlc(out / "Videos" / f"{session.stem}{SCORER}.csv", tracked, points=POINTS)
    encode(out / "Videos" / f"{session.stem}.mp4", (picture for trial in pictures for picture in trial), size=session.size)
    counts = np.zeros(NUM_ACTIONS, np.int64)
    for number, (trial, late) in enumerate(zip(labels, session.late, strict=True), start=1):
        rows = trial[LATE:] if late else trial
        counts += np.bincount(rows, minlength=NUM_ACTIONS)
        text = "".join(f"{frame},{action}\n" for frame, action in enumerate(rows.tolist()))
        (out / "Annotations" / f"prediction_{session.stem}.mp4_{number}.csv").write_text("Frame,Action\n" + text)
    return counts


def encode(path: Path, pictures: Iterable[np.ndarray], *, size: int) -> None:
    """Encode (size, size) uint8 grey frames, luma 16..235, as H.264 yuv420p at 30 fps."""
    planes = np.full((size * 3 // 2, size), 128, np.uint8)  # chroma stays grey
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=X264)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = GOP
        stream.thread_count = 1  # one process a core already; more threads also change the bytes
        for picture in pictures:
            planes[:size] = picture
            for packet in stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
