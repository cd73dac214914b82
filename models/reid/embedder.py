"""Embeds photographs of animals so that the same individual on another day is nearest.

B images of this process, G of all processes, D features of the embedding, I identities.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.backbones.frames import FrameEncoder
from tarpon.models.reid.gem import Fusion, GeM

STAGES = 3  # stages of the multi-stage model, as published


class ReidModel(nn.Module):
    """Image -> encoder -> fusion of its last stages -> GeM -> head -> embedding; with identities also a neck and a classifier.

    The neck is the batch norm of Luo et al. (CVPR Workshops 2019). In training, pairs are compared before it and identities
    classified after it; in evaluation, embeddings are taken after it. Without identities nothing would train it: there is none.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        *,
        multi_stage: bool = True,
        width: int = 512,
        embedding_dim: int = 512,
        head_depth: int = 3,
        dropout: float = 0.1,
        p: float = 3.0,
        identities: int = 0,
        gather: Callable[[Tensor], Tensor] = lambda embedding: embedding,
    ) -> None:
        """Put the parts together.

        Args:
            encoder: its parameters that the feature maps do not depend on (a norm after the pooling) leave training.
            multi_stage: use the last three stages, not the last alone.
            width: channels of the map that is pooled.
            head_depth: linear layers of the head, with `dropout` between them.
            p: initial exponent of the pooling.
            identities: I, for an identity loss; 0 for none.
            gather: (B, D) -> (G, D), rows of all processes in one order, with gradient. Used in training only.
        """
        super().__init__()
        if min(width, embedding_dim, head_depth) < 1 or identities < 0 or identities == 1:
            raise ValueError(
                f"width={width}, embedding_dim={embedding_dim} and head_depth={head_depth} must be at least 1, "
                f"identities={identities} 0 (no identity loss) or at least 2"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be in [0, 1)")
        self.encoder, self.gather = encoder, gather
        self.stages = STAGES if multi_stage else 1
        self.fusion = Fusion(encoder.restrict_to_maps(stages=self.stages), width)
        self.pool = GeM(p)
        self.head = make_head(width, embedding_dim, depth=head_depth, dropout=dropout)
        self.neck, self.classifier = None, None
        if identities:
            self.neck = nn.BatchNorm1d(embedding_dim)
            self.neck.register_parameter("bias", None)  # it would move the origin that cosines are measured from
            self.classifier = nn.Linear(embedding_dim, identities, bias=False)

    def forward(self, image: Tensor, flips: bool | Tensor = False) -> dict[str, Tensor]:
        """Embed photographs.

        Args:
            image: (B, 3, H, W) float, normalised for the encoder; H and W may differ where the encoder takes that.
            flips: in evaluation, average over the image and its two mirror images: all rows, or those where (B,) bool is True
                (a species whose flanks differ must not be mirrored); (0,) bool is False. Ignored in training.

        Returns:
            In training "embedding" (G, D), not normalised, and with identities "cosine" (G, I) in [-1, 1].
            In evaluation "embedding" (B, D) of length 1, behind the neck where there is one; where `flips` is True or (B,)
            also "embedding_flips" (B, D) of length 1. All float32.
        """
        if self.training:
            embedding = self.gather(self.embed(image))
            return (
                {"embedding": embedding}
                if self.neck is None
                else {"embedding": embedding, "cosine": self._compute_cosines(embedding)}
            )
        out = {"embedding": self._embed_unit(image)}
        if flips is True or (isinstance(flips, Tensor) and len(flips)):
            chosen = torch.ones(len(image), dtype=torch.bool) if flips is True else flips
            out["embedding_flips"] = self._average_flips(image, out["embedding"], chosen.to(image.device))
        return out

    def embed(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D) float32, before the neck, not normalised, this process's rows only."""
        pooled = self.pool(self.fusion(self.encoder.extract_maps(image, stages=self.stages)))
        return self.head(pooled.to(self.head[0].weight.dtype)).float()

    def freeze_backbone(self, on: bool = True) -> None:
        """Freeze the encoder, batch statistics included (True), or train it (False)."""
        self.encoder.freeze(on)

    def _apply_neck(self, embedding: Tensor) -> Tensor:
        """(N, D) float32 -> the same; outside of autocast, whose 16 bits would round the statistics."""
        if self.neck is None:
            return embedding
        with torch.autocast(embedding.device.type, enabled=False):
            return self.neck(embedding.to(self.neck.weight.dtype)).float()

    def _compute_cosines(self, embedding: Tensor) -> Tensor:
        """(G, D) -> (G, I) float32: cosine of every row with every identity's weight vector."""
        necked = self._apply_neck(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            return F.normalize(necked, dim=-1) @ F.normalize(self.classifier.weight.float(), dim=-1).T

    def _embed_unit(self, image: Tensor) -> Tensor:
        return F.normalize(self._apply_neck(self.embed(image)), dim=-1)

    def _average_flips(self, image: Tensor, embedding: Tensor, chosen: Tensor) -> Tensor:
        """Unit vectors (B, D): the mean over three views where `chosen` (B,) is True, the image's own elsewhere."""
        seen = image[chosen]
        if not len(seen):
            return embedding
        mean = (embedding[chosen] + self._embed_unit(seen.flip(-1)) + self._embed_unit(seen.flip(-2))) / 3
        return embedding.index_put((chosen,), F.normalize(mean, dim=-1))


def make_head(inputs: int, outputs: int, *, depth: int, dropout: float) -> nn.Sequential:
    """`depth` linear layers with a layer norm behind each; ReLU and dropout between them."""
    hidden = max(outputs, inputs // 2)
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(dropout)]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, outputs), nn.LayerNorm(outputs))
