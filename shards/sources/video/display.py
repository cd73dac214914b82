"""A decoded frame as its source displays it: turned by the display matrix, coloured by matrix and range tags.

OpenCV, and so DeepLabCut, sees frames like this; PyAV and swscale give them so only when asked.
"""

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

# AVCOL_SPC numbers that swscale converts: GBR, BT.709, unspecified (taken as BT.601, as OpenCV does), FCC, BT.470BG,
# SMPTE 170M, SMPTE 240M, BT.2020. It refuses YCgCo, constant luminance and ICtCp.
MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
BT601 = (0, 2, 5, 6)  # of them, those whose luma and chroma are stored as they are


def quarter_turns(frame: VideoFrame) -> int:
    """Quarter turns clockwise, 0 to 3, that bring a frame upright.

    As OpenCV counts them: only the angle of the display matrix's first row is read, so that a mirrored matrix is taken for
    the turn it resembles (left-right: a half turn, upside down: none), and an angle between quarters turns nothing.
    """
    turns = -frame.rotation / 90
    return round(turns) % 4 if abs(turns - round(turns)) < 0.02 else 0


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """(width, height) after turning."""
    size = frame.width, frame.height
    return size[::-1] if quarter_turns(frame) % 2 else size


def check_matrix(frame: VideoFrame) -> None:
    """ValueError where the frame's colours cannot be converted."""
    if frame.colorspace not in MATRICES:
        raise ValueError(
            f"colour matrix {int(frame.colorspace)} of its tags cannot be converted (BT.601, BT.709, BT.2020, FCC, SMPTE 240M "
            f"and GBR can); convert the video, e.g. ffmpeg -i IN -vf colorspace=bt709 OUT"
        )


class Display:
    """Shows frames; keep one for the frames of one video and size.

    It keeps its scaler: `frame.reformat` sets one up for every frame, which took longer than encoding (1.0 against 0.25 ms).
    """

    def __init__(self) -> None:
        self._scaler, self._matrix = VideoReformatter(), VideoReformatter()

    def rgb(self, frame: VideoFrame, *, width: int | None = None, height: int | None = None, form: str = "rgb24") -> np.ndarray:
        """(H, W, 3) uint8, at the given upright size or the frame's own, by area averages.

        form: rgb24, as OpenCV has it: two neighbours in a row share their chroma; gbrp: every pixel has its own.
        """
        turns = quarter_turns(frame)
        picture = self._convert(frame, turns, width=width, height=height, form=form).to_ndarray()
        return np.ascontiguousarray(np.rot90(picture, -turns))

    def luma(self, frame: VideoFrame, *, width: int, height: int) -> np.ndarray:
        """(H, W) uint8: luma as it is coded, without regard of range, matrix and display matrix."""
        return self._scaler.reformat(
            frame, width=width, height=height, format="gray", interpolation="AREA", threads=1
        ).to_ndarray()

    def bt601(self, frame: VideoFrame, *, width: int, height: int, pix_fmt: str) -> VideoFrame:
        """The frame in BT.601, `pix_fmt` yuv420p (limited range) or yuvj420p (full range), even sides, and tagged so.

        BT.601 because DALI converts every clip by it, whatever the tag says, and heeds the range alone: measured on its CPU
        decoder with flat patches, read in the conversion kernel of its GPU decoder.
        """
        turns = quarter_turns(frame)
        if frame.colorspace in BT601:
            picture = self._convert(frame, turns, width=width, height=height, form=pix_fmt)
        else:
            # by way of RGB: in one step swscale 9 leaves every pixel a grey level too dark and 3 off at most (flat patches);
            # this is 0.04 and 1.7, and takes 0.25 ms where no change of matrix takes 0.09 (512 to 224 pixels)
            picture = self._convert(frame, turns, width=width, height=height, form="gbrp")
            picture = self._matrix.reformat(picture, format=pix_fmt, interpolation="AREA", threads=1, **_bt601(pix_fmt))
        if turns:
            picture = _turn_planes(picture, turns)
        return picture

    def _convert(self, frame: VideoFrame, turns: int, *, width: int | None, height: int | None, form: str) -> VideoFrame:
        check_matrix(frame)
        if turns % 2:
            width, height = height, width
        to = _bt601(form) if form.startswith("yuv") else {}
        return self._scaler.reformat(frame, width=width, height=height, format=form, interpolation="AREA", threads=1, **to)


def _bt601(pix_fmt: str) -> dict[str, int]:
    full = pix_fmt.startswith("yuvj")
    return {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.JPEG if full else ColorRange.MPEG}


def _turn_planes(picture: VideoFrame, turns: int) -> VideoFrame:
    """A 4:2:0 frame turned clockwise by quarters; its chroma sites move by half a luma pixel at most."""
    width, height, flat = picture.width, picture.height, picture.to_ndarray().reshape(-1)
    luma = width * height
    planes = (
        flat[:luma].reshape(height, width),
        flat[luma : luma * 5 // 4].reshape(height // 2, width // 2),
        flat[luma * 5 // 4 :].reshape(height // 2, width // 2),
    )
    if turns % 2:
        width, height = height, width
    flat = np.concatenate([np.rot90(plane, -turns).reshape(-1) for plane in planes])
    turned = av.VideoFrame.from_ndarray(flat.reshape(height * 3 // 2, width), format=picture.format.name)
    turned.colorspace, turned.color_range = picture.colorspace, picture.color_range
    return turned
