"""The smallest frames that NVIDIA's hardware video decoder (NVDEC) decodes, by codec.

From the driver (nMinWidth, nMinHeight of cuvidGetDecoderCaps); smaller clips can be decoded on a CPU only.
"""

from tarpon.shards.manifest import Manifest

MINIMUM = {  # codec -> (width, height), pixels
    "h264": (48, 16),
    "vp8": (48, 16),
    "mjpeg": (64, 64),
    "vp9": (128, 128),
    "av1": (128, 128),
    "hevc": (144, 144),
}


def describe_small_clips(manifest: Manifest) -> str | None:
    """A message that counts the clips too small for NVDEC and names the smallest, by codec; None where there are none."""
    counted = manifest.count_kinds("codec", "clip_width", "clip_height")
    found = []
    for codec, (least_width, least_height) in MINIMUM.items():
        small = [kind for kind in counted if kind[0] == codec and (kind[1] < least_width or kind[2] < least_height)]
        if small:
            _, width, height, _ = min(small, key=lambda kind: kind[1] * kind[2])
            found.append(
                f"{sum(kind[3] for kind in small)} of {len(manifest)} clips are too small for a GPU's decoder: "
                f"{width} x {height} pixels, {codec} needs {least_width} x {least_height}"
            )
    return "; ".join(found) or None
