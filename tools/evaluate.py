"""`tarpon evaluate RUN`: a run's best weights scored again, on its own shards or on others; several runs, and their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps, loads
from pathlib import Path

from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.report import sections_of
from tarpon.tools.run_shards import check_data
from tarpon.tools.table import table
from tarpon.tools.tasks import part_of_task
from tarpon.train.config import parse, parser_for, read_run
from tarpon.train.task import Problem
from tarpon.train.tasks import TASKS

MEAN = "mean"  # the column of the ensemble


def run(
    run: list[str],
    *,
    data: str | None = None,
    split: str = "test",
    change: str | None = None,
    json: str | None = None,
    predictions: str | None = None,
    bad_rows: int | None = None,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> int:
    """Score a run's best weights on a split; classes stay the run's own. Of several runs: each, and the mean of their answers.

    Args:
        run: run folders, or files in them.
        data: other shards or features than the run's own.
        split: train, val or test.
        change: options that differ from the run's, name=value with blanks between, such as unknown_labels=mask.
        json: file for all metrics.
        predictions: file for what was answered, of several runs their mean: npz, or what else the task can write.
        bad_rows: samples that may be unreadable; they are left out, and every score says so. Unset: as many as in training.
        cache: folder for fetched tars, of shards at a URL; unset: the run's own.
        cache_bytes: most bytes that it may hold.
    """
    change, kept = allow(change, bad_rows), Cache.of(cache, cache_bytes)
    opened = open_all([run_folder(Path(word)) for word in run], data=data, change=change, cache=kept)
    from tarpon.tools.ensemble import average  # here: --help and a wrong folder need not wait for PyTorch
    from tarpon.train.evaluate import evaluate, left_out_words

    for folder, one in opened.items():
        if split not in ("train", *one.problem.splits):
            raise ValueError(f"{folder} has no split {split}; give --split {' or '.join(('train', *one.problem.splits))}")
    results = {folder: evaluate(one.problem, split) for folder, one in opened.items()}
    first = next(iter(opened.values()))
    if len(opened) > 1:
        problems = [one.problem for one in opened.values()]
        averaging = part_of_task(first.kind, "ensemble", where=str(next(iter(opened))))
        results[MEAN] = evaluate(average(problems, averaging), split)
    scores = {name: result.scalars for name, result in results.items()}
    print("\n".join(format_scores(scores, title=f"{split} of {first.data}", kind=first.kind)))
    for name, result in results.items():
        if words := left_out_words(result.scalars):
            print(f"{name}: {split}{words}; what was left out is named above")
    *runs, reported = results
    if json:
        content = {split: scores[reported]} | ({"runs": {name: scores[name] for name in runs}} if runs else {})
        Path(json).write_text(dumps(content, indent=2) + "\n")
    if predictions:
        results[reported].save(Path(predictions))
    return 0


def allow(change: str | None, bad_rows: int | None) -> str | None:
    """The options that differ, with the number of unreadable samples among them."""
    return change if bad_rows is None else f"{change or ''} loader.bad_rows={bad_rows}".strip()


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedRun:
    """A trained run with its data, on one device."""

    kind: str  # its task
    data: str
    micro_batch: int
    options: object  # the task's own
    problem: Problem  # with the best weights in its model


def open_best(
    folder: Path,
    *,
    data: str | None = None,
    change: str | None = None,
    micro_batch: int | None = None,
    cache: Cache | None = None,
) -> OpenedRun:
    """A run's problem with its best weights loaded.

    Args:
        folder: of the run.
        data: other shards or features than the run's own.
        change: options that differ, name=value with blanks between.
        micro_batch: rows of a batch; None: the run's own.
        cache: for tars of remote shards; None: the run's own.

    Raises:
        ValueError: it is no run folder, or its task or an option is unknown.
    """
    name = read_task(folder)
    import torch  # here: see `run`

    from tarpon.train import checkpoint
    from tarpon.train.engine import DistContext
    from tarpon.train.folder import read_encoders

    task = TASKS[name]
    settings, options = read_run(folder, task.options, parser_for(task.options, recipe=task.recipe(), task=name))
    if change:
        words = ["--config", str(folder / "run.yaml"), *(f"--{word}" for word in change.split())]
        settings, options, _ = parse(parser_for(task.options, recipe=task.recipe(), task=name), task.options, words)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
    size = micro_batch or settings.micro_batch
    check_data(folder, data or settings.data)
    # no `out`: what cannot be read here is no part of the run's quarantine
    settings = replace(settings, data=data or settings.data, micro_batch=size, global_batch=size, out="")
    if cache:
        settings = replace(settings, loader=replace(settings.loader, cache=str(cache.folder), cache_bytes=cache.size))
    problem = task.build(settings, task.without_download(options), context, encoders=read_encoders(folder))
    best, _ = checkpoint.load_tensors(folder / checkpoint.BEST)
    checkpoint.load_weights(problem.model.to(device), best, name=str(folder / checkpoint.BEST))
    return OpenedRun(kind=name, data=settings.data, micro_batch=size, options=options, problem=problem)


def open_all(
    folders: Sequence[Path], *, data: str | None, change: str | None, cache: Cache | None = None
) -> dict[str, OpenedRun]:
    """Folder -> opened run, in order, all with the first one's micro-batch. ValueError for two tasks or a run given twice."""
    found: dict[str, OpenedRun] = {}
    for folder in folders:
        if str(folder) in found:
            raise ValueError(f"{folder} is given twice; a mean takes each run once")
        first = next(iter(found.values()), None)
        one = open_best(folder, data=data, change=change, micro_batch=first and first.micro_batch, cache=cache)
        if first and one.kind != first.kind:
            raise ValueError(f"{folder} is a run of {one.kind} and the first one of {first.kind}; a mean takes one kind")
        found[str(folder)] = one
    return found


def format_scores(scores: Mapping[str, Mapping[str, float]], *, title: str, kind: str) -> list[str]:
    """Lines of a table: a column for each run, named by its folder, and a row for each headline score."""
    from tarpon.train.evaluate import left_out_words  # here: see `run`

    names = list(scores)
    shown = [Path(name).name for name in names] if len(names) > 1 else [""]
    head = [f"{name}{left_out_words(scores[run])}".strip() for name, run in zip(shown, names, strict=True)]
    rows = [
        (score, *(f"{scores[name][score]:.4f}" if score in scores[name] else "-" for name in names))
        for score in list_headlines(kind)
        if any(score in values for values in scores.values())
    ]
    return list(table((title, *head), rows))


def list_headlines(task: str) -> list[str]:
    """Names of the scores that are printed: the report's, each with its interval, its bar and what other ways of
    answering reach, and the loss."""
    parts = sections_of(task)
    beside = ("{}", "{}_low", "{}_high", "majority_{}", "constant_{}", *(f"{way}_{{}}" for way in parts.ways))
    return [form.format(name) for name, *_ in parts.headlines for form in beside] + ["loss"]


def run_folder(path: Path) -> Path:
    """The run folder that a file lies in (best.safetensors, checkpoints/best.pt), or the folder itself."""
    inside = [folder for folder in path.parents if path.is_file() and (folder / "run.json").exists()]
    return inside[0] if inside else path


def read_task(folder: Path) -> str:
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder}: no run.json here; give a run folder that train/launch.py wrote")
    name = loads(path.read_text())["task"]
    if name not in TASKS:
        raise ValueError(f"{path}: task {name!r} is not one of {', '.join(TASKS)}")
    return name
