"""Which folder a run gets, and whether it goes on with the one that the folder holds. Makes nothing."""

import time
from dataclasses import replace
from pathlib import Path

import yaml

from tarpon.train import lock
from tarpon.train.checkpoint import list_checkpoints
from tarpon.train.config import Run, flat

# options that change nothing of what is learnt; `data` may have moved: its content is compared with the checkpoint's
FREE = ("config", "data", "out", "name", "resume", "micro_batch")
FREE += ("log_every", "save_every", "save_minutes", "keep_checkpoints", "verbose")
FREE_SECTIONS = ("wandb.", "engine.", "loader.")


def choose_run(run: Run, *, name: str | None, text: str) -> tuple[Run, tuple[str, ...]]:
    """The run with the folder that it gets and `resume` true or false, and lines to say.

    A folder whose run has saved nothing is begun again; one with a checkpoint is gone on with, or refused.

    Args:
        name: the folder is of this name and the time in `run.out`, unless a run is gone on with or `run.name` names it; None:
            `run.out` itself.
        text: the whole configuration, as run.yaml holds it.
    """
    out, given = Path(run.out), flat(yaml.safe_load(text))
    if run.name and (run.resume is not True or (out / run.name).is_dir()):
        out = out / run.name
    elif name and run.resume is not True and not (run.resume == "auto" and (out / "run.yaml").exists()):
        unfinished = find_unfinished(out, name, given) if run.resume == "auto" else None
        out = unfinished or out / f"{name}_{time.strftime('%Y%m%d_%H%M%S')}"
    if lock.is_held(out):
        lock.Lock().take(out)  # raises, naming the holder
    resume, said = is_resumed(out, run, given) if out.is_dir() else (run.resume is True, ())
    return replace(run, out=str(out), resume=resume), said


def is_resumed(out: Path, run: Run, given: dict[str, object]) -> tuple[bool, tuple[str, ...]]:
    """Whether the run in a folder is gone on with, and lines to say; ValueError when it may be neither that nor begun again."""
    changed = differences(out, given)
    if run.resume is True:
        return True, (f"resume    with other options than before: {'; '.join(changed)}",) if changed else ()
    if not list_checkpoints(out) and not (out / "metrics.json").exists():
        log = out / "metrics.jsonl"
        if log.exists() and log.stat().st_size and not (out / "run.yaml").exists():
            raise ValueError(f"{out} holds a metrics.jsonl that no run of Tarpon wrote; give another --out")
        return False, (f"resume    {out} holds a start that saved nothing: begun again",) if log.exists() else ()
    held = f"{out} holds a run already"
    ways = f"give another {f'--name than {run.name}' if run.name else '--out'}, or delete it"
    if run.resume is False:
        raise ValueError(f"{held}; go on with --resume true, {ways}")
    if changed:
        raise ValueError(
            f"{held}, of other options: {'; '.join(changed)}; give the same to go on, --resume true to go on with these, {ways}"
        )
    if (out / "metrics.json").exists():
        raise ValueError(f"{held}, finished, of the same options; --resume true goes on with it (with more --epochs), {ways}")
    return True, ()


def find_unfinished(folder: Path, name: str, given: dict[str, object]) -> Path | None:
    """The newest run of these options in a folder of runs that was ended before its end, and that nobody goes on with now."""
    for out in sorted(folder.glob(f"{name}_*"), reverse=True):
        over = (out / "metrics.json").exists() or not (out / "run.yaml").exists() or not list_checkpoints(out)
        if not over and not differences(out, given) and not lock.is_held(out):
            return out
    return None


def differences(out: Path, given: dict[str, object]) -> list[str]:
    """Options that a folder's run had otherwise, where they change what is learnt: "optim.lr=0.1 (was 0.01)"."""
    path = out / "run.yaml"
    before = flat(yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    shared = (name for name in given if name in before and name not in FREE and not name.startswith(FREE_SECTIONS))
    return [f"{name}={given[name]} (was {before[name]})" for name in shared if given[name] != before[name]]
