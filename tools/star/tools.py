"""Re-identification of sea stars and wildlife: what the commands need of this task."""

from tarpon.tools.task import Command, TaskTools

STAR = TaskTools(
    kind="reid",
    lint="star.lint:REID",
    look="star.look:PREVIEW",
    report="star.report:SECTIONS_OF_RUN",
    ensemble="star.ensemble:AVERAGING",
    export="star.export:EXPORT",
    view="star.view:StarAlbum",
    gpu="star.gpu_checks:CHECKS",
    benchmarks={"loader": "star.bench_loader:BENCHMARK", "plan": "star.bench_plan:PLAN"},
    selftest="star.selftest:prepare",
    commands={
        "demo star": Command(target="star.demo.command:star", does="write photographs of drawn sea stars over many dates"),
        "demo wildlife": Command(
            target="star.demo.command:wildlife", does="write drawn animals in the layout of WildlifeReID-10k"
        ),
        "pack star": Command(target="star.pack:star", does="a folder of stars by individual and outing -> shards"),
        "pack wildlife": Command(target="star.pack:wildlife", does="WildlifeReID-10k's folder -> shards"),
        "look augmentations": Command(
            target="star.look_augmentations:run", takes=("shards",), does="photographs as training varies them, on one picture"
        ),
        "predict star": Command(
            target="star.predict:star", does="which known animal photographs show, or that it is a new one"
        ),
        "grid star": Command(target="star.grid:star", does="train every strategy with every loss and compare them"),
        "bench retrieval": Command(target="star.bench_retrieval:run", does="seconds and memory of scoring re-identification"),
    },
)
