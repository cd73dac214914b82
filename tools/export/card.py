"""The model card beside an exported network, in the sections of Mitchell et al. (Model Cards for Model Reporting, 2019)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import timm

from tarpon.shards import atomic
from tarpon.tools.export.record import Exportable, Exporting, Port
from tarpon.tools.record import Record, read_run
from tarpon.tools.report import sections_of

CARD = "MODEL_CARD.md"
TOLD = ("data ", "features ", "protocol ", "remark ", "warning ")  # summary lines that speak of the data
LICENCES = {  # hub owners and names' beginnings that timm does not know -> the licence on the model's page
    "MCG-NJU/videomae": "CC BY-NC 4.0: not for commercial use",
    "hf_hub:BVRA/MegaDescriptor": "CC BY-NC 4.0: not for commercial use",
}


def write_card(
    path: Path, folder: Path, what: Exportable, exporting: Exporting, *, told: Sequence[str], files: Sequence[Path]
) -> None:
    """Write the card of a run's exported network.

    Args:
        folder: of the run; told: its summary lines (data, model, warnings); files: those of this network.
    """
    record = read_run(folder)
    sections = {
        "What it is": _model(record, what, exporting, files),
        "What it is for": [exporting.use],
        "What it must not be used for": [f"- {line}" for line in exporting.misuse],
        "What it was trained on": _data(record, told),
        "How well it does": _scores(record),
        "What goes in and what comes out": [*_ports("in", what.inputs), "", *_ports("out", what.outputs)],
        "Licence": [find_licence(what.backbone, pretrained=what.pretrained), _of_data()],
    }
    lines = [f"# Model card: {record.name}", ""]
    for head, body in sections.items():
        lines += [f"## {head}", "", *body, ""]
    lines.append("The sections are those of Mitchell et al., Model Cards for Model Reporting (FAT* 2019), in plain words.")
    atomic.write_text(path, "\n".join(lines) + "\n")


def find_licence(backbone: str, *, pretrained: bool | None) -> str:
    """One sentence on the licence of the backbone's published weights."""
    if not backbone:
        return "The features were imported: which backbone made them, and its licence, is not known."
    if pretrained is False:
        return f"The backbone {backbone} began with random weights: nobody else's licence binds them."
    words = next((licence for name, licence in LICENCES.items() if backbone.startswith(name)), None)
    if words is None:
        known = None if ":" in backbone or "/" in backbone else timm.get_pretrained_cfg(backbone)
        words = known.license if known and known.license else "not stated by timm; read the page that they are published on"
    begun = f"The backbone {backbone} began with published weights" if pretrained else f"Published weights of {backbone}"
    return f"{begun}; their licence: {words}."


def _of_data() -> str:
    return "The licence of the training data may bind the trained weights as well: it is not known to Tarpon; write it here."


def _model(record: Record, what: Exportable, exporting: Exporting, files: Sequence[Path]) -> Iterator[str]:
    millions = sum(value.numel() for value in what.module.parameters()) / 1e6
    machine = record.machine
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "deepspeed") if name in machine)
    yield exporting.answers
    yield ""
    yield f"- Task: {record.task}; {millions:.1f} million parameters; backbone {what.backbone or 'not known'}."
    yield f"- Trained: {machine.get('started', 'date not recorded')}; Tarpon{f', {versions}' if versions else ''}."
    yield f"- Files: {', '.join(file.name for file in files)}. Pre-processing after decoding and resizing is inside."


def _data(record: Record, told: Sequence[str]) -> Iterator[str]:
    for line in told:
        if line.startswith(TOLD):
            yield f"- {' '.join(line.split())}"
    for split, groups in record.groups.items():
        if groups:
            yield f"- {split}: {len(groups):,} samples of {len(set(groups)):,} groups (what was never cut in two by the split)"


def _scores(record: Record) -> Iterator[str]:
    """The headline scores of the reported split, with intervals and what they must be read against."""
    scores, parts = record.metrics.get(record.split, {}), sections_of(record.task)
    if not scores:
        yield "metrics.json has no scores: training has not finished, or nothing was evaluated."
        return
    if record.split != "test":
        yield "There is no test split: the best weights were chosen on these data, so the scores flatter the model."
    else:
        yield "On the test split, which was read once, at the end:"
    yield ""
    yield f"| score | value | 95% interval over {parts.over} | without a model |"
    yield "|---|---|---|---|"
    for name, label, meaning in parts.headlines:
        if name in scores:
            low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
            interval = "not computed" if low is None or high is None else f"{low:.3f} to {high:.3f}"
            plain = scores.get(f"majority_{name}", scores.get(f"constant_{name}"))
            beside = "" if plain is None else f"{plain:.3f}"
            yield f"| {label} ({meaning}) | {scores[name]:.3f} | {interval} | {beside} |"
    if {"rows", "rows_of"} <= scores.keys():
        yield ""
        yield f"Over {scores['rows']:,.0f} of {scores['rows_of']:,.0f} rows."


def _ports(way: str, ports: Sequence[Port]) -> Iterator[str]:
    yield f"| {way} | shape | type | holds |"
    yield "|---|---|---|---|"
    for port in ports:
        yield f"| {port.name} | {' x '.join(map(str, port.shape))} | {port.dtype} | {port.holds} |"
