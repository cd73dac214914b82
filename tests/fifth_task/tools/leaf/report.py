"""What the report of a leaf run tells."""

from tarpon.tools.html.document import embed_figure
from tarpon.tools.record import Record
from tarpon.tools.report import ReportSections
from tarpon.train.figures.style import Frames
from tarpon.train.tasks.leaf import figures
from tarpon.train.tasks.leaf.metrics import load


def sections(record: Record, *, frames: Frames | None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order."""
    if record.split not in record.predictions:
        return []
    drawn = figures.confusion(load(record.predictions[record.split]))
    return [("Species", embed_figure(drawn, caption="Pictures by true and by predicted species."))]


SECTIONS_OF_RUN = ReportSections(
    unit="picture",
    headlines=(
        ("macro_f1", "Macro F1", "mean of the species' F1, however rare"),
        ("accuracy", "Accuracy", "pictures given the right species"),
    ),
    sections=sections,
    over="plants",
)
