"""What the report of a star run tells of its data: how they were split, and each data set by itself."""

from collections.abc import Mapping

import numpy as np

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.tools.html.document import number, paragraph, table
from tarpon.train.tasks.star.metrics.embeddings import SearchResult

HELD = ("animals", "photographs", *SPLITS)  # of a data set, in the shards
USES = {  # split -> what it is for
    "train": "learnt from; in the gallery",
    "val": "the best weights were chosen on it; in the gallery of test",
    "test": "asked once, at the end",
}
RULES: dict[str, str] = {  # the card's setting -> how the split was made
    "temporal": "each animal's earliest days train, the last of these validates, its later days test; a day is never cut",
    "given": "as the metadata file says",
    "original": "as the file of the data set says",
    "recommended": "by the rule that suits each data set",
    "time_aware": "each animal's earliest pictures train, its later ones test",
    "cluster_aware": "clusters of an animal's pictures that look like one encounter stay together",
    "random": "by picture, at random: pictures of one day are on both sides, so the scores are better than in the field",
}


def describe_split(manifest: Manifest) -> str:
    """HTML: the rule, who is in which split, how much later the tested pictures are, and distractors and new animals."""
    card = manifest.card
    settings = card.get("settings", {})
    rule = settings.get("split") or settings.get("split_strategy") or ""
    text_of_rule = RULES.get(rule, rule) or "the card does not say how"
    ratio = settings.get("train_ratio")
    share = f" ({ratio:.0%} train)" if isinstance(ratio, float) and rule not in ("given", "original") else ""
    parts = [paragraph(f"Split {rule}{share}: {text_of_rule}.") if rule else paragraph(f"Split: {text_of_rule}.")]
    identity, split = manifest.column("identity"), manifest.column("split")
    group = manifest.column("group")
    lines = [
        (f"{name}: {USES[name]}", *(f"{count:,}" for count in (own.sum(), len(set(identity[own])), len(set(group[own])))))
        for name in SPLITS
        if (own := split == name).any()
    ]
    parts.append(table(("split", "photographs", "animals", "sessions"), lines))
    parts += [paragraph(words) for words in (_gap(manifest), _others(card)) if words]
    parts += [paragraph(f"Note: {line}.", kind="soft") for line in card.get("notes", ())]
    return "".join(parts)


def _gap(manifest: Manifest) -> str:
    """How long before a tested picture its animal was last seen in the gallery."""
    identity, split, date, novel = (manifest.column(name) for name in ("identity", "split", "date", "novel"))
    dated = (date != "") & ~novel
    last: dict[str, np.datetime64] = {}
    for name, day in zip(identity[dated & (split != "test")], date[dated & (split != "test")], strict=True):
        last[name] = max(last.get(name, np.datetime64(day)), np.datetime64(day))
    days = [
        (np.datetime64(day) - last[name]) / np.timedelta64(1, "D")
        for name, day in zip(identity[dated & (split == "test")], date[dated & (split == "test")], strict=True)
        if name in last
    ]
    if not days:
        return ""
    return (
        f"A tested photograph was taken {np.median(days):,.0f} days (median; {min(days):,.0f} to {max(days):,.0f}) after the "
        f"latest dated one of its animal in the gallery."
    )


def _others(card: Mapping[str, object]) -> str:
    return (
        f"{card.get('distractors', 0):,} animals are distractors: seen in one session only, they are in the gallery, can be "
        f"taken for others, and are never asked. {card.get('novel', 0):,} animals were held out altogether, to be told as new."
    )


def format_datasets(found: SearchResult, manifest: Manifest | None) -> str:
    """Each data set: what it holds, where the shards are at hand, and how it was searched."""
    plain, of = found.plain, found.query_values("dataset")
    gallery = found.rows.dataset[found.gallery]
    lines = []
    for name in np.unique(found.rows.dataset).tolist():
        asked, counts = plain.valid & (of == name), _held(manifest, name)
        precision, first = plain.average_precision[asked], plain.hit(1)[asked]
        scores = (number(float(values.mean()) if len(values) else np.nan) for values in (precision, first))
        lines.append((name, *counts, f"{(gallery == name).sum():,}", f"{asked.sum():,}", *scores))
    header = ("data set", *HELD, "in the gallery", "asked", "mAP", "CMC@1")
    words = (
        "" if manifest is not None else paragraph("The shards are not at hand, so what they hold is not counted.", kind="soft")
    )
    return words + table(header, lines)


def _held(manifest: Manifest | None, name: str) -> tuple[str, ...]:
    if manifest is None:
        return ("–",) * len(HELD)
    own = manifest.column("dataset") == name
    split = manifest.column("split")[own]
    counts = (len(set(manifest.column("identity")[own])), own.sum(), *((split == part).sum() for part in SPLITS))
    return tuple(f"{count:,}" for count in counts)
