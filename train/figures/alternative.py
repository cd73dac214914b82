"""What a figure shows, in words, for those who do not see it: read off the drawn figure itself."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

MOST = 8  # lines, bars or panels that are told one by one
LEGEND_TAIL = "_"  # matplotlib's own labels of artists that have none begin with it


def describe_figure(figure: Figure) -> str:
    """A sentence a panel: its title, what its axes are, and from where to where each line goes, how long each bar is.

    Shows no more than the figure does: what was left out of it is left out here.
    """
    panels = [words for axes in figure.axes if axes.get_label() != "<colorbar>" and (words := _describe_panel(axes))]
    more = f" And {len(panels) - MOST} further panels." if len(panels) > MOST else ""
    return " ".join(panels[:MOST]) + more


def _describe_panel(axes: Axes) -> str:
    if not axes.has_data():
        return ""
    title, across, up = (
        _plain(text) for text in (axes.get_title(loc="left") or axes.get_title(), axes.get_xlabel(), axes.get_ylabel())
    )
    kind, parts = _content(axes)
    where = f"{up} over {across}" if across and up else f"over {across}" if across else up
    head = ", ".join(part for part in (title, kind, where) if part)
    more = f"; and {len(parts) - MOST} more" if len(parts) > MOST else ""
    return f"{head}: {'; '.join(parts[:MOST])}{more}." if parts else f"{head}."


def _content(axes: Axes) -> tuple[str, list[str]]:
    """What kind of plot this is, and its parts."""
    if axes.images:
        rows, columns = axes.images[0].get_array().shape[:2]
        named = axes.get_yticklabels() and axes.get_xlabel()
        return (f"a map of {rows} rows and {columns} columns", _strongest(axes)) if named else ("a picture", [])
    if axes.patches and not axes.lines:
        return "bars", list(_bars(axes))
    if axes.lines:
        return "lines", list(_lines(axes))
    points = sum(len(made.get_offsets()) for made in axes.collections if isinstance(made, PathCollection))
    return (f"{points} points", []) if points else ("strips", [])


def _lines(axes: Axes) -> Iterator[str]:
    for line in axes.lines:
        values = np.asarray(line.get_ydata(), dtype=float)
        values = values[np.isfinite(values)]
        name = _plain(str(line.get_label()))
        if len(values) and not name.startswith(LEGEND_TAIL):
            yield (
                f"{name} {_number(values[0])}"
                if len(values) == 1
                else f"{name} from {_number(values[0])} to {_number(values[-1])}"
            )


def _bars(axes: Axes) -> Iterator[str]:
    names = [_plain(label.get_text()) for label in axes.get_yticklabels()]
    bars = [patch for patch in axes.patches if hasattr(patch, "get_width")]
    texts = [_plain(text.get_text()) for text in axes.texts]
    if len(texts) == len(names) == len(bars):
        yield from (f"{name} {text}" for name, text in zip(names, texts, strict=True))
    elif len(names) == len(bars):
        yield from (f"{name} {_number(bar.get_width())}" for name, bar in zip(names, bars, strict=True))


def _strongest(axes: Axes) -> list[str]:
    """Of a square map with the same names on both sides: the value of each on the diagonal."""
    shares = np.asarray(axes.images[0].get_array(), dtype=float)
    rows, columns = (
        [_plain(label.get_text()) for label in labels] for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    if shares.ndim != 2 or rows != columns or len(rows) != len(shares):
        return []
    return [f"{name} {shares[at, at]:.0%} on the diagonal" for at, name in enumerate(rows)]


def _plain(text: str) -> str:
    return " ".join(text.replace("\\$", "$").split())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
