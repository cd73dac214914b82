"""Ways a lab folder goes wrong: each takes a good one-trial video with its files and spoils it in one way.

The good files are written first (see mouse.write), so a spoilt one differs from a good one in that one thing alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

SHORT = 250  # frames left in a short video; one group of pictures, so that no frame before it is missing


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of one video with one trial."""

    video: Path
    dlc: Path
    annotation: Path


def good_pair() -> list[str]:
    """Two good stems, one the start of the other: a DLC file found by prefix would serve the wrong video."""
    return [f"shortened_2023-12-06_CFA_050_701M_{mouse}" for mouse in ("mouse1", "mouse10")]


def spoilt_stems() -> list[str]:
    """One stem a fault, in the order of FAULTS."""
    return [_stem(place) for place in range(len(FAULTS))]


def spoil(out: Path, *, scorer: str) -> list[dict[str, str]]:
    """Spoil the videos of `spoilt_stems` in `out` and add `._` junk, which is no fault.

    Returns:
        {"file": the file at fault, "kind": key of FAULTS, "trial": the annotation that cannot be packed}, paths
        relative to `out`. Two annotations of one trial are two entries: neither can be trusted over the other.
    """
    listed = []
    for place, (kind, damage) in enumerate(FAULTS.items()):
        stem = _stem(place)
        files = Files(
            video=out / "Videos" / f"{stem}.mp4",
            dlc=out / "Videos" / f"{stem}{scorer}.csv",
            annotation=out / "Annotations" / f"prediction_{stem}.mp4_1.csv",
        )
        for wrong in damage(files):
            trial = wrong if wrong.parent.name == "Annotations" else files.annotation
            listed.append({"file": str(wrong.relative_to(out)), "kind": kind, "trial": str(trial.relative_to(out))})
    junk = bytes([0, 5, 22, 7, 0, 2, 0, 0]) + b"Mac OS X" + bytes(64)  # an AppleDouble header
    for path in sorted((out / "Videos").glob("shortened_*"))[:2] + sorted((out / "Annotations").glob("prediction_*"))[:1]:
        path.with_name(f"._{path.name}").write_bytes(junk)
    return listed


def _stem(place: int) -> str:
    return f"shortened_2023-11-22_CFA_{60 + place:03d}_{801 + 4 * place}M_tracking"


def _keep_lines(path: Path, count: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))


def _set_line(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")


def _short_video(files: Files) -> list[Path]:
    """Keep 250 frames of 360 (one whole group of pictures): a sound file that ends too early, as does its DLC file."""
    draft = files.video.with_suffix(".part.mp4")
    with av.open(str(files.video)) as source, av.open(str(draft), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        for packet in packets[:SHORT]:
            packet.stream = copy
            target.mux(packet)
    draft.replace(files.video)
    _keep_lines(files.dlc, 3 + SHORT)
    return [files.video]


def _wrong_row_count(files: Files) -> list[Path]:
    _keep_lines(files.annotation, 1 + 200)
    return [files.annotation]


def _blank_action(files: Files) -> list[Path]:
    _set_line(files.annotation, 1 + 120, "120,")
    return [files.annotation]


def _action_out_of_range(files: Files) -> list[Path]:
    _set_line(files.annotation, 1 + 120, "120,9")
    return [files.annotation]


def _undecodable_video(files: Files) -> list[Path]:
    files.video.write_bytes(bytes(byte * 37 % 251 for byte in range(20_000)))
    return [files.video]


def _truncated_video(files: Files) -> list[Path]:
    """Cut the file in half. Its index comes first, so it opens, promises 360 frames and breaks off under way."""
    whole = files.video.read_bytes()
    files.video.write_bytes(whole[: len(whole) // 2])
    return [files.video]


def _missing_body_part(files: Files) -> list[Path]:
    rows = [line.split(",") for line in files.dlc.read_text().splitlines()]
    keep = [column for column, name in enumerate(rows[1]) if name != "R_hindpaw"]
    files.dlc.write_text("".join(",".join(row[column] for column in keep) + "\n" for row in rows))
    return [files.dlc]


def _short_dlc(files: Files) -> list[Path]:
    _keep_lines(files.dlc, 3 + 300)
    return [files.dlc]


def _no_dlc(files: Files) -> list[Path]:
    files.dlc.unlink()
    return [files.video]


def _no_video(files: Files) -> list[Path]:
    files.video.unlink()
    files.dlc.unlink()
    return [files.annotation]


def _duplicate_trial(files: Files) -> list[Path]:
    """The same trial under the old plural name, with another opinion on some frames."""
    other = files.annotation.with_name(files.annotation.name.replace("prediction_", "predictions_", 1))
    other.write_text(files.annotation.read_text())
    _set_line(other, 1 + 5, "5,7")
    return [files.annotation, other]


def _no_action_column(files: Files) -> list[Path]:
    _set_line(files.annotation, 0, "Frame,Label")
    return [files.annotation]


FAULTS: dict[str, Callable[[Files], list[Path]]] = {
    "short_video": _short_video,
    "wrong_row_count": _wrong_row_count,
    "blank_action": _blank_action,
    "action_out_of_range": _action_out_of_range,
    "undecodable_video": _undecodable_video,
    "truncated_video": _truncated_video,
    "missing_body_part": _missing_body_part,
    "short_dlc": _short_dlc,
    "no_dlc": _no_dlc,
    "no_video": _no_video,
    "duplicate_trial": _duplicate_trial,
    "no_action_column": _no_action_column,
}
