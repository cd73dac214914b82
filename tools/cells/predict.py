"""`tarpon predict cells`: new stacks through trained models: when each is infected, page by page and as a whole."""

from pathlib import Path

import pyarrow as pa

from tarpon.shards.quarantine import group_by_reason
from tarpon.tools.cells.unlabelled import list_stacks
from tarpon.train.tasks.cells.metrics.called import HOLD
from tarpon.train.tasks.cells.metrics.conformal import LEVEL
from tarpon.train.tasks.cells.metrics.tables import check_suffix, write_table


def cells(
    *,
    checkpoint: list[str],
    images: str,
    out: str,
    level: float = LEVEL,
    hold: int = HOLD,
    frames_per_hour: float | None = None,
    batch: int = 0,
    threads: int = 0,
) -> int:
    """Infected or not, and hours, of every page of new stacks; from which hour on each stack is called infected.

    Beside T.csv, a row a page, stand T_stacks.csv, a row a stack, and the folder T_stacks with a curve and a table of each.

    Args:
        checkpoint: a run folder or its checkpoints/best.pt; of several runs the mean is told.
        images: folder of stacks in any format that is packed, of any length, in folders of any depth.
        out: table of all pages, .csv or .parquet.
        level: of the interval in which an infection began, from the wells of validation.
        hold: pages in a row that must be called infected.
        frames_per_hour: of the new stacks; unset: as of those trained on.
        batch: pages a pass; 0: as in training.
        threads: decoding threads; 0: as in training.
    """
    target = Path(out)
    check_suffix(target)
    if hold < 1 or batch < 0 or threads < 0:
        raise ValueError(f"hold={hold} must be at least 1, batch={batch} and threads={threads} at least 0")
    from tarpon.tools.cells.onset import make_rule  # here: --help and a mistake above need not wait for PyTorch
    from tarpon.tools.cells.page_model import choose_source, load_model
    from tarpon.tools.cells.stack_answers import format_stacks, predict_stacks, tabulate_pages, tabulate_stacks

    models = [load_model(Path(word), batch=batch, threads=threads) for word in checkpoint]
    rule = make_rule(models, level=level, hold=hold)
    units, told = list_stacks(Path(images), choose_source(models, frames_per_hour=frames_per_hour))
    faults, remarks = ([fault for fault in told if fault.packed == packed] for packed in (False, True))
    total, folder = len(units) + len(faults), target.with_name(f"{target.stem}_stacks")
    target.parent.mkdir(parents=True, exist_ok=True)
    done, left_out = predict_stacks(models, units, rule, folder=folder)
    faults += [fault for fault in left_out if not fault.packed]
    remarks += [fault for fault in left_out if fault.packed]
    if done:
        write_table(target, pa.concat_tables(map(tabulate_pages, done)))
        write_table(target.with_name(f"{target.stem}_stacks{target.suffix}"), tabulate_stacks(done, rule))
        print("\n".join(format_stacks(done)))
        print(rule.describe())
    for reason, alike in group_by_reason(remarks):
        print(f"note: {alike[0]}" if len(alike) == 1 else f"note: {len(alike)} stacks, the first {alike[0].file}: {reason}")
    for fault in faults:
        print(f"left out: {fault}")
    print(f"{len(done)} of {total} stacks, {sum(len(found.page) for found in done)} pages: {out}, {folder}")
    return 1 if faults or not done else 0
