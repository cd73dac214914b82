"""`tarpon grid star`: every strategy with every loss, each run in a folder of its own, and one table of what they are worth."""

import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tarpon.shards import atomic, spreadsheet
from tarpon.shards.json_file import write_json
from tarpon.shards.manifest import open_manifest
from tarpon.tools.evaluate import open_best
from tarpon.tools.table import table
from tarpon.tools.trainings import train_once
from tarpon.train.config import parse, parser_for
from tarpon.train.evaluate import evaluate
from tarpon.train.spelling import translate_options
from tarpon.train.tasks import TASKS
from tarpon.train.tasks.star.metrics.scores import MIN_QUERIES
from tarpon.train.usage import UsageError, one_line

LOSSES = {
    "circle": ("--loss.circle_weight=1", "--loss.triplet_weight=0"),
    "triplet": ("--loss.circle_weight=0", "--loss.triplet_weight=1"),
}
STRATEGIES = {  # published name -> its trainings, one after the other; each starts from the weights of the one before
    "star_only": ("star_only",),
    "pretrain_finetune": ("pretrain", "finetune"),
    "cotrain": ("cotrain",),
}
RECIPES = {"star_only": "default"}  # training -> its recipe, where that has another name
ON_WILDLIFE = ("pretrain", "cotrain")  # trainings that take the second data set
PER_DATASET, CLOCK, AVERAGE = "wildlife_per_dataset.json", "grid_clock.json", "_average"
PLAIN = "search.flips=false search.rerank=false search.expand=0 search.local=0"
COLUMNS = ("name", "strategy", "loss_type", "star_mAP", "star_rank1", "star_rank5", "best_epoch", "total_time_seconds")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One call of train/launch.py."""

    out: Path
    words: tuple[str, ...]  # options beside --out

    def state(self) -> str:
        if (self.out / "metrics.json").exists():
            return "done"
        return "goes on" if (self.out / "checkpoints" / "last.safetensors").exists() else "to train"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One cell of the grid."""

    name: str
    strategy: str
    loss: str
    trainings: tuple[Training, ...]  # the last one's scores are those of the experiment


def star(
    *,
    data: str,
    out: str,
    wildlife: str | None = None,
    strategies: str = "star_only,pretrain_finetune,cotrain",
    losses: str = "circle,triplet",
    config: str | None = None,
    change: str | None = None,
    epochs: int | None = None,
    dry_run: bool = False,
) -> int:
    """Train every strategy with every loss and compare them on the stars' test; run again after a kill it goes on.

    Args:
        data: shards of stars.
        out: folder for the runs and their results.
        wildlife: shards of wildlife, without sea stars; star_only alone can do without.
        strategies: of star_only, pretrain_finetune and cotrain.
        losses: of circle and triplet.
        config: options of every training, over those of train/recipes/star/<strategy>.yaml (default.yaml for star_only).
        change: options over these, name=value with blanks between, such as "model.width=256 micro_batch=16".
        epochs: of every training, instead of the recipes'.
        dry_run: list the runs, their folders and commands, and train nothing.
    """
    names = parse_names("strategies", strategies, STRATEGIES), parse_names("losses", losses, LOSSES)
    grid = list(plan_experiments(data, Path(out), wildlife, *names, shared=common_options(config, change, epochs)))
    check_grid(grid, data=data, wildlife=wildlife)
    if dry_run:
        print("\n".join(list_commands(grid)))
        return 0
    results: list[dict] = []
    for number, experiment in enumerate(grid, start=1):
        states = ", ".join(f"{training.out} {training.state()}" for training in experiment.trainings)
        print(f"{experiment.name} ({number} of {len(grid)}): {states}", flush=True)
        try:
            results.append(run_experiment(experiment, wildlife=wildlife))
        except (ValueError, OSError) as error:  # the others are not lost with it
            print(f"{experiment.name} FAILED: {one_line(str(error), limit=1000)}", file=sys.stderr, flush=True)
            continue
        write_results(Path(out) / "results.json", results, asked=len(grid))
    write_results(Path(out) / "results_final.json", results, asked=len(grid))
    atomic.write_text(Path(out) / "results.csv", format_csv(results))
    print("\n".join(["", *format_table(results), "", f"grid: {Path(out) / 'results_final.json'}"]))
    if failed := [one.name for one in grid if one.name not in {entry["name"] for entry in results}]:
        print(f"{len(failed)} of {len(grid)} failed: {', '.join(failed)}; run the same command again to go on", file=sys.stderr)
    return 1 if failed else 0


def run_experiment(experiment: Experiment, *, wildlife: str | None) -> dict:
    """The experiment's entry of results.json, after whatever training is still to be done. ValueError where one fails."""
    spent = sum(run_training(training) for training in experiment.trainings)
    scores = score_by_dataset(experiment.trainings[-1].out, wildlife) if wildlife else {}
    return make_entry(experiment, seconds=spent, wildlife=scores)


def parse_names(option: str, words: str, known: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names by comma, each once, in the order of the table they are from."""
    asked = {word.strip() for word in words.split(",")} - {""}
    if not asked or (wrong := sorted(asked - known.keys())):
        raise ValueError(f"{option}={words!r}: {wrong[0] + ' is' if asked else 'there is'} none of {', '.join(known)}")
    return [name for name in known if name in asked]


def common_options(config: str | None, change: str | None, epochs: int | None) -> tuple[str, ...]:
    """Words of every training, those that go before others last."""
    words = [*([f"--config={config}"] if config else []), *(f"--{word}" for word in (change or "").split())]
    return (*words, *([] if epochs is None else [f"--epochs={epochs}"]))


def plan_experiments(
    data: str, out: Path, wildlife: str | None, strategies: Sequence[str], losses: Sequence[str], *, shared: Sequence[str]
) -> Iterator[Experiment]:
    """The experiments, loss by loss within each strategy. A strategy of two trainings has a folder for each."""
    recipes = Path(find_spec("tarpon.train.launch").origin).parent / "recipes" / "star"
    for strategy in strategies:
        for loss in losses:
            name, trainings = f"{strategy}_{loss}", []
            parts = STRATEGIES[strategy]
            for part in parts:
                folder = out / name / part if len(parts) > 1 else out / name
                words = [f"--config={recipes / RECIPES.get(part, part)}.yaml", *shared, f"--strategy={part}", *LOSSES[loss]]
                words += [f"--data={wildlife if part == 'pretrain' else data}"]
                words += [f"--wildlife={wildlife}"] if part == "cotrain" else []
                words += [f"--checkpoint={trainings[-1].out}"] if trainings else []
                trainings.append(Training(out=folder, words=tuple(words)))
            yield Experiment(name=name, strategy=strategy, loss=loss, trainings=tuple(trainings))


def check_grid(grid: Sequence[Experiment], *, data: str, wildlife: str | None) -> None:
    """What every run would fail on, before the first of them. ValueError in one line."""
    if not open_manifest(data, kind="reid").card["evaluable"]["test"]:
        raise ValueError(f"{data}: no animal can be tested, and the grid compares test scores; pack data with later sessions")
    needing = [one.name for one in grid if set(STRATEGIES[one.strategy]) & set(ON_WILDLIFE)]
    if needing and wildlife is None:
        raise ValueError(f"{', '.join(needing)} need --wildlife SHARDS; or leave them out: --strategies star_only")
    if wildlife and open_manifest(wildlife, kind="reid").card["stars"]:
        raise ValueError(
            f"{wildlife}: holds sea stars, which would train on what the stars' test split asks; pack it without --keep_seastar"
        )
    task = TASKS["star"]
    for experiment in grid:
        for training in experiment.trainings:
            words = translate_options([*training.words, f"--out={training.out}"], task.spellings, task.refused, task.published)
            try:
                parse(parser_for(task.options, recipe=task.recipe(), task="star"), task.options, words)
            except UsageError as error:
                raise UsageError(f"{experiment.name}: {error}") from error


def list_commands(grid: Sequence[Experiment]) -> Iterator[str]:
    """Name, then folder, state and command of each training."""
    launch = find_spec("tarpon.train.launch").origin
    yield f"{len(grid)} runs"
    for experiment in grid:
        yield experiment.name
        for training in experiment.trainings:
            command = shlex.join([sys.executable, launch, "star", *training.words, f"--out={training.out}"])
            yield f"  {training.out} ({training.state()})"
            yield f"    {command}"


def run_training(training: Training, *, now: Callable[[], float] = time.time) -> float:
    """Train what is not trained yet; seconds that went into the weights, those before a kill too."""
    if training.state() != "done":
        clock = {"before": training_seconds(training.out), "begun": now()}
        training.out.mkdir(parents=True, exist_ok=True)
        write_json(training.out / CLOCK, clock)
    train_once("star", training.out, training.words)
    return training_seconds(training.out)


def training_seconds(folder: Path) -> float:
    """From when a training was begun to its last checkpoint, or its end, whatever came after; 0 where no grid began it."""
    if not (folder / CLOCK).exists():
        return 0.0
    clock = json.loads((folder / CLOCK).read_text())
    written = [path for path in (folder / "metrics.json", folder / "checkpoints" / "last.safetensors") if path.exists()]
    return clock["before"] + max(0.0, max((path.stat().st_mtime for path in written), default=0.0) - clock["begun"])


def score_by_dataset(folder: Path, wildlife: str) -> dict[str, dict[str, float]]:
    """Scores of a run's best weights on the wildlife test split, each data set by itself and their mean; scored once."""
    path = folder / PER_DATASET
    if not path.exists():
        # plain search alone is told, so the other ways are left out: a third of the work
        problem = open_best(folder, data=wildlife, change=PLAIN).problem
        scores = evaluate(problem, "test").scalars if "test" in problem.splits else {}
        names = open_manifest(wildlife, kind="reid").card["datasets"]
        write_json(path, scores_by_dataset(scores, names))
    return json.loads(path.read_text())


def scores_by_dataset(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Data set -> mAP and rank1, of those with enough test photographs; `_average` over them."""
    ends = {"mAP": "map", "rank1": "cmc_1"}
    if len(names) == 1 and scores:
        one = {score: scores[end] for score, end in ends.items()}
        return {names[0]: one, AVERAGE: one}
    suffixes = {name: name for name in names} | {AVERAGE: "macro"}
    return {
        name: {score: scores[f"{end}_{suffix}"] for score, end in ends.items()}
        for name, suffix in suffixes.items()
        if f"map_{suffix}" in scores and scores.get(f"queries_{suffix}", MIN_QUERIES) >= MIN_QUERIES  # as published
    }


def make_entry(experiment: Experiment, *, seconds: float, wildlife: Mapping[str, Mapping[str, float]]) -> dict:
    """An entry of results.json, under the published names; the scores are those of plain search on the stars' test split."""
    folder = experiment.trainings[-1].out
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = [line["epoch"] for line in lines if line["step"] == metrics["best_step"] and "val/map" in line]
    test = metrics["test"]
    return {
        "name": experiment.name,
        "strategy": experiment.strategy,
        "loss_type": experiment.loss,
        "star_mAP": test["map"],
        "star_rank1": test["cmc_1"],
        "star_rank5": test["cmc_5"],
        "total_time_seconds": seconds,
        "best_epoch": best[0],
        "all_metrics": test,
        "wildlife_per_dataset": wildlife,
    }


def write_results(path: Path, results: Sequence[dict], *, asked: int) -> None:
    content = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%S"), "num_experiments": asked, "results": list(results)}
    write_json(path, content)


def format_csv(results: Sequence[dict]) -> str:
    text = io.StringIO()
    writer = spreadsheet.Writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "wildlife_mAP", "wildlife_rank1"])
    for entry in results:
        mean = entry["wildlife_per_dataset"].get(AVERAGE, {})
        writer.writerow([*(entry[name] for name in COLUMNS), mean.get("mAP", ""), mean.get("rank1", "")])
    return text.getvalue()


def format_table(results: Sequence[dict]) -> Iterator[str]:
    head = ("run", "star mAP", "CMC@1", "CMC@5", "best epoch", "minutes", "wildlife mAP")
    rows = []
    for entry in results:
        mean = entry["wildlife_per_dataset"].get(AVERAGE)
        scores = (f"{entry[name]:.4f}" for name in ("star_mAP", "star_rank1", "star_rank5"))
        minutes, wild = f"{entry['total_time_seconds'] / 60:.1f}", f"{mean['mAP']:.4f}" if mean else "-"
        rows.append((entry["name"], *scores, entry["best_epoch"], minutes, wild))
    return table(head, rows)
