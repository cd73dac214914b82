"""Model outputs of batches of rows, put together where they were answered; what scores are made of meets on rank 0.

Each process keeps, counts and writes its own rows.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.train.packed_rows import collect_rows
from tarpon.train.prediction_files import share_path
from tarpon.train.task import Result
from tarpon.train.tasks.fish.joint_taxa import choose_together
from tarpon.train.tasks.fish.metrics.counts import CountedRows, count_rows
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows, join_batches, save_no_rows, save_rows
from tarpon.train.tasks.fish.metrics.scores import score_counted
from tarpon.train.tasks.fish.metrics.shares import AttributePart, join_parts, take_part


class AttributeMetric:
    """Batches in, a scored split out.

    Args:
        keys, groups: (rows of the table,) str, by the `row` of a batch.
        joint: family and order are chosen together.
        resamples: of the bootstrap; 0 leaves its intervals out (0.2 s at 9,000 groups).
        place, places: of this process among those that score the split.
    """

    def __init__(
        self,
        names: AttributeNames,
        *,
        keys: np.ndarray,
        groups: np.ndarray,
        joint: bool = False,
        resamples: int = 1000,
        place: int = 0,
        places: int = 1,
    ) -> None:
        self._names, self._keys, self._groups, self._joint = names, keys, groups, joint
        self._resamples, self._place, self._places = resamples, place, places
        self._batches: list[dict[str, np.ndarray]] = []
        self._own: AttributeRows | None = None

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """out: family (B, F), order (B, O), habitat (B, L), troph (B, 1), feeding (B, 2) and gates (B, K, E) where there
        are such; batch: family, order, feeding (B,), habitat (B, L), troph (B,), row (B,), -1 for padding."""
        real = batch["row"] >= 0
        family, order = out["family"].float(), out["order"].argmax(1)
        if self._joint:
            family, order = choose_together(family, out["order"], self._names.family_order)
        arrays = {"row": batch["row"]} | rank_families(family, batch["family"].long())
        arrays |= {"order": batch["order"].long(), "order_pred": order}
        habitat = batch["habitat"]
        known = (habitat >= 0).all(1, keepdim=True)  # not NaN, not -1
        arrays["habitat"] = torch.where(known, habitat, torch.full_like(habitat, -1)).long()
        arrays["habitat_prob"] = out["habitat"].float().sigmoid()
        arrays |= {"troph": batch["troph"].float(), "troph_pred": out["troph"][:, 0].float()}
        if "feeding" in out:
            arrays |= {"feeding": batch["feeding"].long(), "feeding_pred": out["feeding"].argmax(1)}
        if "gates" in out:
            arrays["gates"] = out["gates"].float()
        self._batches.append({name: value[real].detach().cpu().numpy() for name, value in arrays.items()})

    def part(self) -> CountedRows | AttributePart | None:
        """What the scores need of this process; None where it has no row."""
        batches, self._batches = self._batches, []
        numbers = collect_rows(batches)
        if not len(numbers):
            return None
        self._own = join_batches(batches, names=self._names, keys=self._keys, groups=self._groups)
        counted = count_rows(self._own)
        return counted if self._places == 1 else take_part(numbers, counted)

    def read(self, parts: list[CountedRows | AttributePart | None]) -> Result:
        """The scored split of the parts of all processes; ValueError where a row comes twice or none is there."""
        held = [part for part in parts if part is not None]
        alone = self._places == 1 and len(held) == 1
        rows = held[0] if alone else join_parts(held, names=self._names, groups=self._groups)
        return Result(scalars=score_counted(rows, resamples=self._resamples), save=self.save, rows=rows, files=self._places)

    def save(self, path: Path) -> None:
        """Write this process's rows, of several into its own file beside `path`."""
        own = share_path(path, place=self._place, places=self._places)
        if self._own is None:
            save_no_rows(own, self._names)
        else:
            save_rows(own, self._own)


def rank_families(scores: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Family scores (B, F) and labels (B,), -1 unknown -> family, family_pred, family_rank (B,) int64, family_confidence.

    family_rank is the number of classes scored above the true one; ties go to the lower class, as in argmax.
    """
    confidence = scores.softmax(1).amax(1)
    known, at = label >= 0, label.clamp(min=0)[:, None]
    own = scores.gather(1, at)
    classes = torch.arange(scores.shape[1], device=scores.device)
    before = (scores > own) | ((scores == own) & (classes < at))
    return {
        "family": label,
        "family_pred": scores.argmax(1),
        "family_rank": torch.where(known, before.sum(1), -1),
        "family_confidence": confidence,
    }
