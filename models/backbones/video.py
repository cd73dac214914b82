"""VideoMAE (Tong et al., NeurIPS 2022) as an encoder of frames: overlapping clips, averaged to one vector a frame.

B windows, T frames of a window, C clips of a window, L frames of a clip, S = L / tubelet token steps of a clip, D channels,
h x w cells of a frame, R = B*C clips of all windows.
"""

import torch
from torch import Tensor, nn

from tarpon.models.backbones.frames import encode_in_passes
from tarpon.models.backbones.freezing import FreezableEncoder
from tarpon.models.backbones.video_weights import read_side


class VideoEncoder(FreezableEncoder):
    """A VideoMAE as an encoder of frames, with the interface of a `FrameEncoder`.

    Clips of L frames start at every `stride`-th frame of the window, the last ones reaching past its end, where its last
    frame is repeated. So a window that was padded on the right with its last frame answers as the window alone does, and
    a chunk of a video that starts at a multiple of `phase` answers as the whole video does from its frame
    L - `stride` on (from the first where the video begins there) and up to `reach` frames before its end.

    Attributes:
        dim, grid_dim: channels of the pooled vector and of the feature map: the model's width.
        grid_size: (h, w) of the feature map.
        reach: frames on either side that a frame's output depends on, L - 1.
        phase: `stride`.
    """

    def __init__(self, net: nn.Module, *, stride: int, clips_per_pass: int | None = None) -> None:
        super().__init__(net)
        config = net.config
        self.only_size = read_side(config.image_size)
        self.length, self.tubelet = config.num_frames, config.tubelet_size
        self.stride, self.clips_per_pass = stride, clips_per_pass
        self.reach, self.phase = self.length - 1, stride
        self.dim = self.grid_dim = config.hidden_size
        cells = self.only_size // read_side(config.patch_size)
        self.grid_size = (cells, cells)
        # transformers keeps the fixed table as a plain tensor, which it would copy from the host in every pass.
        table = net.embeddings.__dict__.pop("position_embeddings", None)
        if table is not None:
            net.embeddings.register_buffer("position_embeddings", table, persistent=False)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every frame in the context of its neighbours.

        Args:
            clip: (B, T, 3, H, W) float, already normalised; any T; cast to the dtype of the parameters.

        Returns:
            pooled (B, T, D), the mean over the cells, and grid (B, T, h, w, D); without gradient while frozen.
            With `clips_per_pass`, a pass is computed again in the backward, which bounds memory at the cost of
            one more forward.
        """
        if clip.ndim != 5 or clip.shape[1] < 1 or tuple(clip.shape[2:]) != (3, self.only_size, self.only_size):
            raise ValueError(
                f"clip must be (B, T, 3, H, W) with T > 0 and H = W = {self.only_size}, got {tuple(clip.shape)}; "
                f"set image_size of the backbone and of the pipeline to the same number"
            )
        windows, frames = clip.shape[:2]
        rows = clip.flatten(0, 1).to(next(self.net.parameters()).dtype)
        starts = clip_starts(frames, stride=self.stride, device=clip.device)
        inside = (starts[:, None] + torch.arange(self.length, device=clip.device)).clamp(max=frames - 1)  # (C, L)
        index = inside + frames * torch.arange(windows, device=clip.device)[:, None, None]
        with self.with_gradient():
            # Clips are gathered a pass at a time, from their indices: all of them are 16 / stride times the window.
            (tokens,) = encode_in_passes(lambda of: self._encode(rows[of]), index.flatten(0, 1), size=self.clips_per_pass)
            weight = weight_frames(frames, starts, length=self.length, tubelet=self.tubelet).to(tokens.dtype)
            tokens = tokens.view(windows, -1, tokens[0, 0].numel())  # (B, C * S, h * w * D)
            grid = (weight.flatten(1) @ tokens).view(windows, frames, *self.grid_size, self.dim)
            return grid.mean((2, 3)), grid

    def no_weight_decay(self) -> set[str]:
        """Empty: the position embeddings are a fixed table, and there is no class token."""
        return set()

    def _encode(self, clips: Tensor) -> tuple[Tensor]:
        """(R, L, 3, H, W) -> (R, S, h * w * D) of tokens."""
        tokens = self.net(clips).last_hidden_state  # row by row of tubelets, then of cells
        return (tokens.reshape(clips.shape[0], self.length // self.tubelet, -1),)


def clip_starts(frames: int, *, stride: int, device: torch.device | None = None) -> Tensor:
    """First frames (C,) of the clips of a window: every `stride`-th frame, to its end.

    Not only until the window is covered: a longer window would then have more clips over the same frames.
    """
    return torch.arange(0, frames, stride, device=device)


def weight_frames(frames: int, starts: Tensor, *, length: int, tubelet: int) -> Tensor:
    """Weight of each token step of each clip in each frame.

    A token step stands for the middle of its `tubelet` frames. Within a clip a frame is interpolated linearly between the two
    nearest steps: repeating a step would give all frames of a tubelet the same vector. Clips over the same frame are averaged
    with triangular weights that peak in the middle of the clip, where a frame has most of its past and future.

    Returns:
        (T, C, S) float32 on the device of `starts`, at least 0, sum 1 in every frame, 0 where the clip does not hold the frame.
    """
    of = {"device": starts.device}
    place = torch.arange(length, **of)
    row = torch.arange(length // tubelet, **of)
    at = ((place - (tubelet - 1) / 2) / tubelet).clamp(0, len(row) - 1)  # in rows; the ends have a row on one side only
    line = (1 - (at[:, None] - row).abs()).clamp(min=0)  # (L, S)
    triangle = torch.minimum(place + 1, length - place)
    offset = torch.arange(frames, **of)[:, None] - starts  # (T, C): place of the frame in the clip
    held = (offset >= 0) & (offset < length)
    offset = offset.clamp(0, length - 1)
    weight = line[offset] * (triangle[offset] * held)[..., None]
    return weight / weight.sum((1, 2), keepdim=True)
