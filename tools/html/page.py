"""A self-contained HTML page and its parts: nothing is fetched, every text is escaped, light and dark both read well.

The markup is in `page.html` and `parts.html` beside this file, as Jinja2 templates with autoescape.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from matplotlib.figure import Figure

from tarpon.train.figures.style import png

FOLDER = Path(__file__).parent


@cache
def _template(name: str) -> Template:
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template(name)


def _part(name: str, *values: object) -> str:
    """A macro of parts.html, as HTML: a plain str, for a Markup would escape what it is added to."""
    return str(getattr(_template("parts.html").module, name)(*values))


def page(title: str, sections: Sequence[tuple[str, str]], *, style: str = "") -> str:
    """The whole document; sections are (heading, HTML from the functions below); `style` is CSS beside page.css."""
    return _template("page.html").render(title=title, sections=sections, style=(FOLDER / "page.css").read_text() + style)


def text(words: str, *, kind: str = "") -> str:
    """A paragraph; kind is "", "soft" (an aside) or "warn" (must not be missed)."""
    return _part("text", words, kind)


def number(value: float, *, digits: int = 3) -> str:
    """Whole numbers without decimals, an undefined score as a dash."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:,.{digits}f}"


def cards(rows: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    """Big numbers: (label, value, lines of small print)."""
    return _part("cards", list(rows))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, colours: Sequence[str] = ()) -> str:
    """A table of texts; `colours` puts a colour chip before the first cell of each row."""
    return _part("table", header, list(rows), list(colours))


def image(figure: Figure, *, caption: str, colours: int | None = None) -> str:
    """A figure as a PNG inside the page; see figures.style.png for `colours`."""
    return _part("image", picture(png(figure, colours=colours), says=caption), caption)


def picture(content: bytes, *, says: str, kind: str = "png") -> str:
    """An encoded picture inside the page; `says` stands for it where it is not seen."""
    return _part("picture", base64.b64encode(content).decode("ascii"), kind, says)


def link(target: str, words: str) -> str:
    """A paragraph that leads to a file beside the page."""
    return _part("link", target, words)


def folded(summary: str, inside: str) -> str:
    """A part that opens on a click; inside is HTML."""
    return _part("folded", summary, inside)


def verbatim(words: str) -> str:
    """Text as it stands in its file."""
    return _part("verbatim", words)
