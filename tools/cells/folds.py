"""`tarpon folds KIND`: one training for every test fold of the shards, one after the other, then all of them summed up."""

from pathlib import Path

from tarpon.shards.manifest import open_manifest
from tarpon.tools.cells.report import HEADLINES
from tarpon.tools.table import table
from tarpon.tools.trainings import train_and_score
from tarpon.train.tasks.cells.folds import write_folds


def cells(*, data: str, out: str, config: str | None = None, change: str | None = None) -> int:
    """Train once for every fold of shards packed with --folds K, and sum up; run again after a kill it goes on.

    Args:
        data: shards.
        out: folder for the runs, fold-0, fold-1 and so on, and for cv_summary.json.
        config: the recipe of every fold.
        change: options over those of the recipe, name=value with blanks between, such as "epochs=5 micro_batch=16".
    """
    count = open_manifest(data, kind="cells").card["folds"]
    if not count:
        raise ValueError(f"{data} has no folds; pack again with --folds K")
    words = [*(["--config", config] if config else []), *(f"--{word}" for word in (change or "").split()), f"--data={data}"]
    folds = [Path(out) / f"fold-{k}" for k in range(count)]
    for k, folder in enumerate(folds):
        trained_before = (folder / "metrics.json").exists()
        scores = train_and_score("cells", folder, [*words, f"--fold={k}"])
        text = ", ".join(f"{label} {scores[name]:.3f}" for name, label, _ in HEADLINES if name in scores)
        print(f"fold {k}{' (trained before)' if trained_before else ''}: {text}", flush=True)
    print("\n".join(format_summary(write_folds(Path(out), folds))))
    print(f"folds: {Path(out) / 'cv_summary.json'}")
    return 0


def format_summary(content: dict) -> list[str]:
    """Means over folds beside the pooled result, and what to beware of.

    Args:
        content: as `write_folds` returns it.
    """
    spread, pooled, rows = content["aggregated_metrics"], content["pooled"], []
    for name, label, _ in HEADLINES:
        if name in spread:
            deviation = spread[name]["std"]
            mean = f"{spread[name]['mean']:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")
            between = f"{pooled[f'{name}_low']:.4f} to {pooled[f'{name}_high']:.4f}" if f"{name}_low" in pooled else ""
            rows.append((label, mean, f"{pooled[name]:.4f}" if name in pooled else "-", between))
    unit = content.get("intervals_over", "wells").partition(" (")[0]
    head = (f"{content['num_folds']} folds", "mean ± sd of folds", "all pages as one test", f"95% over {unit}")
    confounded = content["one_well_classes"]
    warning = f"WARNING: all {' and all '.join(confounded)} stacks come from one well: the scores hold within these wells only"
    control = [content["control"]["meaning"]] if "control" in content else []
    return ["", *table(head, rows), "", *control, *([warning] if confounded else [])]
