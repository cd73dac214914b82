"""Minimal checks that DALI works on a machine: one operator, one clip."""

import numpy as np


def run_operator(*, device: int | None) -> float:
    """Mean of a constant array resized by DALI; 7 where its operators work. Raises what DALI raises."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=device)
    def graph():
        picture = fn.external_source(source=lambda: [np.full((32, 48, 3), 7, np.uint8)], batch=True, layout="HWC")
        return fn.resize(picture if device is None else picture.gpu(), size=[16.0, 16.0])

    return float(_run(graph).mean())


def decode_clip(clip: bytes, *, frames: int, device: int | None) -> np.ndarray:
    """(frames, H, W, 3) uint8: the first frames of an encoded clip, as training decodes them. Raises what DALI raises."""
    from nvidia.dali import fn, pipeline_def

    content = np.frombuffer(clip, np.uint8)

    @pipeline_def(batch_size=1, num_threads=1, device_id=device)
    def graph():
        encoded = fn.external_source(source=lambda: [content], batch=True)
        return fn.decoders.video(encoded, frames=list(range(frames)), device="cpu" if device is None else "mixed")

    return _run(graph)


def _run(graph) -> np.ndarray:
    pipeline = graph()
    pipeline.build()
    (out,) = pipeline.run()
    out = out.as_cpu() if hasattr(out, "as_cpu") else out
    return np.array(out.at(0))
