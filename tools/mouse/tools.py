"""Frame-wise behaviour and keypoints of mice: what the commands need of this task."""

from tarpon.tools.task import Command, TaskTools

MOUSE = TaskTools(
    kind="mouse",
    lint="mouse.lint:MOUSE",
    look="mouse.look:PREVIEW",
    report="mouse.report:SECTIONS_OF_RUN",
    ensemble="mouse.ensemble:AVERAGING",
    export="mouse.export:EXPORT",
    view="mouse.view:MouseAlbum",
    gpu="mouse.gpu_checks:CHECKS",
    benchmarks={"loader": "mouse.bench_loader:BENCHMARK", "plan": "mouse.bench_plan:PLAN"},
    selftest="mouse.selftest:prepare",
    commands={
        "demo mouse": Command(target="mouse.demo.command:mouse", does="write a synthetic mouse lab folder"),
        "pack mouse": Command(
            target="mouse.pack:mouse",
            does="a lab folder of videos, points and labels -> shards",
            first=(
                "annotations",
                "keypoints",
                "pose",
                "trial_frames",
                "group",
                "split",
                "short_side",
                "codec",
                "classes",
                "table",
                "dry_run",
            ),
        ),
        "predict mouse": Command(target="mouse.predict:mouse", does="label whole videos with a trained model"),
        "ablate mouse": Command(target="mouse.ablate:mouse", does="what each part of a recipe is worth, over several seeds"),
    },
)
