"""Matrices of geometry and colour, and filter kernels, of the photograph augmentation; steps compose to one of each.

Points are (x, y, 1) in sides of the square from its centre, y down; a geometry matrix maps a point of the delivered square to
the point of the photograph shown there. Colours are (red, green, blue, 1) in grey levels.
"""

import math

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in brightness (ITU-R BT.601)
MIDDLE = 128.0  # grey level about which contrast is scaled, as in DALI
# columns are grey, I and Q; a hue rotates I and Q and leaves grey and brightness unchanged
FROM_YIQ = np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])
TO_YIQ = np.linalg.inv(FROM_YIQ)
# Light on its way through water fades, red first, and the water's own light adds to it (Jaffe 1990): coastal, then clear water.
FADING = np.array([[1.0, 0.30, 0.45], [1.0, 0.28, 0.12]])  # of red, green, blue, a unit of the optical depth in red
OWN_LIGHT = 255 * np.array([[0.05, 0.42, 0.36], [0.03, 0.36, 0.62]])
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
BLUR_REACH = 2.0  # sd: a Gaussian kernel ends there


def crop_matrix(area: float, aspect: float, at_x: float, at_y: float) -> np.ndarray:
    """The matrix of a crop, (3, 3).

    Args:
        area: share of the square photograph; above 1 the photograph lies inside the crop.
        aspect: width over height.
        at_x, at_y: in [0, 1]: position between both ends.
    """
    width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
    return np.array([[width, 0, (at_x - 0.5) * (1 - width)], [0, height, (at_y - 0.5) * (1 - height)], [0, 0, 1]])


def flip_rotate_matrix(quarters: int, *, flip_x: bool, flip_y: bool) -> np.ndarray:
    """The matrix of anticlockwise quarter turns, then of mirroring left-right and upside down, (3, 3)."""
    c, s = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]
    x, y = -1 if flip_x else 1, -1 if flip_y else 1
    return np.array([[c * x, -s * y, 0], [s * x, c * y, 0], [0, 0, 1.0]])


def affine_matrix(*, angle: float, shear_x: float, shear_y: float, scale: float, shift_x: float, shift_y: float) -> np.ndarray:
    """The matrix of an anticlockwise rotation, a shear, a magnification, then a shift, (3, 3); angles in degrees."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = math.tan(math.radians(shear_x)), math.tan(math.radians(shear_y))
    linear = np.array([[c, -s], [s, c]]) @ np.array([[1, x], [y, 1]]) / scale
    made = np.eye(3)
    made[:2, :2] = linear
    made[:2, 2] = linear @ (-shift_x, -shift_y)
    return made


def perspective_matrix(moved: np.ndarray) -> np.ndarray:
    """The homography that moves the square's corners, (3, 3).

    Args:
        moved: (4, 2) displacement of each corner; top left, top right, bottom right, bottom left.
    """
    x, y = CORNERS.T
    u, v = (CORNERS + moved).T
    zero, one = np.zeros(4), np.ones(4)
    rows = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1),
        ]
    )
    return np.append(np.linalg.solve(rows, np.concatenate([u, v])), 1.0).reshape(3, 3)


def measure_zoom(matrix: np.ndarray) -> float:
    """The magnification (ratio of lengths) at the centre of the delivered square, of a geometry matrix (3, 3)."""
    x, y, w = matrix[:, 2]
    slope = (matrix[:2, :2] * w - np.outer((x, y), matrix[2, :2])) / w**2
    return 1 / math.sqrt(abs(slope[0, 0] * slope[1, 1] - slope[0, 1] * slope[1, 0]))


def jitter_matrix(*, brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """The colour matrix (3, 4) of hue (in turns) and saturation, then contrast about mid grey, then brightness (factors)."""
    c, s = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    linear = (
        FROM_YIQ @ np.array([[1, 0, 0], [0, c * saturation, -s * saturation], [0, s * saturation, c * saturation]]) @ TO_YIQ
    )
    return brightness * np.column_stack([contrast * linear, np.full(3, MIDDLE * (1 - contrast))])


def grey_matrix() -> np.ndarray:
    """The colour matrix (3, 4) that sets all channels to the brightness."""
    return np.column_stack([np.tile(LUMA, (3, 1)), np.zeros(3)])


def tint_matrix(depth: float, clear: float) -> np.ndarray:
    """The colour matrix (3, 4) of light's way through water; grey levels stay in their range.

    Args:
        depth: optical depth in red.
        clear: 0 is green coastal water, 1 blue clear water.
    """
    fading, light = ((1 - clear) * pair[0] + clear * pair[1] for pair in (FADING, OWN_LIGHT))
    left = np.exp(-depth * fading)
    return np.column_stack([np.diag(left), light * (1 - left)])


def compose_colours(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Two colour matrices, the first applied first, as one (3, 4)."""
    return np.column_stack([then[:, :3] @ first[:, :3], then[:, :3] @ first[:, 3] + then[:, 3]])


def blur_kernel(sd: float) -> np.ndarray:
    """A Gaussian, (k, k), k odd, cut off at two sd, at least one pixel; its sum is 1. sd in pixels."""
    reach = max(1, math.ceil(BLUR_REACH * sd))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    return np.outer(line, line) / line.sum() ** 2


def motion_kernel(length: float, angle: float) -> np.ndarray:
    """Motion blur: a line through the centre, (k, k), k odd; its sum is 1.

    Args:
        length: pixels.
        angle: degrees from the x axis, anticlockwise.
    """
    reach = math.ceil(length / 2)
    steps = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    x, y = reach + steps * math.cos(math.radians(angle)), reach - steps * math.sin(math.radians(angle))
    made = np.zeros((2 * reach + 2, 2 * reach + 2))  # one more for the second neighbour of the last
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            np.add.at(made, (top + down, left + right), (1 - np.abs(y - top - down)) * (1 - np.abs(x - left - right)))
    return made[:-1, :-1] / len(steps)


def sharpen_kernel(amount: float) -> np.ndarray:
    """Adds `amount` times the difference from a blurred copy (sd 1 pixel), (5, 5); its sum is 1."""
    made = -amount * blur_kernel(1.0)
    made[2, 2] += 1 + amount
    return made


def compose_kernels(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Two kernels as one: their full convolution, (h1 + h2 - 1, w1 + w2 - 1)."""
    made = np.zeros(np.add(first.shape, then.shape) - 1)
    for (row, column), weight in np.ndenumerate(first):
        made[row : row + then.shape[0], column : column + then.shape[1]] += weight * then
    return made
