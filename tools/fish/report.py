"""What the report of a fish run tells: families by frequency, orders, habitats, trophic levels, gates.

N rows (images), F families, L habitats.
"""

from collections.abc import Mapping

import numpy as np
import yaml

from tarpon.shards.features import FeatureTable, open_features
from tarpon.tools.fish.measured import MEASURED
from tarpon.tools.html.document import embed_figure, number, paragraph, table
from tarpon.tools.record import Record
from tarpon.tools.report import ReportSections
from tarpon.train.metrics.confusion import ratio
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.fish.figures import attributes, orders
from tarpon.train.tasks.fish.metrics.counts import CountedRows, average_gates, count_classes, count_rows
from tarpon.train.tasks.fish.metrics.predictions import AttributeRows, load_rows
from tarpon.train.tasks.fish.metrics.scores import THRESHOLD, count_habitats, label_f1

HEADLINES = (  # name in metrics.json, label, what the number means
    ("acc_family", "Family accuracy", "images given the right family"),
    ("balanced_acc_family", "Family, class mean", "mean of the families' own accuracy, however rare"),
    ("acc_order", "Order accuracy", "images given the right order"),
    ("auroc_habitat", "Habitat AUROC", "mean of the habitats; 0.5 is a guess"),
    ("f1_habitat", "Habitat F1", f"mean of the habitats, yes from {THRESHOLD} on"),
    ("mae_troph", "Trophic level error", "mean absolute; levels go from 2 to 5"),
)
CURVES = {"acc_family", "balanced_acc_family", "acc_order", "auroc_habitat", "exact_habitat", "loss"}  # of val, over steps
WORST = 20  # families in the table of the worst
WORST_ROWS = 3  # true images that a family needs for it
NO_ROWS = "There are no predictions in this run folder, so there is nothing to show here."


def build_sections(record: Record, *, frames: None = None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order, of the split that is reported."""
    if record.split not in record.predictions:
        return [(heading, paragraph(NO_ROWS)) for heading in ("Families", "Orders", "Habitats", "Trophic level", "Gates")]
    rows, scores = load_rows(record.predictions[record.split]), record.metrics.get(record.split, {})
    counted = count_rows(rows)
    return [
        ("Families", _families(counted) + _worst(rows)),
        ("Orders", _orders(rows, scores)),
        ("Habitats", _habitats(counted, scores)),
        ("Trophic level", _troph(counted, scores)),
        *([("Feeding path", _feeding(rows))] if rows.feeding is not None else []),
        ("Gates", _gates(counted)),
    ]


def has_curve(name: str) -> bool:
    """Whether a score of val is drawn over the steps: the headlines, and F1 of each habitat."""
    return name in CURVES or (name.startswith("f1_habitat_") and not name.endswith(("_low", "_high")))


def describe_split(record: Record) -> str:
    """HTML on which rows are in which split, counted in the features that the run was trained on."""
    try:
        features = open_features(yaml.safe_load(record.config)["data"])
    except (ValueError, OSError, KeyError, TypeError) as error:
        return paragraph(f"The features are not at hand, so the splits cannot be looked at ({error}).", kind="warn")
    groups = {split: set(_groups(features, split)) for split in ("train", "val", "test")}
    counts = [
        f"{split}: {len(features.split(split)):,} images of {len(found):,} species or single images"
        for split, found in groups.items()
        if found
    ]
    parts = [paragraph("; ".join(counts) + ".")]
    torn = groups["train"] & groups["val"]
    if torn:
        words = f"{len(torn):,} species are in train and in val, so val flatters the model: it was cut by image."
        parts.append(paragraph(words, kind="warn"))
    else:
        words = (
            "Val was cut from the rows of train.csv when packing: the same share of every family, all images of a named "
            "species on one side. Rows without a species stand for themselves."
        )
        parts.append(paragraph(words))
    if groups["test"]:
        common = sum(name in groups["train"] | groups["val"] for name in _groups(features, "test"))
        words = (
            f"Test is test.csv, as it was given. {common:,} of its {len(features.split('test')):,} images are of a named "
            "species that has images in train or val too; of images without a species name that is not known."
        )
        parts.append(paragraph(words))
    return "".join(parts)


def _groups(features: FeatureTable, split: str) -> list[str]:
    return features.labels["group"].take(features.split(split)).to_pylist()


def _families(rows: CountedRows) -> str:
    support, hits = rows.counts.family
    if not support.sum():
        return paragraph("No row has a known family.")
    images, limits = rows.names.train_images, (rows.names.common, rows.names.rare)
    ranges = {"common": f"{limits[0]} or more", "medium": f"{limits[1]} to {limits[0] - 1}", "rare": f"1 to {limits[1] - 1}"}
    ranges["unseen"] = "none"
    lines = [
        (name, ranges[name], f"{(members & (support > 0)).sum():,}", *_rates(support[members], hits[members]))
        for name, members in rows.names.buckets().items()
        if name != "unseen" or support[members].sum()
    ]
    lines.append(("all", "", f"{(support > 0).sum():,}", *_rates(support, hits)))
    header = ("families by", "training images", "number", "rows", "rows right", "mean of families")
    words = (
        f"Always the commonest family of training ({rows.names.families[images.argmax()]}) would be right on "
        f"{support[images.argmax()] / support.sum():.1%} of these rows, a blind guess on {1 / len(images):.1%}."
    )
    caption = "Each family by its images in training; its area goes with its rows here. Dotted: the limits of rare and common."
    return table(header, lines) + paragraph(words) + embed_figure(attributes.families(rows), caption=caption)


def _rates(support: np.ndarray, hits: np.ndarray) -> tuple[str, str, str]:
    """Rows, share of them that is right, mean of the families' shares."""
    mean = ratio(np.nansum(ratio(hits, support)), (support > 0).sum())
    return f"{support.sum():,}", number(float(ratio(hits.sum(), support.sum()))), number(float(mean))


def _worst(rows: AttributeRows) -> str:
    names = rows.names.families
    support, hits = count_classes(rows.family, rows.family_pred, len(names))
    recall = ratio(hits, support)
    order = np.lexsort((-support, recall))  # the lowest first, of equal ones the larger
    listed = [i for i in order if support[i] >= WORST_ROWS and hits[i] < support[i]][:WORST]
    if not listed:
        return paragraph(f"No family of {WORST_ROWS} rows or more has a mistake.")
    lines = []
    for i in listed:
        wrong = rows.family_pred[(rows.family == i) & (rows.family_pred != i)]
        taken = np.bincount(wrong, minlength=len(names))
        counts = (f"{rows.names.train_images[i]:,}", f"{support[i]:,}", f"{hits[i]:,}", number(float(recall[i])))
        lines.append((names[i], *counts, f"{names[taken.argmax()]} ({taken.max():,})"))
    header = ("worst families", "training images", "rows", "right", "share right", "most often taken for")
    return table(header, lines) + paragraph(
        f"Of families of {WORST_ROWS} rows or more with a mistake, the {WORST} worst.", kind="soft"
    )


def _orders(rows: AttributeRows, scores: Mapping[str, float]) -> str:
    if not (rows.order >= 0).any():
        return paragraph("No row has a known order.")
    largest = np.bincount(rows.order[rows.order >= 0]).max() / (rows.order >= 0).sum()
    words = (
        f"Always the commonest order of these rows would be right on {largest:.1%}. The predicted order is that of the "
        f"predicted family on {number(scores.get('consistency', np.nan))} of the rows: the two are answered "
        "apart, and this says how often they agree."
    )
    more = f" The {orders.SHOWN} orders with most rows; all others are one class."
    caption = "Rows by true and by predicted order." + (more if len(rows.names.orders) > orders.SHOWN else "")
    return paragraph(words) + embed_figure(orders.orders(rows), caption=caption)


def _habitats(rows: CountedRows, scores: Mapping[str, float]) -> str:
    known = (rows.habitat >= 0).all(1)
    if not known.any():
        return paragraph("No row has known habitats.")
    counts = count_habitats(rows).sum(0)
    f1, share = label_f1(counts), (rows.habitat[known] == 1).mean(0)
    keys = score_keys(rows.names.habitats)
    lines = [
        (
            name,
            f"{counts[i, 1]:,}",
            f"{share[i]:.1%}",
            number(scores.get(f"auroc_habitat_{keys[i]}", np.nan)),
            number(float(f1[i])),
            number(float(2 * share[i] / (1 + share[i])) if share[i] else np.nan),
        )
        for i, name in enumerate(rows.names.habitats)
    ]
    header = ("habitat", "true yes", "share", "AUROC", "F1", "F1 of always yes")
    words = (
        f"Habitats are known for {known.sum():,} of {len(rows):,} rows; the others are left out of every number here. All of "
        f"them are right at once on {number(scores.get('exact_habitat', np.nan))} of the known rows."
    )
    caption = "Receiver operating characteristic of each habitat."
    return table(header, lines) + paragraph(words) + embed_figure(attributes.habitats(rows), caption=caption)


def _troph(rows: CountedRows, scores: Mapping[str, float]) -> str:
    known = np.isfinite(rows.troph)
    if not known.any():
        return paragraph("No row has a known trophic level.")
    true = rows.troph[known].astype(np.float64)
    blind = np.abs(true - np.median(true)).mean()
    words = (
        f"Mean absolute error {number(scores.get('mae_troph', np.nan))}, root mean square error "
        f"{number(scores.get('rmse_troph', np.nan))}, over {known.sum():,} rows where it is known. Always the median of these "
        f"rows would be {blind:.3f} off in the mean."
    )
    return paragraph(words) + embed_figure(
        attributes.troph(rows), caption="Predicted over true trophic level; the line is equality."
    )


def _feeding(rows: AttributeRows) -> str:
    known = rows.feeding >= 0
    if not known.any():
        return paragraph("No row has a known feeding path.")
    support, hits = count_classes(rows.feeding, rows.feeding_pred, len(rows.names.feedings))
    lines = [
        (name, f"{total:,}", f"{total / support.sum():.1%}", number(float(ratio(right, total))))
        for name, total, right in zip(rows.names.feedings, support, hits, strict=True)
    ]
    words = f"Right on {hits.sum() / support.sum():.3f} of {support.sum():,} rows where it is known."
    return table(("feeding path", "rows", "share", "share right"), lines) + paragraph(words)


def _gates(rows: CountedRows) -> str:
    if rows.counts.gates is None:
        return paragraph("This model has no gates: its heads share nothing.")
    mean, entropy = average_gates(rows.counts)
    even = np.log(mean.shape[1])
    idle = np.flatnonzero(mean.max(0) < 0.5 / mean.shape[1])
    words = (
        "Every task mixes all experts by its own gate; a row's weights sum to 1. Entropy says how even a row's mix is: "
        f"0 is one expert alone, {even:.2f} nats all alike. Here {entropy.min():.2f} to {entropy.max():.2f}."
    )
    if len(idle):
        words += f" Hardly used by any task: expert {', '.join(map(str, idle))}; fewer experts may do."
    return paragraph(words) + embed_figure(attributes.gates(rows), caption="Mean weight of each expert in each task's mix.")


SECTIONS_OF_RUN = ReportSections(
    unit="image",
    headlines=HEADLINES,
    measured=MEASURED,
    sections=build_sections,
    has_curve=has_curve,
    split=describe_split,
)
