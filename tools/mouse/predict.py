"""`tarpon predict mouse`: whole recordings through a trained model, streaming, with or without pose files."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import av

from tarpon.shards.progress import Progress
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.sources.mouse.pose_track import MAX_BLANK
from tarpon.shards.sources.video.clips import probe
from tarpon.shards.sources.video.files import find_videos
from tarpon.tools.mouse.predict_extras import Extras
from tarpon.tools.mouse.predict_pose import NO_POSE, UNUSED, PoseChoice, track_of
from tarpon.tools.table import table


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
        trial_frames: length of the trials in a recording; the stance (model.stance_frames) is then each trial's own. 0: none.
        min_bout: frames; a shorter bout takes the action of its longer neighbour, in both tables. 1: no filter.
        formats: what else to write, by comma: boris (<stem>_boris.csv), deepethogram (<stem>_labels.csv), dlc
            (<stem>DLC_tarpon.csv with a likelihood column), nwb (<stem>.nwb). csv: our own tables, which are written anyway.
        annotated: <stem>_annotated.mp4: the video with points, class, probability and a strip of the classes over time.
    """
    which = PoseChoice(mode=pose, individual=individual, track=track, scorer=scorer, max_blank=max_blank)
    check_lengths(chunk=chunk, min_bout=min_bout, trial_frames=trial_frames)
    from tarpon.tools.mouse.tagging import label, load_tagger  # here: --help and a mistake above need not wait for PyTorch

    tagger, (paths, unused), target = load_tagger(Path(checkpoint)), videos_in(Path(videos)), Path(out)
    extras = Extras.parse(formats, annotated=annotated, regresses=tagger.model.keypoint is not None)
    target.mkdir(parents=True, exist_ok=True)
    rows, bad, short, blind, begun = [], 0, 0, 0, time.perf_counter()
    with Progress(declared_frames(paths), what="predict", unit="frames") as progress:
        ways = {"chunk": chunk, "trial_frames": trial_frames, "min_bout": min_bout, "extras": extras, "told": progress.update}
        for path in paths:
            try:
                xyl, told = track_of(path, tagger.points, which) if tagger.model.pose is not None else (None, UNUSED)
                alone = xyl is None and tagger.model.pose is not None and pose == "auto"
                frames, bouts, faults = label(path, tagger, xyl, target, **ways, note=NO_POSE if alone else None)
                blind, short = blind + alone, short + bool(faults)
                rows.append((path.name, frames, bouts, "; ".join([*faults, told])))
            except (ValueError, av.error.FFmpegError) as error:
                bad += 1
                rows.append((path.name, "-", "-", str(error)))
    rows += [(fault.file, "-", "-", f"not used: {fault.reason}") for fault in unused]
    tagger.spent.total = time.perf_counter() - begun
    print("\n".join(table(("video", "frames", "bouts", "pose"), rows)))
    print(summarise(videos=len(paths), bad=bad, short=short, blind=blind, target=target, speed=tagger.spent.line()))
    return 1 if bad or blind or short else 0


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


def summarise(*, videos: int, bad: int, short: int, blind: int, target: Path, speed: str) -> str:
    """The closing line; and a warning where a model that was trained with points saw none (`blind` videos)."""
    lacking = f", {short} of them not whole" if short else ""
    line = f"{videos - bad} of {videos} videos labelled{lacking} in {target}; {speed}"
    if not blind:
        return line
    return (
        f"{line}\nWARNING: {blind} of {videos} videos have no pose file, and this model was trained with points: their answers "
        f"mean little, and each row of their tables says so. Track them first, or accept it with --pose none"
    )


def videos_in(folder: Path) -> tuple[list[Path], list[Fault]]:
    """The recordings of a folder, sorted, and the videos that are not used; ValueError without any recording."""
    paths, unused = find_videos(folder)
    if not paths:
        seen = f" ({'; '.join(map(str, unused[:3]))})" if unused else ""
        raise ValueError(f"{folder}: no video files to read{seen}; give the folder that holds the videos")
    return paths, unused
