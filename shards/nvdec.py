"""The smallest frames that NVIDIA's hardware video decoder (NVDEC) decodes, by codec.

From the driver (nMinWidth, nMinHeight of cuvidGetDecoderCaps); smaller clips can be decoded on a CPU only.
"""

import numpy as np

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
    width, height = (np.asarray(manifest.column(f"clip_{side}")) for side in ("width", "height"))
    codecs = np.asarray(manifest.column("codec"))
    found = []
    for codec, (least_width, least_height) in MINIMUM.items():
        small = (codecs == codec) & ((width < least_width) | (height < least_height))
        if small.any():
            first = int(np.flatnonzero(small)[np.argmin((width * height)[small])])
            found.append(
                f"{small.sum()} of {len(codecs)} clips are too small for a GPU's decoder: {width[first]} x {height[first]} "
                f"pixels, {codec} needs {least_width} x {least_height}"
            )
    return "; ".join(found) or None
