"""Checks that stored clips can be decoded on the device of a run."""

from tarpon.shards.manifest import Manifest
from tarpon.shards.nvdec import describe_small_clips

CPU_CODECS = ("vp9", "vp8", "mjpeg")  # what DALI decodes without a GPU
GPU_CODECS = (*CPU_CODECS, "h264", "hevc", "av1")


def check_codec(codec: str, *, device: int | None) -> None:
    """ValueError when clips of the codec cannot be decoded on the device (None: a CPU)."""
    allowed = CPU_CODECS if device is None else GPU_CODECS
    if codec not in allowed:
        raise ValueError(
            f"clips are stored as {codec}, which DALI decodes {'only on a GPU' if device is None else 'nowhere'}; "
            f"pack with --codec {allowed[0]}" + (" or train on a GPU" if device is None else "")
        )


def check_clips(manifest: Manifest, *, device: int | None) -> None:
    """ValueError in one line when a clip's codec, or on a GPU its size, cannot be decoded on the device."""
    for codec in sorted(codec for codec, _ in manifest.count_kinds("codec")):
        check_codec(codec, device=device)
    if device is None:
        return
    if found := describe_small_clips(manifest):
        raise ValueError(f"{manifest.root}: {found}; pack again with a larger --short_side, or train on a CPU")
