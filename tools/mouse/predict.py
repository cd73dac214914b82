"""`tarpon predict mouse`: whole recordings through a trained model, streaming, with or without pose files."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av

from tarpon.shards.progress import Progress
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.sources.mouse.pose_track import MAX_BLANK
from tarpon.shards.sources.video.clips import probe
from tarpon.shards.sources.video.files import find_videos
from tarpon.tools.mouse.decide import read_rule
from tarpon.tools.mouse.predict_extras import Extras
from tarpon.tools.mouse.predict_pose import NO_POSE, UNUSED, PoseChoice, track_of
from tarpon.tools.table import table

if TYPE_CHECKING:
    from tarpon.tools.mouse.tagging import Tagger


def mouse(
    *,
    checkpoint: str,
    videos: str,
    out: str,
    pose: Literal["auto", "none", "dlc"] = "auto",
    individual: str | None = None,
    track: Literal["unfiltered", "filtered"] = "unfiltered",
    scorer: str | None = None,
    max_blank: float = MAX_BLANK,
    chunk: int = 360,
    decide: Literal["argmax", "thresholds", "viterbi"] = "argmax",
    min_bout: int = 1,
    trial_frames: int = 0,
    formats: str = "csv",
    annotated: bool = False,
) -> int:
    """Label every frame of every video in a folder.

    Args:
        checkpoint: run folder, or its best_model_multitask.pt.
        videos: folder of videos (.mp4, .avi, .mov, .mkv, .webm, .wmv, .m4v, .mpg, .ts).
        out: folder for <stem>_predictions.csv, <stem>_bouts.csv and, with a model of keypoints, <stem>DLC_tarpon.csv.
        pose: auto: use the pose file of a video where it is there; none: never; dlc: refuse a video without it. A model that
            was trained with points answers badly without them: with auto such tables say so and the exit status is 1.
        individual: which animal of pose files with several.
        track: unfiltered, or filtered: the table that DeepLabCut's filter wrote.
        scorer: whose points, where several tracked a video; Tarpon's own predictions are taken only by DLC_tarpon.
        max_blank: largest share of a video's frames without any point; above it the pose file is refused.
        chunk: frames through the model at once; memory grows with it, answers do not change.
        trial_frames: length of the trials in a recording; the stance (model.stance_frames) and decide's sequences are then each
            trial's own. 0: none.
        decide: how frames get their actions. argmax: the most probable; thresholds: the same with a weight a class, for macro
            F1; viterbi: the best sequence, where changes cost. Those two are fitted to the run's answers in validation.
        min_bout: frames; after decide, a shorter bout takes the action of its longer neighbour, in both tables. 1: no filter.
        formats: what else to write, by comma: boris (<stem>_boris.csv), deepethogram (<stem>_labels.csv), dlc
            (<stem>DLC_tarpon.csv with a likelihood column), nwb (<stem>.nwb). csv: our own tables, which are written anyway.
        annotated: <stem>_annotated.mp4: the video with points, class, probability and a strip of the classes over time.
    """
    which = PoseChoice(mode=pose, individual=individual, track=track, scorer=scorer, max_blank=max_blank)
    check_lengths(chunk=chunk, min_bout=min_bout, trial_frames=trial_frames)
    from tarpon.tools.mouse.tagging import load_tagger  # here: --help and a mistake above need not wait for PyTorch

    tagger, (paths, unused), target = load_tagger(Path(checkpoint)), videos_in(Path(videos)), Path(out)
    extras = Extras.parse(formats, annotated=annotated, regresses=tagger.model.keypoint is not None)
    rule = None if decide == "argmax" else read_rule(Path(checkpoint), decide, classes=tagger.classes)
    if rule:
        print(f"labels by {rule.said}")
    target.mkdir(parents=True, exist_ok=True)
    done, begun = Labelling(), time.perf_counter()
    with Progress(declared_frames(paths), what="predict", unit="frames") as progress:
        ways = {"chunk": chunk, "trial_frames": trial_frames, "rule": rule, "min_bout": min_bout, "extras": extras}
        for path in paths:
            label_one(path, tagger, which, target, done, {**ways, "told": progress.update})
    done.rows += [(fault.file, "-", "-", f"not used: {fault.reason}") for fault in unused]
    tagger.spent.total = time.perf_counter() - begun
    print("\n".join(table(("video", "frames", "bouts", "pose"), done.rows)))
    print(summarise(done, videos=len(paths), target=target, speed=tagger.spent.line()))
    return 1 if done.bad or done.blind or done.short else 0


@dataclass
class Labelling:
    """What has been labelled so far."""

    rows: list[tuple] = field(default_factory=list)  # video, frames, bouts, what to tell
    bad: int = 0  # videos without labels
    short: int = 0  # videos that are not whole
    blind: int = 0  # videos without points, of a model that wants them


def label_one(path: Path, tagger: "Tagger", which: PoseChoice, out: Path, done: Labelling, ways: Mapping[str, object]) -> None:
    """Label one video and add it to `done`; `ways`: options of `tagging.label`."""
    from tarpon.tools.mouse.tagging import label  # here: see `mouse`

    try:
        xyl, told = track_of(path, tagger.points, which) if tagger.model.pose is not None else (None, UNUSED)
        alone = xyl is None and tagger.model.pose is not None and which.mode == "auto"
        frames, bouts, faults = label(path, tagger, xyl, out, **ways, note=NO_POSE if alone else None)
        done.blind, done.short = done.blind + alone, done.short + bool(faults)
        done.rows.append((path.name, frames, bouts, "; ".join([*faults, told])))
    except (ValueError, av.error.FFmpegError) as error:
        done.bad += 1
        done.rows.append((path.name, "-", "-", str(error)))


def check_lengths(*, chunk: int, min_bout: int, trial_frames: int) -> None:
    if min(chunk, min_bout) < 1:
        raise ValueError(f"chunk={chunk} and min_bout={min_bout} must be at least 1 frame (min_bout 1: no filter)")
    if trial_frames < 0:
        raise ValueError(f"trial_frames={trial_frames} must be at least 1, or 0 for recordings that are not cut into trials")


def declared_frames(paths: Sequence[Path]) -> int:
    """Frames of all videos as their headers declare them; 0 where one does not say."""
    read = [attempt(path.name, probe, path)[0] for path in paths]
    counts = [info.frames for info in read if info]  # one that cannot be read is told of when its turn comes
    return sum(counts) if all(counts) else 0


def summarise(done: Labelling, *, videos: int, target: Path, speed: str) -> str:
    """The closing line; and a warning where a model that was trained with points saw none."""
    lacking = f", {done.short} of them not whole" if done.short else ""
    line = f"{videos - done.bad} of {videos} videos labelled{lacking} in {target}; {speed}"
    if not done.blind:
        return line
    return (
        f"{line}\nWARNING: {done.blind} of {videos} videos have no pose file, and this model was trained with points: their "
        f"answers mean little, and each row of their tables says so. Track them first, or accept it with --pose none"
    )


def videos_in(folder: Path) -> tuple[list[Path], list[Fault]]:
    """The recordings of a folder, sorted, and the videos that are not used; ValueError without any recording."""
    paths, unused = find_videos(folder)
    if not paths:
        seen = f" ({'; '.join(map(str, unused[:3]))})" if unused else ""
        raise ValueError(f"{folder}: no video files to read{seen}; give the folder that holds the videos")
    return paths, unused
