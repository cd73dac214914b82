"""Attributes of fish from cached features: what the commands need of this task."""

from tarpon.tools.task import Command, TaskTools

FISH = TaskTools(
    kind="fish",
    lint="fish.lint:FISH",
    look="fish.look:PREVIEW",
    report="fish.report:SECTIONS_OF_RUN",
    ensemble="fish.ensemble:AVERAGING",
    export="fish.export:EXPORT",
    view="fish.view:FishAlbum",
    gpu="fish.gpu_checks:CHECKS",
    benchmarks={"train": "fish.bench_train:BENCHMARK"},
    selftest="fish.selftest:prepare",
    commands={
        "features extract": Command(
            target="fish.features_published:run", does="the same by the published names, packing what is not"
        ),
        "demo fish": Command(target="fish.demo.command:fish", does="write a synthetic FishNet folder"),
        "pack fish": Command(target="fish.pack:fish", does="a FishNet folder of images and annotations -> shards"),
        "features import": Command(
            target="fish.features_import:run", takes=("folder",), does="published FishNet features -> our own"
        ),
        "predict fish": Command(target="fish.predict:fish", does="families and attributes of a folder of images"),
    },
)
