"""How much of a pipeline's time its augmentation takes: the same batches with it and without."""

import itertools
import time
from collections.abc import Mapping, Sequence

from tarpon.pipelines.graph_shell import Graph, build_pipeline, read_outputs
from tarpon.pipelines.noise import NoiseBank
from tarpon.pipelines.read_ahead import Batch

WARM = 2  # batches not timed: the first ones wait for decoders that are being made
MOST_S = 1.5  # of timing one pipeline
LEAST, MOST = 3, 12  # timed batches, whatever they take


def measure_augment_share(
    graph: Graph,
    batches: Sequence[Batch],
    *,
    names: Sequence[str],
    banks: Mapping[str, NoiseBank],
    device: int | None,
    threads: int,
) -> float | None:
    """Share of the time of a batch that augmentation takes, 0..1.

    It takes some seconds and the cores (or the GPU) that training would use meanwhile.

    Args:
        graph: of training.
        batches: of arrays as the feed makes them, one or more; of each the first `graph.batch` samples are taken.
        names, banks, device, threads: as of `build_pipeline`.

    Returns:
        None where a second pipeline cannot be built or run beside the first (the memory of a GPU).
    """
    plain = graph.plain()
    if plain == graph:
        return 0.0
    few = [{name: values[: graph.batch] for name, values in batch.items()} for batch in batches]
    settings = {"names": names, "banks": banks, "device": device, "threads": threads}
    try:
        whole_s, plain_s = (_time_batch(each, few, **settings) for each in (graph, plain))
    except RuntimeError:
        return None
    return max(0.0, 1 - plain_s / whole_s)


def _time_batch(
    graph: Graph, batches: Sequence[Batch], *, banks: Mapping[str, NoiseBank], device: int | None, **settings: object
) -> float:
    """Seconds a batch, of batches made one after another without end."""
    arrays = itertools.cycle(batches)
    pipeline = build_pipeline(
        graph, lambda: next(arrays), batch=graph.batch, prefetch=1, banks=banks, device=device, **settings
    )

    def run() -> None:
        read_outputs(graph, pipeline.run(), banks, gpu=device is not None)

    for _ in range(WARM):
        run()
    begun = time.perf_counter()
    for count in range(1, MOST + 1):
        run()
        spent = time.perf_counter() - begun
        if count >= LEAST and spent > MOST_S:
            break
    return spent / count
