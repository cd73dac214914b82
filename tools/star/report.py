"""What the report of a star run tells: three ways of searching apart, animals, outings, data sets, new animals.

Every number, figure and file comes from one search of the stored embeddings. Q queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from tarpon.shards.manifest import Manifest
from tarpon.tools.html.document import embed_figure, link_paragraph, number, paragraph, table
from tarpon.tools.record import Record
from tarpon.tools.report import ReportSections
from tarpon.tools.run_shards import open_run_shards
from tarpon.tools.star import report_data, review
from tarpon.tools.star.measured import MEASURED
from tarpon.tools.star.report_ways import LABELS, SHARES, describe_ways
from tarpon.train.config import parser_for, read_run
from tarpon.train.tasks.star.figures import retrieval
from tarpon.train.tasks.star.metrics.chance import random_order_scores
from tarpon.train.tasks.star.metrics.collect import score_open_set
from tarpon.train.tasks.star.metrics.embeddings import WAYS, SearchResult
from tarpon.train.tasks.star.metrics.open_set import RATES, Novelty
from tarpon.train.tasks.star.metrics.scores import score_folders, score_identities
from tarpon.train.tasks.star.metrics.search_options import SearchOptions
from tarpon.train.tasks.star.options import PRETRAIN, StarOptions
from tarpon.train.tasks.star.outputs import find_run, write_outputs
from tarpon.train.tasks.star.record import STAR

HEADLINES = (  # name in metrics.json, label, what the number means
    ("map", "mAP", "mean average precision: 1 when all photographs of the right animal come before any other"),
    ("cmc_1", "CMC@1", "photographs whose nearest match is the right animal"),
    ("cmc_5", "CMC@5", "the right animal is among the 5 nearest"),
    ("cmc_10", "CMC@10", "the right animal is among the 10 nearest"),
    ("cmc_20", "CMC@20", "the right animal is among the 20 nearest"),
    ("minp", "mINP", "how soon even the last photograph of the right animal has come; 1: none of another before it"),
)
CURVES = {"map", "cmc_1", "cmc_5", "minp", "loss"}  # of val, over the steps
SHOWN = 200  # animals and outings in a table, the worst first
NO_ROWS = "There are no predictions in this run folder, so there is nothing to show here."
SECTIONS = ("Ways of searching", "Hardest photographs", "Animals", "Outings", "Data sets", "New animals")


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchedRun:
    """A run's reported split, searched again."""

    split: str
    found: SearchResult
    novelty: Novelty | None  # learnt on validation


def build_sections(record: Record, *, frames: None = None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order, of the split that is reported."""
    if not record.predictions:
        return [(heading, paragraph(NO_ROWS)) for heading in SECTIONS]
    own, manifest = search_run(record.folder), open_shards(record)
    parts = (
        describe_ways(own.found, split=own.split),
        _review(record),
        _animals(own),
        _outings(own),
        report_data.format_datasets(own.found, manifest),
        _new(own),
    )
    return list(zip(SECTIONS, parts, strict=True))


def has_curve(name: str) -> bool:
    """Whether a score of val is drawn over the steps."""
    return name in CURVES


def list_warnings(record: Record) -> Sequence[str]:
    """What a reader must know before the scores: the card's own."""
    manifest = open_shards(record)
    return [] if manifest is None else [f"The shards warn: {line}." for line in manifest.card.get("warnings", ())]


def compare_with_chance(record: Record) -> Mapping[str, str]:
    """Headline -> what a random order of the same gallery would score, exactly."""
    if not record.predictions:
        return {}
    plain = search_run(record.folder).found.plain
    return {
        name: f"a random order: {value:.3f}" for name, value in random_order_scores(plain.matches, plain.candidates).items()
    }


def describe_protocol(record: Record) -> str:
    """The protocol, who was asked among whom, and the way to the review sheet."""
    if not record.predictions:
        return ""
    own = search_run(record.folder)
    found, plain = own.found, own.found.plain
    asked = (
        f"Asked: {plain.valid.sum():,} photographs of {len(set(found.query_values('identity')[plain.valid])):,} animals, among "
        f"{len(found.gallery):,} photographs of {len(set(found.rows.identity[found.gallery])):,} animals. The numbers are of "
        f"plain search by cosine similarity."
    )
    if skipped := int((~plain.valid).sum()):
        asked += f" {skipped:,} further photographs have no other of their animal in the gallery and are left out."
    sheet = link_paragraph(record.link(review.NAME), "Look at the hardest photographs with their nearest matches (review.html)")
    return paragraph(f"Protocol: {found.rows.protocol}.") + paragraph(asked) + (sheet if _reviewed(record) else "")


def describe_split(record: Record) -> str:
    """HTML on how the splits were made, from the card of the shards."""
    manifest = open_shards(record)
    if manifest is None:
        return paragraph("The shards are not at hand, so how they were split cannot be looked at.", kind="soft")
    return report_data.describe_split(manifest)


def rewrite(record: Record) -> None:
    """Tables, summary, figures and the review sheet of the run folder, made again from what it holds."""
    run = record.folder
    own, searching = search_run(run), read_search_options(run)
    write_outputs(run, own.found, split=own.split, novelty=own.novelty, search_options=searching)
    manifest = open_shards(record)
    line = review.write_review(run / review.NAME, own.found, name=run.resolve().name, split=own.split, manifest=manifest)
    print(line)


def search_run(run: Path) -> SearchedRun:
    """The search of a run folder, made once for each state of its files."""
    files = [run / "run.yaml", *sorted((run / "predictions").glob("*.parquet"))]
    return _search(run.resolve(), tuple((path.name, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=1)
def _search(run: Path, _state: tuple[tuple[str, int], ...]) -> SearchedRun:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    split, found, novelty = find_run(run, read_search_options(run), device=device)
    return SearchedRun(split=split, found=found, novelty=novelty)


def read_search_options(run: Path) -> SearchOptions:
    """As the run's own test split was searched."""
    _, options = read_run(run, StarOptions, parser_for(StarOptions, recipe=STAR.recipe(), task="star"))
    return options.search.search_options(beside=True, within_dataset=options.strategy == PRETRAIN)


def open_shards(record: Record) -> Manifest | None:
    """What the run was searched on; None where it is no longer at hand."""
    try:
        return open_run_shards(record.config, kind="reid", cache=record.cache, data=record.data)
    except (ValueError, OSError):
        if record.data:  # the user says that it is there
            raise
        return None


def _reviewed(record: Record) -> bool:
    return (record.folder / review.NAME).is_file()


def _review(record: Record) -> str:
    if not _reviewed(record):
        return paragraph(f"There is no {review.NAME} in the run folder; `tarpon report RUN` writes it.", kind="soft")
    words = "The photographs whose animal was found latest, each beside its nearest matches, are in a file of their own."
    return paragraph(words) + link_paragraph(record.link(review.NAME), "Open the review sheet")


def _animals(own: SearchedRun) -> str:
    found = own.found
    named = {"identities": found.query_values("identity"), "outings": found.query_values("outing")}
    records = score_identities(found.plain, **named)[::-1]
    lines = [
        (
            str(record["identity"]),
            f"{record['num_queries']:,}",
            *(number(record[name]) for name in SHARES),
            *(number(record[name], digits=1) for name in ("mean_rank", "best_rank", "worst_rank")),
        )
        for record in records[:SHOWN]
    ]
    perfect = sum(record["cmc_1"] == 1 for record in records)
    words = f"{perfect} of {len(records)} animals are the nearest match of every one of their photographs. The worst first."
    header = ("animal", "photographs", *LABELS, "mean rank", "best", "worst")
    figure = retrieval.ranks(found.plain, identities=named["identities"], split=own.split)
    caption = "Photographs of each animal by the rank of their first right match."
    return paragraph(words + _cut(records)) + table(header, lines) + embed_figure(figure, caption=caption)


def _outings(own: SearchedRun) -> str:
    found = own.found
    records = score_folders(found.plain, identities=found.query_values("identity"), outings=found.query_values("outing"))[::-1]
    lines = [
        (
            str(record["folder"]),
            f"{record['num_identities']:,}",
            f"{record['num_queries']:,}",
            *(number(record[name]) for name in SHARES),
            f"{record['mean_rank']:.1f}",
        )
        for record in records[:SHOWN]
    ]
    words = (
        "An outing is the folder that a photograph lies in. The worst first: light, water or distance of that day may be why."
    )
    return paragraph(words + _cut(records)) + table(("outing", "animals", "photographs", *LABELS, "mean rank"), lines)


def _cut(records: Sequence[object]) -> str:
    return f" The {SHOWN} worst of {len(records):,} are listed; the CSV file has all." if len(records) > SHOWN else ""


def _new(own: SearchedRun) -> str:
    found, new = own.found, own.found.new
    best = None if new is None else new.best
    caption = "Highest similarity of each photograph to its own animal, and to any other animal of the gallery."
    figure = retrieval.similarities(found.plain, novelty=own.novelty, new=best, split=own.split)
    return _decision(own) + _open_set(own) + embed_figure(figure, caption=caption)


def _decision(own: SearchedRun) -> str:
    novelty, plain = own.novelty, own.found.plain
    if novelty is None:
        return paragraph(
            "Validation could not teach when to call an animal new: no photograph of it has a match and another animal."
        )
    known = plain.best[plain.valid]
    words = (
        f"An animal is called new when no photograph of the gallery is as similar to it as {novelty.threshold:.3f}. This was "
        f"learnt on validation, with each photograph's own animal taken out of the gallery: {novelty.false_positive_rate:.0%} "
        f"of the animals made new in this way still pass for known. On {own.split} it calls {novelty.is_new(known).mean():.1%} "
        f"of {len(known):,} photographs of known animals new, which is wrong."
    )
    return paragraph(words)


def _open_set(own: SearchedRun) -> str:
    scores = score_open_set(own.found)
    if not scores:
        words = f"No animal of {own.split} was held out of the gallery, so how well new animals are told could not be measured"
        return paragraph(f"{words} (`tarpon pack star --open_set` holds some out).", kind="soft")
    best = own.found.new.best
    lines = [("AUROC: a known animal ranked above a new one; 0.5 is a guess", number(scores["open_auroc"]))]
    for rate in RATES:
        name = f"open_tpr_at_fpr_{rate:.0%}".rstrip("%")
        lines.append((f"known animals passed while {rate:.0%} of new ones pass too", number(scores[name])))
    if own.novelty is not None:
        lines.append(("new animals called new at the threshold", number(float(own.novelty.is_new(best).mean()))))
    words = f"{len(best):,} photographs are of animals that are in no gallery: they should be called new."
    return paragraph(words) + table(("new animals", own.split), lines)


SECTIONS_OF_RUN = ReportSections(
    unit="photograph",
    headlines=HEADLINES,
    measured=MEASURED,
    sections=build_sections,
    has_curve=has_curve,
    split=describe_split,
    warnings=list_warnings,
    over="identities",
    beside=compare_with_chance,
    ways=tuple(WAYS),
    below=describe_protocol,
    reads_data=True,
    rewrite=rewrite,
)
