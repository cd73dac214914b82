"""`tarpon pack mouse`: videos, pose files and labels into shards, one sample a trial."""

from typing import Literal

from tarpon.shards.manifest import Manifest
from tarpon.shards.nvdec import describe_small_clips
from tarpon.shards.remote_units import open_file
from tarpon.shards.scratch import SCRATCH_BYTES, Scratch
from tarpon.shards.sources.mouse.labels_classes import read_class_map
from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS
from tarpon.shards.sources.mouse.pose_track import MAX_BLANK
from tarpon.shards.sources.mouse.source import MOUSE
from tarpon.shards.sources.mouse.units import CLASSES, MouseSource
from tarpon.shards.sources.video.clips import ClipFormat
from tarpon.shards.store import find_place
from tarpon.tools.mouse.pack_pairs import pairs
from tarpon.tools.pack import by_split, run, shares

Pose = Literal["dlc", "none"]
Track = Literal["unfiltered", "filtered"]
Codec = Literal["vp9", "mjpeg", "h264", "hevc"]
Counting = Literal["auto", "zero", "one", "absolute", "absolute_one", "ignore"]
LabelUnit = Literal["auto", "frames", "seconds"]


def mouse(
    *, videos: str, out: str, annotations: str | None = None, keypoints: str = ",".join(MOUSE_POINTS), pose: Pose = "dlc",
    individual: str | None = None, track: Track = "unfiltered", scorer: str | None = None, max_blank: float = MAX_BLANK,
    trial_frames: int = 360, offset: int | None = None, group: str = "video", split: str = "0.7,0.15,0.15", seed: int = 0,
    codec: Codec = "vp9", gop: int = 16, short_side: int = 224, workers: int = 0, table: str | None = None,
    classes: str = ",".join(CLASSES), class_map: str | None = None, background: str = "", frame_column: Counting = "auto",
    label_unit: LabelUnit = "auto", dry_run: bool = False, cluster: str | None = None, scratch: str | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> int:  # fmt: skip
    """Pack videos, DeepLabCut files and annotation CSVs into shards; run again after a kill it goes on.

    Args:
        videos: folder or URL of videos (.mp4, .avi, .mov, .mkv, .webm, .wmv, .m4v, .mpg, .ts), each with its pose file beside
            it (DeepLabCut, SLEAP, Lightning Pose, EKS).
        out: folder for the shards.
        annotations: folder or URL of prediction_<video file>_<trial>.csv; without it, points only.
        keypoints: body parts, by comma, in the model's order.
        pose: none packs without points.
        individual: which animal of pose files with several.
        track: unfiltered, or filtered: the table that DeepLabCut's filter wrote.
        scorer: whose points, where several tracked a video.
        max_blank: largest share of a video's frames without any point; above it the pose file is refused.
        trial_frames: video frames from one trial's start to the next.
        offset: first labelled frame of a trial; unset: 15 where a CSV has trial_frames - 15 rows, else 0.
        group: what the split keeps together: video, or a regular expression whose first group names it (mouse id, date).
        split: shares of train, val and test.
        seed: of the split.
        codec: vp9 or mjpeg (CPU and GPU), h264 or hevc (GPU only).
        gop: frames between key frames.
        short_side: pixels; larger videos are made smaller once, here.
        workers: processes; 0: one a core.
        table: path or URL of a CSV of video, track, labels, trial, first_frame, group, where names do not pair the files; only
            video is needed.
        classes: by comma, in the order of their numbers.
        class_map: path or URL of a CSV of two columns, the name in the tables and the class; a blank class is not scored.
        background: class of frames that no bout covers or that a one-hot table calls background; unset: not scored.
        frame_column: how Frame columns count; absolute and absolute_one: the video's frames from 0 and from 1.
        label_unit: in which tables of bouts say start and stop.
        dry_run: print what would be paired with what, and what is left over and why, after trying a few; write nothing.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        scratch: folder for files of a URL while they are packed; unset: the machine's for temporary files.
        scratch_bytes: of it, shared by the `workers`.
    """
    renamed = ()
    if class_map:
        with open_file(class_map, scratch=Scratch(folder=scratch, size=scratch_bytes)) as path:
            renamed = read_class_map(path)
    chosen = MouseSource(
        keypoints=split_names(keypoints), pose=pose, individual=individual, track=track, scorer=scorer, max_blank=max_blank,
        trial_frames=trial_frames, offset=offset, group=group, background=background, frame_column=frame_column,
        clip=ClipFormat(codec=codec, gop=gop, short_side=short_side), label_unit=label_unit, classes=split_names(classes),
        class_map=renamed,
    )  # fmt: skip
    folders = (find_place(videos), find_place(annotations) if annotations else None)
    packing = {"out": out, "split": shares(split), "seed": seed, "workers": workers, "cluster": cluster, "dry_run": dry_run}
    packing |= {"scratch": scratch, "scratch_bytes": scratch_bytes, "listing": {"table": find_place(table) if table else None}}
    return run(MOUSE, folders, options=chosen, tables=tables, look=pairs, **packing)


def split_names(text: str) -> tuple[str, ...]:
    """Names by comma, without blanks around them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def tables(manifest: Manifest) -> list[str]:
    """Samples, groups and frames of each split; and a note where no NVIDIA GPU could decode the clips."""
    small = describe_small_clips(manifest)
    note = f"Note: {small}. A CPU trains on them; for a GPU pack again with a larger --short_side."
    return [*by_split(manifest), *([note, ""] if small else [])]
