"""What shards of cells hold: files of a sample and columns of the manifest."""

from dataclasses import replace

import pyarrow as pa

from tarpon.shards.page_planes import FURTHER
from tarpon.shards.schema import HASHES, Component, Schema
from tarpon.shards.sources.cells.summary import SUMMARY

CLASSES = ("uninfected", "infected")  # in the order of their labels
SCHEMA = Schema(
    kind="cells",
    components=(
        Component(
            name="tif",
            holds="the page, uncompressed TIFF of 8 or 16 bits, grey or RGB; as in the source, or resized to side x side",
        ),
        Component(name="json", holds="the sample's manifest row, readable without the manifest"),
    ),
    columns=(
        ("stack", pa.string()),  # plate, well and position
        ("page", pa.int32()),  # in the stack, from 0
        ("pages", pa.int32()),  # in the source's stack
        ("hours", pa.float32()),  # since the experiment's start
        ("label", pa.int8()),  # 1 infected, 0 not
        ("well", pa.string()),  # with its plate
        ("position", pa.int32()),  # in the well
        ("plate", pa.string()),  # or date; empty where names hold none
        ("width", pa.int32()),  # pixels
        ("height", pa.int32()),
        ("bits", pa.int8()),  # 8 or 16; DALI's UINT16 of an 8-bit page is 257 times its levels
        ("channels", pa.int8()),  # of a pixel: 1 grey, 3 red, green, blue
        ("low", pa.int32()),  # 0.1 and 99.9 percentile of the whole stack, in its own levels
        ("high", pa.int32()),
        ("first_low", pa.int32()),  # the same of the stack's first usable page, which knows nothing of what comes later
        ("first_high", pa.int32()),
        ("frame_min", pa.int32()),  # of this page
        ("frame_max", pa.int32()),
        ("fold", pa.int8()),  # in which this page's group is tested; -1: packed without folds
        ("pixel_um", pa.float32()),  # width of a pixel of the source in micrometres; 0: its file does not tell
        ("onset_hour", pa.float32()),  # of this well's infection, by the plate map; empty: not told
        *HASHES,
    ),
    later=frozenset(("pixel_um", "onset_hour", *(name for name, _ in HASHES))),
    summary=SUMMARY,
)
NULLABLE = ("onset_hour",)
CHANNELS_SCHEMA = replace(  # of pages of several channels
    SCHEMA,
    components=(
        Component(name="tif", holds="the page's channels one below the other, grey, uncompressed TIFF of 8 or 16 bits"),
        SCHEMA.components[1],
    ),
    columns=(*SCHEMA.columns, (FURTHER, pa.list_(pa.int32()))),
)
