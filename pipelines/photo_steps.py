"""What the photograph graph does, step by step. It imports DALI: import it inside `build`.

Pixels are uint8 up to the colour matrix and float32 after it: on a CPU, DALI takes three times as long where it rounds. `if` is
read for each sample, so that a step costs only where it is taken.
"""

from nvidia.dali import fn, types
from nvidia.dali import math as dali_math

CLAHE_TILES, CLAHE_CLIP = 8, 4.0
DARK = 24.0  # grey levels: below it there is less noise


def letterbox(encoded, matrix, zoom, *, size: int):
    """Sides that a photograph is resized to, its shift in the square, and the matrix from the square to the resized one.

    Args:
        encoded: the file. size: of the square, S.
        matrix: (3, 3) pixels of what is delivered -> pixels of the square that holds the whole photograph in its middle.
        zoom: how much larger than that it will be shown. It is resized to that scale, antialiased, so that the matrix takes
            pixel for pixel; not beyond its own scale, unless the square asks for it.

    Returns:
        sides (2,) int32 height and width, first (2,) int32 top and left of the whole photograph in the square, matrix.
    """
    sides = fn.peek_image_shape(encoded, dtype=types.INT32)[:2]
    longest = fn.reductions.max(sides)
    target = dali_math.min(dali_math.floor(size * zoom + 0.5), fn.cast(dali_math.max(longest, size), dtype=types.FLOAT))
    target = dali_math.max(fn.cast(target, dtype=types.INT32), 1)
    first = (size - _scaled(sides, longest, size)) // 2
    ratio = target / size
    corner = fn.stack(first[1], first[0], fn.constant(idata=0, shape=[]))
    scale = fn.stack(ratio, ratio, fn.constant(fdata=1.0, shape=[]))
    # DALI multiplies no matrices: less the corner, then larger by the ratio, both row by row
    moved = matrix - fn.reshape(corner, shape=[3, 1]) * fn.reshape(matrix[2], shape=[1, 3])
    return _scaled(sides, longest, target), first, fn.reshape(scale, shape=[3, 1]) * moved


def _scaled(sides, longest, to):
    """The longest side `to` pixels, the other rounded, none below 1."""
    return dali_math.max((2 * sides * to + longest) // (2 * longest), 1)


def in_range(picture):
    """Within 0..255; DALI's clamp takes three times as long on a CPU."""
    return dali_math.min(dali_math.max(picture, 0.0), 255.0)


def evened(pixels, clahe, share):
    """Local contrast raised (CLAHE, Zuiderveld 1994), mixed in by its share."""
    if clahe:
        even = fn.clahe(pixels, tiles_x=CLAHE_TILES, tiles_y=CLAHE_TILES, clip_limit=CLAHE_CLIP)
        pixels = fn.cast(pixels * (1 - share) + even * share, dtype=types.UINT8)
    else:
        pixels = pixels
    return pixels


def recoloured(pixels, twisted, brightness, contrast, saturation, hue, coloured, matrix):
    """uint8 -> float32, by brightness, contrast, saturation and hue, or by any (3, 4) colour matrix."""
    if twisted:
        picture = in_range(
            fn.color_twist(pixels, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, dtype=types.FLOAT)
        )
    elif coloured:
        picture = in_range(fn.coord_transform(pixels, MT=matrix))
    else:
        picture = fn.cast(pixels, dtype=types.FLOAT)
    return picture


def blurred(picture, filtered, kernel):
    """Filtered by its kernel."""
    if filtered:
        picture = in_range(fn.filter(picture, kernel))
    else:
        picture = picture
    return picture


def clouded(picture, murky, haze, opacity, colour, sides):
    """Mixed with the water's colour where the haze is, which is stretched to the picture."""
    if murky:
        stretched = fn.resize(fn.reinterpret(haze, layout="HWC"), size=fn.cast(sides, dtype=types.FLOAT), dtype=types.FLOAT)
        cover = stretched * opacity
        picture = picture * (1 - cover) + cover * colour
    else:
        picture = picture
    return picture


def grained(picture, grainy, luma, luma_sd, chroma, chroma_sd):
    """With noise, of all channels alike and of each; less of it next to black, so that what lies beyond stays black."""
    if grainy:
        seen = dali_math.min(picture * (1 / DARK), 1.0)
        picture = in_range(picture + seen * (luma * luma_sd + chroma * chroma_sd))
    else:
        picture = picture
    return picture


def packed_up(picture, packed, quality):
    """As a JPEG of that quality shows it."""
    if packed:
        pixels = fn.cast(picture, dtype=types.UINT8)
        picture = fn.cast(fn.jpeg_compression_distortion(pixels, quality=quality), dtype=types.FLOAT)
    else:
        picture = picture
    return picture


def holed_out(picture, holed, anchor, shape, fill):
    """Boxes filled with one colour."""
    if holed:
        picture = fn.erase(picture, anchor=anchor, shape=shape, axis_names="HW", fill_value=fill)
    else:
        picture = picture
    return picture


def dotted_out(picture, dotted, keep):
    """Pixels turned black where `keep` is 0."""
    if dotted:
        picture = picture * keep
    else:
        picture = picture
    return picture


def deliver(source, *, inputs: int, size: int, augment: bool, gpu: bool):
    """The whole graph: (normalised CHW, row)."""
    # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
    (
        encoded, mean, std, matrix, zoom, clahe, clahe_share, twisted, brightness, contrast, saturation, hue, coloured, colour,
        filtered, kernel, murky, haze, opacity, water, grainy, luma, luma_sd, chroma, chroma_sd, packed, quality, holed,
        anchor, shape, fill, dotted, keep, row,
    ) = fn.external_source(source=source, num_outputs=inputs, batch=True, no_copy=True)  # fmt: skip
    if gpu:
        kernel, haze, water, luma, chroma, keep = (x.gpu() for x in (kernel, haze, water, luma, chroma, keep))
    if not augment:
        zoom = fn.constant(fdata=1.0, shape=[])
    sides, first, matrix = letterbox(encoded, matrix, zoom, size=size)
    # the GPU decoder is asked for the CPU decoder's chroma upsampling, so that both see the same picture
    pixels = fn.decoders.image(encoded, device="mixed" if gpu else "cpu", output_type=types.RGB, jpeg_fancy_upsampling=True)
    pixels = fn.resize(pixels, size=fn.cast(sides, dtype=types.FLOAT), interp_type=types.INTERP_LINEAR, antialias=True)
    if augment:
        pixels = evened(pixels, clahe, clahe_share)
        picture = recoloured(pixels, twisted, brightness, contrast, saturation, hue, coloured, colour)
        picture = clouded(picture, murky, haze, opacity, water, sides)
        picture = fn.experimental.warp_perspective(picture, matrix=matrix, size=[size, size], fill_value=[0.0, 0.0, 0.0])
        picture = blurred(picture, filtered, kernel)
        picture = packed_up(grained(picture, grainy, luma, luma_sd, chroma, chroma_sd), packed, quality)
        picture = dotted_out(holed_out(picture, holed, anchor, shape, fill), dotted, keep)
    else:
        picture = fn.slice(pixels, start=-first, shape=[size, size], axes=[0, 1], out_of_bounds_policy="pad", fill_values=0)
    image = fn.crop_mirror_normalize(picture, mean=mean, std=std, output_layout="CHW", dtype=types.FLOAT)
    return image, row
