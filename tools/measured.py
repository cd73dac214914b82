"""How each headline of a report was measured, in a part of the page that the headline leads to."""

from collections.abc import Mapping, Sequence

from tarpon.tools.html.document import definitions, paragraph

HEADING = "How the scores are measured"
RESAMPLES = "1,000"  # of metrics.bootstrap


def anchor(name: str) -> str:
    """The id of the part of the page on a score."""
    return f"measured-{name}"


def format_measured(
    headlines: Sequence[tuple[str, str, str]],
    scores: Mapping[str, float],
    *,
    split: str,
    measured: Mapping[str, str],
    over: str,
) -> str:
    """HTML on the headlines that the scores have.

    Args:
        headlines: name in metrics.json, label, what the number means.
        measured: name -> how it is made; what has no such words is told by its meaning.
        over: what the intervals were drawn over.
    """
    rows = []
    for name, label, meaning in headlines:
        if name not in scores:
            continue
        lines = [measured.get(name) or f"{meaning[:1].upper()}{meaning[1:]}."]
        if {f"{name}_low", f"{name}_high"} <= scores.keys():
            lines.append(
                f"The 95% interval is that of {RESAMPLES} resamples of whole {over} with replacement: samples of one are "
                "alike, and resampling those would promise too much."
            )
        lines.append(f"In metrics.json: {split}, {name}.")
        rows.append((anchor(name), label, lines))
    return definitions(rows) if rows else paragraph("This run has no headline scores.")
