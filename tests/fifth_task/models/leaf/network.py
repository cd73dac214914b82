"""A small convolutional network for pictures of one object.

B pictures, S pixels a side, K classes.
"""

from itertools import pairwise

from torch import Tensor, nn


class LeafNet(nn.Module):
    """Three strided convolutions, the mean over the picture, one linear layer."""

    def __init__(self, classes: int, *, width: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        layers = [
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(4, b), nn.ReLU()) for a, b in pairwise(widths)
        ]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Args: image: (B, 3, S, S) normalised. Returns: species (B, K) scores before the softmax, float32."""
        return {"species": self.head(self.layers(image).mean((2, 3))).float()}
