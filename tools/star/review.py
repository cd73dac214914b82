"""The review sheet of a star run: the photographs whose animal was found latest, each beside its nearest matches.

One HTML file that stands alone. Right and wrong are told by a word and a line as well as by colour.
"""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tarpon.shards import atomic
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader
from tarpon.tools.html.document import embed_image, paragraph, render_document
from tarpon.train.tasks.star.metrics.embeddings import SearchResult

NAME = "review.html"
COUNT, MATCHES = 40, 8  # rows of the sheet; matches in each
SIDE, QUALITY = 160, 70  # pixels of a picture's longer side; of its JPEG: about 6 kB each, 3 MB a sheet
STYLE = """
body{max-width:1560px}.row{border-top:1px solid var(--line);padding:12px 0}.row h3{font-size:15px;margin:0 0 8px}
.row h3 span{font-weight:400;color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(10,minmax(0,1fr));gap:8px;align-items:start}
@media(max-width:1150px){.tiles{grid-template-columns:repeat(auto-fill,minmax(120px,1fr))}}
.tile{border-radius:8px;padding:6px;border:3px solid var(--line);background:var(--card);font-size:12px;line-height:1.35;
overflow-wrap:anywhere}
.tile img{display:block;width:100%;height:120px;object-fit:contain;background:#000;padding:0;border-radius:4px}
.tile b{display:block;margin:4px 0 0;font-size:12.5px}.tile i{font-style:normal;color:var(--soft);display:block}
.asked{border-color:var(--ink)}.right{border-color:#0072b2}.wrong{border-color:#d55e00;border-style:dashed}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class SheetShards:
    """Where the pictures, days and distractors of the sheet come from."""

    manifest: Manifest
    reader: Reader
    rows: np.ndarray  # (N,) int64 row in the manifest of each row of the embeddings

    def value(self, index: int, column: str) -> object:
        return self.manifest.value(int(self.rows[index]), column)

    def picture(self, index: int) -> bytes | None:
        """A small JPEG; None where the shard no longer gives it."""
        try:
            content = self.reader.read(int(self.rows[index]), "jpg")
        except BadSample:
            return None
        with Image.open(io.BytesIO(content)) as whole:
            whole.draft("RGB", (2 * SIDE, 2 * SIDE))  # decoded small, where the codec can
            small = whole.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
        return buffer.getvalue()


def write_review(
    path: Path,
    found: SearchResult,
    *,
    name: str,
    split: str,
    manifest: Manifest | None,
    count: int = COUNT,
    matches: int = MATCHES,
) -> str:
    """Write the sheet of the `count` hardest queries; returns a line on it.

    Args:
        name: of the run.
        manifest: the shards that were searched; None: pictures, days and the mark of distractors are left out.
    """
    shown = None if manifest is None else match_rows(found, manifest)
    queries = find_hardest(found, count=count)
    rows = "".join(_row(found, query, number, matches=matches, shown=shown) for number, query in enumerate(queries, start=1))
    if shown is not None:
        shown.reader.close()
    absent = "" if shown else "The shards are not at hand, or were packed anew: the pictures are left out."
    sections = [
        ("How to read this", _words(found, queries, split=split) + (paragraph(absent, kind="warn") if absent else "")),
        ("Hardest photographs", rows or paragraph("No photograph has another one of its animal in the gallery.")),
    ]
    atomic.write_text(path, render_document(f"Review of {name}", sections, style=STYLE))
    return f"review: {path}, the {len(queries)} hardest of {int(found.plain.valid.sum())} photographs. {absent}".rstrip()


def match_rows(found: SearchResult, manifest: Manifest) -> SheetShards | None:
    """The embeddings' rows in the shards; None where these hold other pictures now."""
    rows = found.rows.row
    if rows.max(initial=-1) >= len(manifest) or not np.array_equal(manifest.column("key")[rows].astype(str), found.rows.key):
        return None
    return SheetShards(manifest=manifest, reader=Reader(manifest), rows=rows)


def find_hardest(found: SearchResult, *, count: int) -> list[int]:
    """(n,) queries whose first match comes latest; of those alike, the lowest average precision first, then in order of row."""
    plain = found.plain
    order = np.lexsort((plain.average_precision, -plain.first_rank))
    return [int(query) for query in order if plain.valid[query]][:count]


def find_first_match(found: SearchResult, query: int) -> tuple[int, float]:
    """Place in `rows` of the most similar photograph of the query's own animal, and its similarity (plain cosine)."""
    rows, at = found.rows, found.query[query]
    own = found.gallery[(rows.identity[found.gallery] == rows.identity[at]) & (found.gallery != at)]
    vectors = rows.embedding[np.concatenate([[at], own])].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors[1:] @ vectors[0]
    best = int(similarity.argmax())
    return int(own[best]), float(similarity[best])


def _words(found: SearchResult, queries: Sequence[int], *, split: str) -> str:
    plain = found.plain
    missed = sum(plain.first_rank[query] > 1 for query in queries)
    return (
        paragraph(
            f"Each row is one photograph of {split} (left, “asked”) and the photographs of the gallery that the network finds "
            f"most similar, the nearest first. A solid blue frame and “right” mean the same animal, a dashed orange frame and "
            f"“wrong” another one. Where none of those shown is right, the nearest right one stands at the end with its rank."
        )
        + paragraph(
            f"Of {plain.valid.sum():,} photographs these are the {len(queries)} whose animal comes latest, the latest first; "
            f"for {missed} of them the nearest match is wrong. Similarity is the cosine: 1 is the same picture. A distractor "
            f"is an animal seen in one session only: it can be taken for another, and is never asked."
        )
        + paragraph(
            "Look for three things: a label that is wrong (all matches look like the animal asked, yet are called wrong), a "
            "photograph in which the animal cannot be seen well, and pairs of animals that the network truly confuses."
        )
        + paragraph(f"Protocol: {found.rows.protocol}.", kind="soft")
    )


def _row(found: SearchResult, query: int, number: int, *, matches: int, shown: SheetShards | None) -> str:
    plain, rows = found.plain, found.rows
    asked, rank = int(found.query[query]), int(plain.first_rank[query])
    tiles = [_tile(found, asked, kind="asked", head="asked", shown=shown)]
    nearest = plain.nearest[query][:matches]
    for index, item in enumerate(nearest[nearest >= 0], start=1):
        at = int(found.gallery[item])
        right = rows.identity[at] == rows.identity[asked]
        head = f"{index}. {'right' if right else 'wrong'}, {plain.similarity[query, index - 1]:.3f}"
        tiles.append(_tile(found, at, kind="right" if right else "wrong", head=head, shown=shown))
    if rank > len(tiles) - 1:
        at, similarity = find_first_match(found, query)
        tiles.append(_tile(found, at, kind="right", head=f"first right: rank {rank:,}, {similarity:.3f}", shown=shown))
    words = (
        f"first right match at rank {rank:,} of {plain.candidates[query]:,} (average precision "
        f"{plain.average_precision[query]:.3f}; photographs of the animal in the gallery: {plain.matches[query]:,})"
    )
    title = f"<h3>{number}. {html.escape(str(rows.identity[asked]))} <span>{html.escape(words)}</span></h3>"
    return f'<div class="row">{title}<div class="tiles">{"".join(tiles)}</div></div>\n'


def _tile(found: SearchResult, index: int, *, kind: str, head: str, shown: SheetShards | None) -> str:
    """A photograph of `rows` with what it is; `kind` is its CSS class, `head` its words."""
    rows = found.rows
    identity, outing = str(rows.identity[index]), str(rows.outing[index])
    lines = [identity, outing.rpartition("/")[2]]
    seen = ""
    if shown is not None:
        lines[1] = str(shown.value(index, "date")) or lines[1]
        if shown.value(index, "distractor"):
            lines.append("distractor")
        content = shown.picture(index)
        seen = embed_image(content, alt=f"{head}: {identity}", kind="jpeg") if content else ""
    details = "".join(f"<i>{html.escape(line)}</i>" for line in lines).replace("__", "__<wbr>")  # data set, animal
    title = html.escape(f"{outing} ({rows.key[index]})")
    return f'<div class="tile {kind}" title="{title}">{seen}<b>{html.escape(head)}</b>{details}</div>'
