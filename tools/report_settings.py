"""The last section of a report: the run's whole configuration, and what it ran on."""

from collections.abc import Mapping

from tarpon.tools.html.document import collapsible, paragraph, preformatted, table
from tarpon.tools.record import Record


def format_settings(record: Record) -> str:
    """HTML of the run's configuration and of the machine it ran on."""
    parts = [collapsible("run.yaml, the whole resolved configuration", preformatted(record.config))]
    if record.machine:
        parts.append(table(("machine and versions", ""), _flat(record.machine)))
    else:
        parts.append(paragraph("The machine and the library versions were not recorded in this run folder."))
    return "".join(parts)


def _flat(block: Mapping[str, object], *, prefix: str = "") -> list[tuple[str, str]]:
    """Nested objects as rows of dotted name and value."""
    rows = []
    for name, value in block.items():
        rows += _flat(value, prefix=f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", str(value))]
    return rows
