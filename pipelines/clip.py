"""Video and points -> aligned clips on the device: one DALI graph, on a GPU (`mixed` decode) or a CPU.

Frames are picked inside the decoder by index list, so no frame is decoded that is not used, and none twice; pixels stay
uint8 until the last pass, which mirrors, changes brightness and contrast, normalises and turns the layout in one go.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tarpon.pipelines.feed import ClipFeed

CPU_CODECS = ("vp9", "vp8", "mjpeg")  # what DALI decodes without a GPU
GPU_CODECS = (*CPU_CODECS, "h264", "hevc", "av1")


@dataclass(frozen=True, kw_only=True)
class ClipGraph:
    """The graph: what it makes of a feed."""

    size: int  # pixels, both sides
    batch: int  # clips
    resize: bool = True  # False where every stored clip already has the size
    noise: bool = True  # False leaves the noise branch out
    normalise: bool = True  # False delivers (B, T, H, W, 3) uint8 straight from the decoder, resized if asked

    def build(self, source: Callable[[], tuple[list[np.ndarray], ...]], *, device: int | None, threads: int, prefetch: int):
        """The built DALI pipeline.

        Args:
            source: called for each batch; lists of arrays in the order of ClipFeed.NAMES; StopIteration ends the epoch.
            device: GPU ordinal, or None for a CPU.
            threads: decoding threads. prefetch: batches made ahead.

        Outputs: clip (B, T, 3, H, W) float32, then pose, keypoints, actions, valid on the device, row, start on the CPU.
        """
        from nvidia.dali import fn, pipeline_def, types

        @pipeline_def(
            batch_size=self.batch,
            num_threads=threads,
            device_id=device,
            prefetch_queue_depth=prefetch,
            exec_dynamic=True,
            enable_conditionals=True,
        )
        def graph():
            # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
            (video, picked, repeats, order, mean, std, mirror, noisy, noise, pose, keypoints, actions, valid, row, start) = (
                fn.external_source(source=source, num_outputs=len(ClipFeed.NAMES), batch=True, no_copy=True)
            )
            if device is not None:
                noise, pose, keypoints = noise.gpu(), pose.gpu(), keypoints.gpu()
                actions, valid = actions.gpu(), valid.gpu()
            clip = fn.decoders.video(video, frames=picked, device="cpu" if device is None else "mixed")
            if self.resize:
                clip = fn.resize(clip, size=[self.size, self.size], interp_type=types.INTERP_LINEAR, antialias=True)
            # a repeat inside the decoder seeks back and decodes from the key frame again: 21 frames/s where a tile ends in
            # 330 repeats, against about 1000 (2 cores, VP9, GOP 16); so each frame is decoded once and repeated here
            if repeats:
                clip = fn.sequence_rearrange(clip, new_order=order)
            else:
                clip = clip
            if self.noise:
                if noisy:  # DALI reads this `if` per sample; it knows no conditional expression
                    clip = fn.cast(clip + noise, dtype=types.UINT8)  # the cast saturates
                else:
                    clip = clip
            if self.normalise:
                clip = fn.crop_mirror_normalize(
                    clip, mean=mean, std=std, mirror=mirror, output_layout="FCHW", dtype=types.FLOAT
                )
            return clip, pose, keypoints, actions, valid, row, start

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The external source node")  # outputs of branches left out
            pipeline = graph()
            pipeline.build()
        return pipeline


OUTPUTS = ("clip", "pose", "keypoints", "actions", "valid", "row", "start")


def check_codec(codec: str, *, device: int | None) -> None:
    """ValueError when stored clips cannot be decoded where the run is."""
    allowed = CPU_CODECS if device is None else GPU_CODECS
    if codec not in allowed:
        raise ValueError(
            f"clips are stored as {codec}, which DALI decodes {'only on a GPU' if device is None else 'nowhere'}; "
            f"pack with --codec {allowed[0]}" + (" or train on a GPU" if device is None else "")
        )
