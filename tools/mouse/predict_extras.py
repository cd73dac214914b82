"""What labs want back from `tarpon predict mouse` beside our own tables: other programs' files, and an annotated video."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.mouse import export_boris, export_deepethogram, export_dlc, export_nwb
from tarpon.tools.mouse.labelled import Labelled

FORMATS: dict[str, Callable[[Labelled, Path], Path] | None] = {
    "csv": None,  # our own, written in any case
    "boris": export_boris.write,
    "deepethogram": export_deepethogram.write,
    "dlc": export_dlc.write,
    "nwb": export_nwb.write,
}


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What to write beside our own tables."""

    formats: tuple[str, ...] = ()
    annotated: bool = False

    @classmethod
    def parse(cls, formats: str, *, annotated: bool, regresses: bool) -> "Extras":
        """From the options; what cannot be written is refused before any video is looked at.

        Args:
            formats: names with commas between.
            regresses: the model predicts points.
        """
        names = tuple(dict.fromkeys(name.strip().lower() for name in formats.split(",") if name.strip()))
        if wrong := [name for name in names if name not in FORMATS]:
            raise ValueError(f"formats={formats!r}: {wrong[0]!r} is none of {', '.join(FORMATS)}")
        if "dlc" in names and not regresses:
            raise ValueError("formats=dlc: this model regresses no points; leave it out or train model.model_type=multitask")
        if "nwb" in names and (missing := [name for name in ("pynwb", "ndx_pose") if not importlib.util.find_spec(name)]):
            raise ValueError(f'formats=nwb needs {" and ".join(missing)}: pip install "tarpon[nwb]"')
        return cls(formats=names, annotated=annotated)

    def write(self, labelled: Labelled, out: Path) -> list[Path]:
        """Every asked file of one video; returns their paths."""
        made = [write(labelled, out) for name in self.formats if (write := FORMATS[name])]
        if self.annotated:
            from tarpon.tools.mouse import annotate_video  # here: matplotlib's colours are needed for nothing else

            made.append(annotate_video.write(labelled, out))
        return made
