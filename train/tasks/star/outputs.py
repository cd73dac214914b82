"""What a re-identification run leaves for its readers, all of it from one search of one split's embeddings.

So the tables, the summary and the figures cannot disagree, and `tarpon report` writes the same ones from the stored file.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tarpon.shards import atomic, spreadsheet
from tarpon.shards.json_file import write_json
from tarpon.train.figures import style
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.star.figures import retrieval
from tarpon.train.tasks.star.metrics.collect import embeddings_path, score_open_set
from tarpon.train.tasks.star.metrics.embeddings import SearchResult, load_embeddings, search_split
from tarpon.train.tasks.star.metrics.open_set import Novelty, fit_novelty_rule
from tarpon.train.tasks.star.metrics.scores import RANKS, score, score_datasets, score_folders, score_identities
from tarpon.train.tasks.star.metrics.search_options import Expansion, Reranking, SearchOptions

SPLITS = ("test", "val")  # the first that is there is what is written
PUBLISHED = {"map": "mAP"} | {f"cmc_{k}": f"CMC@{k}" for k in RANKS}  # our name -> theirs; the others are the same
SHARES = ("map", *(f"cmc_{k}" for k in RANKS))
IDENTITY_COLUMNS = ("identity", "folder", "mean_rank", "best_rank", "worst_rank", "num_queries", *SHARES)
FOLDER_COLUMNS = ("folder", "num_identities", "mean_rank", "std_rank", "num_queries", *SHARES)
TRANSDUCTIVE = "every query is ranked with the help of all the others; not comparable with plain search"


def find_run(
    folder: Path, search_options: SearchOptions, *, device: torch.device | str = "cpu"
) -> tuple[str, SearchResult, Novelty | None]:
    """The split that a run folder's readers want, searched again, and the new-animal decision learnt on validation.

    Returns:
        (split, its searches, None where validation cannot teach the decision or has no file).

    Raises:
        ValueError: the folder holds no embeddings.
    """
    there = [split for split in SPLITS if list_shares(embeddings_path(folder, split))]
    if not there:
        raise ValueError(
            f"{folder}: no predictions/test.parquet or predictions/val.parquet; give a run folder with a validation done"
        )
    found = {
        split: search_split(load_embeddings(embeddings_path(folder, split)), search_options, device=device) for split in there
    }
    return there[0], found[there[0]], fit_novelty(found["val"]) if "val" in found else None


def fit_novelty(found: SearchResult, *, fpr: float = 0.05) -> Novelty | None:
    """The decision that a split teaches; None where no query has both a match and another identity."""
    both = np.isfinite(found.plain.best_own) & np.isfinite(found.plain.best_other)
    return fit_novelty_rule(found.plain, fpr=fpr) if both.any() else None


def write_outputs(
    folder: Path,
    found: SearchResult,
    *,
    split: str = "test",
    novelty: Novelty | None = None,
    search_options: SearchOptions | None = None,
    prefix: str = "star",
) -> list[Path]:
    """Write the tables by identity and by outing folder, the summary and the figures; returns what was written.

    Args:
        novelty: the new-animal decision, learnt on validation.
        search_options: with which `found` was made, for the summary.
    """
    named = {"identities": found.query_values("identity"), "outings": found.query_values("outing")}
    identities, folders = score_identities(found.plain, **named), score_folders(found.plain, **named)
    tables = {
        f"{prefix}_identity_metrics.csv": format_csv(identities, IDENTITY_COLUMNS),
        f"{prefix}_folder_metrics.csv": format_csv(folders, FOLDER_COLUMNS),
    }
    for name, content in tables.items():
        atomic.write_text(folder / name, content)
    summary = make_summary(found, num_folders=len(folders), split=split, novelty=novelty, search_options=search_options)
    write_json(folder / f"{prefix}_evaluation_summary.json", summary)
    drawn = draw_figures(found, split=split, novelty=novelty)
    for name, content in drawn.items():
        atomic.write_bytes(folder / name, content)
    return [folder / name for name in (*tables, f"{prefix}_evaluation_summary.json", *drawn)]


def draw_figures(found: SearchResult, *, split: str, novelty: Novelty | None) -> dict[str, bytes]:
    """File name -> PNG."""
    new = None if found.new is None else found.new.best
    drawn = {
        "cmc.png": retrieval.cmc(found.variants(), split=split),
        "ranks_by_identity.png": retrieval.ranks(found.plain, identities=found.query_values("identity"), split=split),
        "similarities.png": retrieval.similarities(found.plain, novelty=novelty, new=new, split=split),
    }
    return {name: style.png(figure) for name, figure in drawn.items()}


def make_summary(
    found: SearchResult,
    *,
    num_folders: int,
    split: str,
    novelty: Novelty | None = None,
    search_options: SearchOptions | None = None,
) -> dict:
    """What the summary holds: the published names at the top, of plain search; below them every search by itself."""
    identities, datasets = found.query_values("identity"), found.query_values("dataset")
    variants = {name: score(own, identities=identities) for name, own in found.variants().items()}
    plain = variants["plain"]
    top = {
        "mAP": plain["map"],
        "mean_rank": plain["mean_rank"],
        "num_queries": int(plain["num_valid_queries"]),
        "num_identities": int(plain["num_identities"]),
        "num_folders": num_folders,
        **{f"CMC@{k}": plain[f"cmc_{k}"] for k in RANKS},
    }
    rest = {
        "split": split,
        "protocol": found.rows.protocol,
        "num_skipped_queries": int(plain["num_skipped_queries"]),
        "num_gallery": len(found.gallery),
        **variants,
        "by_dataset": score_datasets(found.plain, datasets=datasets) or None,
        "open_set": score_open_set(found) or None,
        "new_animal": asdict(novelty) if novelty else None,
    }
    made = search_options or SearchOptions()
    if "reranked" in variants:
        rest["reranked"] = {**variants["reranked"], **asdict(made.reranking or Reranking()), "transductive": TRANSDUCTIVE}
    if "expanded" in variants:
        rest["expanded"] = {**variants["expanded"], **asdict(made.expansion or Expansion())}
    if "local" in variants:
        rest["local"] = {**variants["local"], "among_nearest": found.rows.shared.shape[1]}
    return top | rest


def format_csv(records: Sequence[Mapping[str, float | str]], columns: Sequence[str]) -> str:
    """A CSV file of these columns under their published names: whole numbers and words as they are, others to 4 decimals."""
    text = io.StringIO()
    writer = spreadsheet.Writer(text, lineterminator="\n")
    writer.writerow([PUBLISHED.get(name, name) for name in columns])
    for record in records:
        cells = [record[name] for name in columns]
        writer.writerow([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells])
    return text.getvalue()
