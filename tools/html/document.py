"""A self-contained HTML document and its parts: no external files, every text escaped, a light and a dark colour scheme.

The markup is in `document.html` and `parts.html` beside this file, as Jinja2 templates with autoescape.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, Template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
WIDE_IN = 6.0  # inches; more would be illegible at the width of a telephone


@cache
def _template(name: str) -> Template:
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template(name)


def _part(name: str, *values: object) -> str:
    """A macro of parts.html, as HTML: a plain str, for a Markup would escape what it is added to."""
    return str(getattr(_template("parts.html").module, name)(*values))


def render_document(title: str, sections: Sequence[tuple[str, str]], *, style: str = "") -> str:
    """The whole document; sections are (heading, HTML from the functions below); `style` is CSS beside document.css."""
    return _template("document.html").render(
        title=title, sections=sections, style=(FOLDER / "document.css").read_text() + style
    )


def paragraph(words: str, *, kind: str = "") -> str:
    """A paragraph; kind is "", "soft" (an aside) or "warn" (must not be missed)."""
    return _part("paragraph", words, kind)


def number(value: float, *, digits: int = 3) -> str:
    """Whole numbers without decimals, an undefined score as a dash."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:,.{digits}f}"


def cards(rows: Iterable[tuple[str, str, Sequence[str], str]]) -> str:
    """Big numbers: (label, value, lines of small print, the part of the document that the label leads to)."""
    return _part("cards", list(rows))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, colours: Sequence[str] = ()) -> str:
    """A table of texts, the first cell of each row its head; `colours` puts a colour chip before it."""
    return _part("table", header, list(rows), list(colours))


def definitions(rows: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    """Terms and what they mean: (name to lead to, term, lines)."""
    return _part("definitions", list(rows))


def embed_figure(figure: "Figure", *, caption: str, colours: int | None = None) -> str:
    """A matplotlib figure as an inline PNG with a caption; `colours`: see figures.style.png.

    What it shows is read off it for those who do not see it. One too wide for a telephone is moved sideways there.
    """
    from tarpon.train.figures.alternative import describe_figure  # here: matplotlib is needed where something is drawn
    from tarpon.train.figures.style import png

    image = embed_image(png(figure, colours=colours), alt=describe_figure(figure) or caption)
    return _part("figure", image, caption, figure.get_figwidth() > WIDE_IN)


def embed_panels(figures: "Sequence[Figure]", *, caption: str) -> str:
    """Small figures beside each other, two in a row where there is room, with one caption."""
    return _part("panels", "".join(embed_figure(figure, caption="") for figure in figures), caption)


def embed_image(content: bytes, *, alt: str, kind: str = "png") -> str:
    """An encoded image (`kind`: png, jpeg), inline; `alt` is its text for screen readers."""
    return _part("image", base64.b64encode(content).decode("ascii"), kind, alt)


def link_paragraph(target: str, words: str) -> str:
    """A paragraph that links to `target`, a path relative to the document."""
    return _part("link", target, words)


def collapsible(summary: str, inside: str) -> str:
    """A part that opens on a click; `inside` is HTML."""
    return _part("collapsible", summary, inside)


def preformatted(words: str) -> str:
    """Text with its line breaks and blanks kept."""
    return _part("preformatted", words)
