"""The clip graph: video and points -> aligned clips on the device, by DALI on a GPU (`mixed` decode) or a CPU.

Frames are selected inside the decoder by an index list, so no frame is decoded without need or twice; pixels stay uint8 until
the last pass, which mirrors, changes brightness and contrast, normalises and transposes at once. On a CPU that pass, and the
noise before it, are torch's (pixels.py), which takes a quarter of DALI's time there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tarpon.pipelines.clip.pixels import finish_clips
from tarpon.pipelines.graph_shell import Graph
from tarpon.pipelines.last_pass import Memory
from tarpon.pipelines.noise import NoiseBank

LAST_PASS = ("mean", "std", "mirror", "noise_first")  # what the last pass over the pixels needs to know


@dataclass(frozen=True, kw_only=True)
class ClipGraph(Graph):
    """Decoding and augmentation of clips."""

    size: int  # pixels, both sides
    batch: int  # clips
    resize: bool = True  # False where every stored clip already has the size
    noise: bool = True  # False leaves the noise branch out
    normalise: bool = True  # False delivers (B, T, H, W, 3) uint8 straight from the decoder, resized if asked
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)  # of batches that are finished on the host

    outputs: ClassVar[tuple[str, ...]] = ("clip", "pose", "keypoints", "actions", "valid", "row", "start")
    device_inputs: ClassVar[tuple[str, ...]] = ("pose", "keypoints", "actions", "valid")

    def noise_inputs(self, *, gpu: bool) -> tuple[str, ...]:
        return ("noise",) if self.noise and not self._on_host(gpu) else ()

    def plain(self) -> "ClipGraph":
        return replace(self, noise=False)  # mirror and brightness cost nothing: they are in the pass that normalises

    def made(self, *, gpu: bool) -> tuple[str, ...]:
        return (*self.outputs, *LAST_PASS) if self._on_host(gpu) else self.outputs

    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """clip (B, T, 3, H, W) float32, then pose, keypoints, actions, valid on the device, row, start on the CPU.

        Where the last pass is torch's, clip is (B, T, H, W, 3) uint8 and what that pass needs comes after the rest.
        """
        from nvidia.dali import fn, types

        clip = fn.decoders.video(inputs["video"], frames=inputs["picked"], device="mixed" if gpu else "cpu")
        if self.resize:
            clip = fn.resize(clip, size=[self.size, self.size], interp_type=types.INTERP_LINEAR, antialias=True)
        # a repeat inside the decoder seeks back and decodes from the key frame again: 21 frames/s where a tile ends in
        # 330 repeats, against about 1000 (2 cores, VP9, GOP 16); so each frame is decoded once and repeated here
        if inputs["repeats"]:
            clip = fn.sequence_rearrange(clip, new_order=inputs["order"])
        else:
            clip = clip
        if self._on_host(gpu):
            return clip, *(inputs[name] for name in self.made(gpu=gpu)[1:])
        if self.noise:
            if inputs["noisy"]:  # DALI reads this `if` per sample; it knows no conditional expression
                clip = fn.cast(clip + inputs["noise"], dtype=types.UINT8)  # the cast saturates
            else:
                clip = clip
        if self.normalise:
            mean, std, mirror = inputs["mean"], inputs["std"], inputs["mirror"]
            clip = fn.crop_mirror_normalize(clip, mean=mean, std=std, mirror=mirror, output_layout="FCHW", dtype=types.FLOAT)
        return clip, *(inputs[name] for name in self.outputs[1:])

    def finish(self, made: dict[str, Tensor], banks: Mapping[str, NoiseBank], *, gpu: bool) -> dict[str, Tensor]:
        if not self._on_host(gpu):
            return made
        how = {name: made.pop(name) for name in LAST_PASS}
        noise = torch.from_numpy(banks["noise"].values) if self.noise else None
        return made | {"clip": finish_clips(made["clip"], **how, noise=noise, memory=self.memory)}

    def _on_host(self, gpu: bool) -> bool:
        """Whether the last pass over the pixels is torch's."""
        return self.normalise and not gpu
