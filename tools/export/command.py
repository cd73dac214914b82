"""`tarpon export RUN`: the trained network in one file that other programs open, checked against the run's model."""

from pathlib import Path


def run(
    run: str,
    *,
    format: str = "onnx",
    out: str | None = None,
    data: str | None = None,
    split: str = "test",
    samples: int = 8,
    images: str | None = None,
    weights: str | None = None,
    pretrained: bool = True,
) -> int:
    """Write a run's best network with its pre-processing inside, prove it on samples of the run's data, and a model card.

    Args:
        run: run folder, or a file in it.
        format: onnx, torchscript, pt2 (PyTorch's own successor of TorchScript) or safetensors (weights, for Tarpon itself).
        out: folder for the file and MODEL_CARD.md; RUN/export if not given.
        data: the run's shards or features, where they have been moved.
        split: whose samples the file is checked on: train, val or test; val where the run has no test.
        samples: how many at least.
        images: fish: shards of the images that the features were made of; the file then takes images, without it features.
        weights: fish, with images: local file of the backbone that made the features.
        pretrained: fish, with images: false where the features were made with a backbone of random weights.
    """
    from tarpon.tools.export.work import export_run  # seconds of libraries, which --help does not wait for

    source = {"data": data, "images": images, "weights": weights, "pretrained": pretrained}
    export_run(Path(run), format=format, out=None if out is None else Path(out), split=split, samples=samples, **source)
    return 0
