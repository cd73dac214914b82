"""The steps of the photograph graph. This module imports DALI: import it inside functions only.

Pixels are uint8 up to the colour matrix and float32 after it: on a CPU, DALI takes three times as long where it rounds. Each
`if` is evaluated per sample, so that a step costs time only where it is used.
"""

from nvidia.dali import fn, types
from nvidia.dali import math as dali_math

CLAHE_TILES, CLAHE_CLIP = 8, 4.0
DARK = 24.0  # grey levels: below it there is less noise


def letterbox(encoded, matrix, zoom, *, size: int):
    """The size that a photograph is resized to, its position in the square, and the matrix from the square to it.

    Args:
        encoded: bytes of the file.
        matrix: (3, 3) pixels of the delivered square -> pixels of the square with the whole photograph at its centre.
        zoom: magnification relative to that. The photograph is resized to that scale, antialiased, so that the warp samples
            at about one pixel a pixel; not beyond its own size, unless the square is larger.
        size: S of the square.

    Returns:
        sides (2,) int32 height and width, first (2,) int32 top and left of the whole photograph in the square, matrix (3, 3).
    """
    sides = fn.peek_image_shape(encoded, dtype=types.INT32)[:2]
    longest = fn.reductions.max(sides)
    target = dali_math.min(dali_math.floor(size * zoom + 0.5), fn.cast(dali_math.max(longest, size), dtype=types.FLOAT))
    target = dali_math.max(fn.cast(target, dtype=types.INT32), 1)
    first = (size - _scale_sides(sides, longest, size)) // 2
    ratio = target / size
    corner = fn.stack(first[1], first[0], fn.constant(idata=0, shape=[]))
    scale = fn.stack(ratio, ratio, fn.constant(fdata=1.0, shape=[]))
    # DALI has no matrix product: subtract the corner, then scale by the ratio, both row by row
    moved = matrix - fn.reshape(corner, shape=[3, 1]) * fn.reshape(matrix[2], shape=[1, 3])
    return _scale_sides(sides, longest, target), first, fn.reshape(scale, shape=[3, 1]) * moved


def _scale_sides(sides, longest, to):
    """The longest side `to` pixels, the other rounded, none below 1."""
    return dali_math.max((2 * sides * to + longest) // (2 * longest), 1)


def clip_grey(picture):
    """Clip to 0..255; DALI's clamp takes three times as long on a CPU."""
    return dali_math.min(dali_math.max(picture, 0.0), 255.0)


def clahe(pixels, use_clahe, share):
    """Mix in the image after CLAHE (contrast limited adaptive histogram equalisation, Zuiderveld 1994), weighted by share."""
    if use_clahe:
        even = fn.clahe(pixels, tiles_x=CLAHE_TILES, tiles_y=CLAHE_TILES, clip_limit=CLAHE_CLIP)
        pixels = fn.cast(pixels * (1 - share) + even * share, dtype=types.UINT8)
    else:
        pixels = pixels
    return pixels


def recolour(pixels, use_jitter, brightness, contrast, saturation, hue, use_colour, matrix):
    """uint8 -> float32, by a jitter of brightness, contrast, saturation and hue, or by any (3, 4) colour matrix."""
    if use_jitter:
        picture = clip_grey(
            fn.color_twist(pixels, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, dtype=types.FLOAT)
        )
    elif use_colour:
        picture = clip_grey(fn.coord_transform(pixels, MT=matrix))
    else:
        picture = fn.cast(pixels, dtype=types.FLOAT)
    return picture


def convolve(picture, use_kernel, kernel):
    """Filter by a kernel (h, w)."""
    if use_kernel:
        picture = clip_grey(fn.filter(picture, kernel))
    else:
        picture = picture
    return picture


def spatter(picture, use_spatter, haze, opacity, colour, sides):
    """Blend with the water's colour by the opacity pattern, resized to the photograph."""
    if use_spatter:
        stretched = fn.resize(fn.reinterpret(haze, layout="HWC"), size=fn.cast(sides, dtype=types.FLOAT), dtype=types.FLOAT)
        cover = stretched * opacity
        picture = picture * (1 - cover) + cover * colour
    else:
        picture = picture
    return picture


def add_grain(picture, use_grain, luma, luma_sd, chroma, chroma_sd):
    """Add noise common to all channels (luma) and of each channel (chroma); less near black, so the border stays black."""
    if use_grain:
        seen = dali_math.min(picture * (1 / DARK), 1.0)
        picture = clip_grey(picture + seen * (luma * luma_sd + chroma * chroma_sd))
    else:
        picture = picture
    return picture


def jpeg_compress(picture, use_jpeg, quality):
    """Apply the artefacts of JPEG compression at a quality."""
    if use_jpeg:
        pixels = fn.cast(picture, dtype=types.UINT8)
        picture = fn.cast(fn.jpeg_compression_distortion(pixels, quality=quality), dtype=types.FLOAT)
    else:
        picture = picture
    return picture


def cutout(picture, use_cutout, anchor, shape, fill):
    """Fill boxes with one colour."""
    if use_cutout:
        picture = fn.erase(picture, anchor=anchor, shape=shape, axis_names="HW", fill_value=fill)
    else:
        picture = picture
    return picture


def pixel_dropout(picture, use_dropout, keep):
    """Set pixels to black where `keep` is 0."""
    if use_dropout:
        picture = picture * keep
    else:
        picture = picture
    return picture


def read(inputs, sides, *, decoder: str):
    """Decode, and resize where the sides (height, width) are not those stored; uint8."""
    # the GPU decoder is set to the CPU decoder's chroma upsampling, so that both give the same image
    pixels = fn.decoders.image(inputs["image"], device=decoder, output_type=types.RGB, jpeg_fancy_upsampling=True)
    stored = fn.peek_image_shape(inputs["image"], dtype=types.INT32)[:2]
    if fn.reductions.max(dali_math.abs(sides - stored)) > 0:  # DALI filters even where sides are equal
        pixels = fn.resize(pixels, size=fn.cast(sides, dtype=types.FLOAT), interp_type=types.INTERP_LINEAR, antialias=True)
    else:
        pixels = pixels
    return pixels


def normalise(picture, inputs, *, layout: str):
    """Subtract the mean, divide by the sd."""
    return fn.crop_mirror_normalize(picture, mean=inputs["mean"], std=inputs["std"], output_layout=layout, dtype=types.FLOAT)


def show(inputs, *, size: int, decoder: str, layout: str):
    """The photograph for evaluation: whole, on black."""
    sides, first, _ = letterbox(inputs["image"], inputs["matrix"], fn.constant(fdata=1.0, shape=[]), size=size)
    pixels = read(inputs, sides, decoder=decoder)
    square = fn.slice(pixels, start=-first, shape=[size, size], axes=[0, 1], out_of_bounds_policy="pad", fill_values=0)
    return normalise(square, inputs, layout=layout)


def vary(inputs, *, size: int, decoder: str, layout: str):
    """The photograph for training: augmented by its draw."""
    x = inputs
    sides, _, matrix = letterbox(x["image"], x["matrix"], x["zoom"], size=size)
    pixels = clahe(read(x, sides, decoder=decoder), x["use_clahe"], x["clahe_share"])
    picture = recolour(
        pixels, x["use_jitter"], x["brightness"], x["contrast"], x["saturation"], x["hue"], x["use_colour"], x["colour"]
    )
    picture = spatter(picture, x["use_spatter"], x["haze"], x["opacity"], x["water"], sides)
    picture = fn.experimental.warp_perspective(picture, matrix=matrix, size=[size, size], fill_value=[0.0, 0.0, 0.0])
    picture = convolve(picture, x["use_kernel"], x["kernel"])
    picture = add_grain(picture, x["use_grain"], x["luma"], x["luma_sd"], x["chroma"], x["chroma_sd"])
    picture = jpeg_compress(picture, x["use_jpeg"], x["quality"])
    picture = cutout(picture, x["use_cutout"], x["anchor"], x["shape"], x["fill"])
    return normalise(pixel_dropout(picture, x["use_dropout"], x["keep"]), x, layout=layout)
