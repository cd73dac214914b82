"""How the embeddings of a split are searched: plain, by expanded queries, and re-ranked."""

from dataclasses import dataclass

STRIP_BYTES = 256 * 2**20  # working memory of a strip


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """As published; the distance is 1 - cosine."""

    k1: int = 20  # neighbours among which mutual ones are sought
    k2: int = 6  # nearest whose neighbourhoods are averaged; 1 leaves each its own
    share: float = 0.3  # of the plain distance in the final one; the rest is the Jaccard distance

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.share <= 1:
            raise ValueError(f"k1={self.k1} and k2={self.k2} must be 1 or more and share={self.share} in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Alpha query expansion: each query takes its nearest into itself."""

    count: int = 5  # nearest that are added to the query
    alpha: float = 3.0  # a neighbour weighs its cosine to the power of this; 0: as much as the query itself

    def __post_init__(self) -> None:
        if self.count < 1 or self.alpha < 0:
            raise ValueError(
                f"expand={self.count} must be 1 or more, 0 for no expansion, and expand_alpha={self.alpha} at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a split is searched."""

    within_dataset: bool = False  # each query among its own data set's gallery alone
    reranking: Reranking | None = None  # None: no re-ranking
    expansion: Expansion | None = None  # None: no query expansion
    local: int = 0  # nearest that a rescorer compares by local features
    top: int = 20  # nearest kept a query
    strip_bytes: int = STRIP_BYTES
