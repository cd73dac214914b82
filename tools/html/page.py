"""A self-contained HTML page and its parts: nothing is fetched, every text is escaped, light and dark both read well."""

import base64
import html
import math
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from tarpon.train.figures.style import png

STYLE = """
:root{color-scheme:light dark;--ink:#1c1f23;--soft:#5b6470;--line:#dfe3e8;--card:#f5f7f9;--page:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a5adb8;--line:#3a4149;--card:#23282e;--page:#16191d}}
body{margin:0 auto;max-width:1000px;padding:24px 20px 60px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:32px 0 10px;border-top:1px solid var(--line);padding-top:18px}
p{margin:8px 0;max-width:75ch}.soft,figcaption,.card span{color:var(--soft);font-size:13px}
.warn{border-left:4px solid #d55e00;padding-left:10px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:12px;margin:16px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.card b{display:block;font-size:28px;line-height:1.25;font-variant-numeric:tabular-nums}
.card span{display:block;line-height:1.4}
figure{margin:12px 0}img{max-width:100%;height:auto;background:#fff;border-radius:6px;padding:6px;box-sizing:border-box}
.scroll{overflow-x:auto;margin:10px 0}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13.5px}
th,td{padding:4px 0 4px 16px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}th{color:var(--soft);font-weight:600}
i.chip{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:8px;border:1px solid var(--line)}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;overflow-x:auto;font-size:13px}
summary{cursor:pointer;margin:8px 0}
"""


def page(title: str, sections: Sequence[tuple[str, str]], *, style: str = "") -> str:
    """The whole document; sections are (heading, HTML from the functions below); `style` is CSS beside STYLE."""
    body = "".join(
        f'<section id="{html.escape(name.lower().replace(" ", "-"))}"><h2>{html.escape(name)}</h2>{text}</section>\n'
        for name, text in sections
    )
    title = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}{style}</style></head>\n<body><h1>{title}</h1>\n{body}</body></html>\n"
    )


def text(words: str, *, kind: str = "") -> str:
    """A paragraph; kind is "", "soft" (an aside) or "warn" (must not be missed)."""
    return f'<p class="{kind}">{html.escape(words)}</p>' if kind else f"<p>{html.escape(words)}</p>"


def number(value: float, *, digits: int = 3) -> str:
    """Whole numbers without decimals, an undefined score as a dash."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:,.{digits}f}"


def cards(rows: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    """Big numbers: (label, value, lines of small print)."""
    boxes = (
        f'<div class="card"><span>{html.escape(label)}</span><b>{html.escape(value)}</b>'
        + "".join(f"<span>{html.escape(line)}</span>" for line in small)
        + "</div>"
        for label, value, small in rows
    )
    return f'<div class="cards">{"".join(boxes)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, colours: Sequence[str] = ()) -> str:
    """A table of texts; `colours` puts a colour chip before the first cell of each row."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    lines = []
    for number, row in enumerate(rows):
        chip = f'<i class="chip" style="background:{html.escape(colours[number])}"></i>' if colours else ""
        cells = [chip + html.escape(row[0]), *(html.escape(cell) for cell in row[1:])]
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def image(figure: Figure, *, caption: str, colours: int | None = None) -> str:
    """A figure as a PNG inside the page; see figures.png for `colours`."""
    words = html.escape(caption)
    return f"<figure>{picture(png(figure, colours=colours), says=caption)}<figcaption>{words}</figcaption></figure>"


def picture(content: bytes, *, says: str, kind: str = "png") -> str:
    """An encoded picture inside the page; `says` stands for it where it is not seen."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(says)}" src="data:image/{kind};base64,{data}">'


def link(target: str, words: str) -> str:
    """A paragraph that leads to a file beside the page."""
    return f'<p><a href="{html.escape(target)}">{html.escape(words)}</a></p>'


def folded(summary: str, inside: str) -> str:
    """A part that opens on a click; inside is HTML."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def verbatim(words: str) -> str:
    """Text as it stands in its file."""
    return f"<pre>{html.escape(words)}</pre>"
