"""`tarpon bench retrieval`: seconds and memory of the search that scores re-identification, on embeddings that are made up."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tarpon.shards.json_file import write_json
from tarpon.tools.bench import results
from tarpon.tools.table import table
from tarpon.train.tasks.star.metrics import rerank as reranking
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search
from tarpon.train.tasks.star.metrics.search_options import STRIP_BYTES

MIB = 2**20
COLUMNS = {"name": "", "seconds": ".1f", "per_second": ",.0f", "peak_mib": ",.0f", "map": ".4f"}
NOISE = 2.0  # of a photograph about its animal, in spreads of the animals: some are found at once, some late


def run(
    *,
    queries: int = 20_000,
    gallery: int = 20_000,
    dim: int = 512,
    photographs: int = 10,
    top: int = 20,
    strip_mib: int = STRIP_BYTES // MIB,
    rerank: bool = False,
    device: str = "cpu",
    json: str | None = None,
) -> int:
    """Search a gallery for every query and tell what it took.

    Args:
        queries, gallery: how many.
        dim: values of an embedding.
        photographs: of each animal in the gallery.
        top: nearest kept a query.
        strip_mib: working memory of the search.
        rerank: also with k-reciprocal re-ranking.
        device: cpu or cuda.
        json: file for the figures.

    Returns:
        0.
    """
    sizes = {"queries": queries, "gallery": gallery, "dim": dim, "photographs": photographs, "top": top, "strip_mib": strip_mib}
    if any(value < 1 for value in sizes.values()):
        raise ValueError(f"{', '.join(f'{name}={value}' for name, value in sizes.items())}: each must be 1 or more")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device={device!r} must be cpu, or cuda where PyTorch sees an NVIDIA GPU")
    where = results.describe_machine(gpu=torch.cuda.get_device_name() if device == "cuda" else None)
    given = make_embeddings(queries, gallery, dim=dim, photographs=photographs)
    common = {"top": top, "strip_bytes": strip_mib * MIB, "device": device}
    ways = {"search": partial(search, **common)}
    if rerank:
        ways["re-ranked"] = partial(reranking.rerank, **common)
    rows = [measure(name, way, given, device=device) for name, way in ways.items()]
    print(f"{queries:,} x {gallery:,} x {dim}; all pairs as float32 would take {4 * queries * gallery / MIB:,.0f} MiB")
    print("\n".join(format_report(rows, where)))
    if json:
        Path(json).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(json), {"rows": rows, "sizes": sizes, "machine": where})
    return 0


def make_embeddings(queries: int, gallery: int, *, dim: int, photographs: int) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """(Q, D) and (G, D) embeddings about their animals' centres, and their labels by argument name."""
    animals, made = max(gallery // photographs, 1), torch.Generator().manual_seed(0)
    labels = {"query_labels": np.arange(queries) % animals, "gallery_labels": np.arange(gallery) % animals}
    centre = torch.randn(animals, dim, generator=made)
    query, known = (centre[own].add_(torch.randn(len(own), dim, generator=made), alpha=NOISE) for own in labels.values())
    return query, known, labels


def measure(name: str, way: Callable[..., Retrieval], given: tuple, *, device: str) -> dict[str, float | str]:
    """Seconds, queries a second, peak MiB more than before it began, and mAP of one search."""
    query, known, labels = given
    before, begun = reset_peak(device), time.perf_counter()
    found = way(query, known, **labels)
    took = time.perf_counter() - begun
    return {
        "name": name,
        "seconds": took,
        "per_second": len(query) / took,
        "peak_mib": peak_mib(device) - before,
        "map": float(np.nanmean(found.average_precision)),
    }


def format_report(rows: Sequence[dict], where: dict[str, object]) -> Iterator[str]:
    """The table for people."""
    yield f"{where['cpu']}, {torch.get_num_threads()} threads, GPU: {where['gpu'] or 'none'}, load {where['load_average'][0]}"
    cells = [[f"{row[name]:{form}}" for name, form in COLUMNS.items()] for row in rows]
    yield from table(["way", "seconds", "queries/s", "peak MiB more", "mAP"], cells)


def reset_peak(device: str) -> float:
    """Forget the peak so far; MiB that are held now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MIB
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is resident now
    return peak_mib(device)


def peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
