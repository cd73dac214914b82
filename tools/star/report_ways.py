"""The section of the star report on the ways of searching: plain, and what was asked for beside it."""

from tarpon.tools.html.document import embed_figure, number, paragraph, table
from tarpon.train.tasks.star.figures import first_rank, retrieval
from tarpon.train.tasks.star.metrics.chance import random_order_scores
from tarpon.train.tasks.star.metrics.embeddings import WAYS, SearchResult
from tarpon.train.tasks.star.metrics.scores import RANKS, score

SHARES = ("map", *(f"cmc_{k}" for k in RANKS))  # of a table, by their names
LABELS = ("mAP", *(f"CMC@{k}" for k in RANKS))  # by their headings


def describe_ways(found: SearchResult, *, split: str) -> str:
    """Scores of plain search and of every other way side by side, what each is, and at which rank the animal was found."""
    plain = found.plain
    named = {WAYS.get(name, name): search for name, search in found.variants().items()}
    made = {name: score(search, identities=found.query_values("identity"), resamples=0) for name, search in named.items()}
    made["a random order"] = random_order_scores(plain.matches, plain.candidates)
    lines = [
        (name, *(number(scores[key]) for key in (*SHARES, "minp")), number(scores["mean_rank"], digits=1))
        for name, scores in made.items()
    ]
    words = (
        "Plain search is what the headlines and the choice of the best weights go by. With mirror images, each photograph's "
        "embedding is the mean over the photograph and its mirror images; photographs of a flank are left as they are."
    )
    out = table(("search", *LABELS, "mINP", "mean rank of the first match"), lines) + paragraph(words)
    if found.expanded is not None:
        out += paragraph("An expanded query is its own embedding and its nearest in the gallery: no other query helps it.")
    if found.local is not None:
        words = (
            f"Local features: the {found.rows.shared.shape[1]} nearest of plain search by how many features (SIFT) of the two "
        )
        out += paragraph(
            f"{words}photographs lie alike. A background that both photographs share counts as well as the animal."
        )
    if found.reranked is not None:
        out += paragraph(
            "Re-ranking is transductive: every query is ranked with the help of all the other queries of the split. A "
            "single new photograph has no such help, so these numbers are not comparable with plain search and are "
            "reported for themselves.",
            kind="warn",
        )
    caption = "Share of photographs whose animal is among the first k, over k."
    out += embed_figure(retrieval.cmc(named, split=split), caption=caption)
    caption = "Rank of the first photograph of the right animal, plain search; dotted: a random order of the same gallery."
    return out + embed_figure(first_rank.first_ranks(plain, split=split), caption=caption)
