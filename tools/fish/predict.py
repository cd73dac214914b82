"""`tarpon predict fish`: a folder of images through the backbone and a trained model, into one table."""

import os
import time
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq

from tarpon.shards import atomic
from tarpon.shards.progress import track
from tarpon.shards.spreadsheet import guard_table
from tarpon.tools.loose_images import list_images

WRITERS = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}


def fish(
    *,
    checkpoint: str,
    images: str,
    out: str,
    weights: str | None = None,
    pretrained: bool = True,
    annotated: str | None = None,
    batch: int = 64,
    threads: int = 0,
) -> int:
    """Family, order, habitats, trophic level of every image in a folder, and feeding path where the model knows it.

    Args:
        checkpoint: run folder, or its checkpoints/best_model.pt.
        images: folder of images, in folders of any depth.
        out: file to write, .parquet or .csv.
        weights: local .safetensors or .pt file of the backbone that made the features.
        pretrained: backbone weights from the hub or its cache; false: the random ones of a cache made with them.
        annotated: folder for copies of the images with the answers below.
        batch: images a pass.
        threads: reading and decoding threads; 0: one a core.
    """
    target, root = Path(out), Path(images)
    if target.suffix not in WRITERS:
        raise ValueError(f"out={out!r} must end in {' or '.join(WRITERS)}")
    if batch < 1 or threads < 0:
        raise ValueError(f"batch={batch} must be at least 1 and threads={threads} at least 0")
    if annotated and Path(annotated).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"annotated={annotated} lies in images={images}: the next prediction would take the copies for images")
    names = list_images(root)
    from tarpon.tools.fish.answering import load_predictor, predict_images  # here: --help need not wait for PyTorch
    from tarpon.tools.fish.captions import write_annotated
    from tarpon.train.tasks.fish.metrics.scores import THRESHOLD

    answerer = load_predictor(Path(checkpoint), weights=weights, pretrained=pretrained)
    threads = threads or len(os.sched_getaffinity(0))
    target.parent.mkdir(parents=True, exist_ok=True)
    begun, faults = time.perf_counter(), []
    schema = answerer.schema()
    with atomic.replace(target) as draft, WRITERS[target.suffix](draft, schema) as writer:
        chunks = predict_images(answerer, root, names, faults, batch=batch, threads=threads)
        for pictures, table in track(chunks, total=len(names), what="predict", unit="images", count=lambda made: len(made[0])):
            writer.write_table(guard_table(table) if target.suffix == ".csv" else table)
            if annotated:
                write_annotated(Path(annotated), pictures, table, habitats=answerer.encoders["habitats"], threshold=THRESHOLD)
    for fault in faults:
        print(f"left out: {fault}")
    done = len(names) - len(faults)
    print(f"{done} of {len(names)} images answered in {out}; {done / (time.perf_counter() - begun):.0f} images/s")
    return 1 if faults else 0
