"""The model of microscope pages: class and hours of a page, from it alone or from a window of its neighbours in time.

B windows, W pages of a window (the middle one is predicted), C channels of a page, F channels of the features.
"""

import math

import torch
from torch import Tensor, nn

from tarpon.models.temporal.tcn import TCN

CLASSES = 2  # uninfected, infected
KERNEL = 3  # pages a tap row of the temporal convolution spans


class PageReader(nn.Module):
    """Pages -> encoder -> (W > 1: TCN, centre page) -> two heads: class scores, hours.

    A head is Dropout, Linear(F, hidden_dim), ReLU, Dropout, Linear(hidden_dim, 2 or 1), as published.
    The hours are not bounded here; what is reported is clamped where it is collected.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden_dim: int = 256,
        dropout: float = 0.2,
        condition_on_class: bool = False,
        detach_class: bool = False,
        window: int = 1,
        tcn_hidden: int = 256,
        first_hours: float = 0.0,
    ) -> None:
        """Put the parts together.

        Args:
            encoder: a `FrameEncoder`, or anything with its forward, `dim` and `freeze`.
            hidden_dim: features of a head's hidden layer; 0: a head is one Linear.
            condition_on_class: append the two class scores, before the softmax, to the features of the hours head.
            detach_class: stop the gradient of the hours through these scores. As published it flows.
            window: pages W, odd; the middle one is predicted. 1: no TCN.
            tcn_hidden: features of the TCN, which has as many layers as needed to cover the window.
            first_hours: initial bias of the hours; the median training target saves the steps to get there.
        """
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window={window} must be an odd number of pages, so that there is a middle one; 1 for no window")
        if hidden_dim < 0 or not 0 <= dropout < 1:
            raise ValueError(f"hidden_dim={hidden_dim} must be at least 0 (a linear head) and dropout={dropout} in [0, 1)")
        if detach_class and not condition_on_class:
            raise ValueError("detach_class=true says how the hours see the class; set condition_on_class=true as well")
        self.encoder = encoder
        self.window, self.condition_on_class, self.detach_class = window, condition_on_class, detach_class
        dim, self.tcn = encoder.dim, None
        if window > 1:
            layers = math.ceil(math.log2(1 + (window - 1) / (KERNEL - 1)))
            self.tcn = TCN(dim, hidden=tcn_hidden, layers=layers, kernel=KERNEL, dropout=dropout)
            dim = tcn_hidden
        self.classifier = make_head(dim, CLASSES, hidden=hidden_dim, dropout=dropout)
        self.regressor = make_head(dim + CLASSES * condition_on_class, 1, hidden=hidden_dim, dropout=dropout)
        nn.init.constant_(self.regressor[-1].bias, first_hours)

    def forward(self, clip: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Predict the middle page of every window.

        Args:
            clip: (B, W, C, H, W') float, normalised for the encoder.
            valid: (B, W) bool, False on pages that are not there (before the first and after the last of a stack).

        Returns:
            "label" (B, 2) float32 scores before the softmax, uninfected first; "hours" (B,) float32.
        """
        if clip.shape[1] != self.window or valid.shape != clip.shape[:2]:
            raise ValueError(
                f"this model reads {self.window} pages and got clip {tuple(clip.shape)}, valid {tuple(valid.shape)}; "
                f"set window of the model and of the data to the same number"
            )
        pooled, _ = self.encoder(clip)
        return self.read(pooled, valid)

    def read(self, pooled: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Predictions from the encoder's vectors of the pages: pooled (B, W, F), valid (B, W); returns as `forward`."""
        middle = self.window // 2
        if self.tcn is None:
            features = pooled[:, middle].to(self.classifier[-1].weight.dtype)
        else:
            features = self.tcn(pooled, valid)[:, middle]
        label = self.classifier(features)
        if self.condition_on_class:
            scores = label.detach() if self.detach_class else label
            features = torch.cat([features, scores.to(features.dtype)], -1)
        return {"label": label.float(), "hours": self.regressor(features)[:, 0].float()}

    def freeze_backbone(self, on: bool = True) -> None:
        """Freeze the encoder, batch statistics included (True), or train it (False)."""
        self.encoder.freeze(on)


def make_head(dim: int, outputs: int, *, hidden: int, dropout: float) -> nn.Sequential:
    """Dropout, Linear; with `hidden` features in between: Dropout, Linear, ReLU, Dropout, Linear."""
    if not hidden:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, outputs))
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )
