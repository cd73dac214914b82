"""Networks in files for other programs: they answer as the run's model does, or are not written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tarpon.tools import cli
from tarpon.tools.evaluate import open_best
from tarpon.tools.export.card import find_licence
from tarpon.tools.export.formats import NOTE, load_module, quiet
from tarpon.tools.export.record import BATCH, Normalise, Request, to_pixels
from tarpon.tools.export.work import TOLERANCE, compare, write_checked
from tarpon.tools.tasks import part_of_task

RUNS = ("mouse", "fish", "cells", "star")


@pytest.fixture
def run_of(request):
    """Task -> a run folder of it with random weights."""
    return lambda task: request.getfixturevalue(f"untrained_{task}")


def opened(run: Path, task: str, **options):
    """The exportable network of a run, and a few samples."""
    exporting = part_of_task(task, "export", where=str(run))
    one = open_best(run, micro_batch=BATCH)
    one.problem.model.eval()
    with torch.no_grad():
        what = exporting.open(Request(folder=run, opened=one, split="test", **options))
        return what, [next(what.samples), next(what.samples)]


@pytest.mark.parametrize(
    ("task", "form"), [("mouse", "safetensors"), ("fish", "onnx"), ("cells", "torchscript"), ("star", "safetensors")]
)
def test_a_file_answers_as_the_model_on_the_pipelines_samples(run_of, tmp_path, capsys, task, form):
    assert cli.main(["export", str(run_of(task)), "--format", form, "--out", str(tmp_path), "--samples", "4"]) == 0
    said = capsys.readouterr().out
    assert "answers as the model on 4 samples of test" in said
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "must not be used for" in card
    assert "95% interval" in card


def test_every_kind_of_file_says_what_goes_in_and_comes_out(untrained_fish, tmp_path):
    what, proofs = opened(untrained_fish, "fish")
    held = {"torchscript": {NOTE: ""}, "pt2": {NOTE: ""}}
    for form in ("torchscript", "pt2", "safetensors"):
        path, _ = write_checked(what, "fish", form, tmp_path, proofs)
        if form == "safetensors":
            with safe_open(path, framework="pt") as file:
                held[form] = file.metadata()
        elif form == "pt2":
            torch.export.load(path, extra_files=held[form])
        else:
            with quiet():  # PyTorch calls it deprecated
                torch.jit.load(path, _extra_files=held[form])
    for extra in held.values():
        note = json.loads(extra[NOTE])
        assert [port["name"] for port in note["inputs"]] == ["features"]
        assert [port["name"] for port in note["outputs"]] == ["family", "order", "habitat", "troph"]
        assert len(note["facts"]["names"]["families"]) == proofs[0].expected[0].shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mouse", "cells", "star"])
def test_onnx_runtime_answers_as_the_model(run_of, tmp_path, task):
    onnx = pytest.importorskip("onnx")
    assert cli.main(["export", str(run_of(task)), "--out", str(tmp_path)]) == 0
    model = onnx.load(tmp_path / "model.onnx")
    note = json.loads({entry.key: entry.value for entry in model.metadata_props}[NOTE])
    assert [port["name"] for port in note["inputs"]] == [given.name for given in model.graph.input]
    assert [port["name"] for port in note["outputs"]] == [made.name for made in model.graph.output]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--model.norm=clip", "--model.pose_input=false", "--model.model_type=action_only"),
        ("--model.stance_frames=100",),
        ("--model.temporal=transformer", "--model.refine_stages=1"),
        (
            "--model.backbone_type=videomae2_3d",
            "--model.video_backbone.pretrained=false",
            "--model.video_backbone.image_size=32",
            "--model.video_backbone.overrides={hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2, "
            "intermediate_size: 32, patch_size: 16}",
        ),
    ],
    ids=["clip norm, actions alone", "with the stance", "transformer and refinement", "video backbone"],
)
def test_other_mouse_networks_leave_too(make_untrained, mouse_shards, tmp_path, words):
    small = ("--model.backbone.name=lcnet_035", "--model.backbone.pretrained=false", "--model.backbone.image_size=32")
    options = ("--model.hidden=16", "--window.val_frames=96", "--micro_batch=2", "--global_batch=2")
    run = make_untrained("mouse", tmp_path / "run", mouse_shards.root, *small, *options, *words)
    for form in ("onnx", "torchscript"):
        assert cli.main(["export", str(run), "--format", form, "--samples", "2"]) == 0


def test_fish_takes_images_with_the_backbone_inside(untrained_fish, fish_shards, tmp_path, capsys):
    words = ["export", str(untrained_fish), "--format", "safetensors", "--out", str(tmp_path), "--images", fish_shards.root]
    assert cli.main([*words, "--pretrained", "false", "--samples", "4"]) == 0
    module = load_module(tmp_path / "model.safetensors")
    with torch.no_grad():
        family, *_ = module(torch.zeros(3, 32, 32, 3, dtype=torch.uint8))
    assert len(family) == 3
    assert torch.allclose(family.sum(1), torch.ones(3))


def test_a_file_that_answers_otherwise_is_not_left(untrained_star, tmp_path):
    what, proofs = opened(untrained_star, "star")
    what.module.normalise.mean += 1.0  # one grey level
    with pytest.raises(ValueError, match=r"answers otherwise than the model \(embedding by"):
        write_checked(what, "star", "safetensors", tmp_path, proofs)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_number_is_refused(untrained_fish):
    what, proofs = opened(untrained_fish, "fish")
    worst = compare(lambda inputs: tuple(value * float("nan") for value in proofs[0].expected), what.outputs, proofs[:1])
    assert all(gap == float("inf") for gap, _ in worst.values())


@pytest.mark.parametrize("stance", [0, 100], ids=["pose alone", "with the stance and the likelihood"])
def test_points_and_body_length_are_as_the_pipeline_makes_them(stance, untrained_mouse, make_untrained, mouse_shards, tmp_path):
    """Against the pose of the pipeline itself, where points are missing and where the likelihood is low."""
    run = untrained_mouse
    if stance:
        small = ("--model.backbone.name=lcnet_035", "--model.backbone.pretrained=false", "--model.backbone.image_size=32")
        options = (
            "--model.hidden=16",
            "--window.val_frames=96",
            f"--model.stance_frames={stance}",
            "--model.likelihood_input=true",
        )
        run = make_untrained("mouse", tmp_path / "run", mouse_shards.root, *small, *options)
    what, (sample, _) = opened(run, "mouse")
    batch = next(iter(open_best(run, micro_batch=BATCH).problem.data.split("test")))
    _, valid, points, body, *usual = sample.inputs
    made = what.module.make_pose(points, body, valid, *usual)
    torch.testing.assert_close(made, batch["pose"][:, : made.shape[1]], rtol=1e-5, atol=1e-5)
    assert 0 < made[..., 2].sum() <= made[..., 2].numel()
    hidden = torch.cat([points[..., :2], torch.zeros_like(points[..., 2:])], -1)
    assert not what.module.make_pose(hidden, body, valid).any()
    assert not what.module.make_pose(points, torch.zeros_like(body), valid)[..., :3].any()


def test_grey_levels_of_eight_and_of_sixteen_bits_are_the_same_page(untrained_cells):
    what, (sample, _) = opened(untrained_cells, "cells")
    rng = torch.Generator().manual_seed(0)
    pages = torch.randint(0, 256, sample.inputs[0].shape, generator=rng)
    levels = torch.tensor([20.0, 200.0]).expand(*pages.shape[:2], 2)
    with torch.no_grad():
        small, large = (what.module((k * pages).to(torch.uint16), k * levels, sample.inputs[2]) for k in (1, 257))
    for one, other in zip(small, large, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_pixels_are_normalised_as_by_hand():
    pixels = np.array([[[[0, 128, 255]]]], np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    made = Normalise(mean, std)(torch.from_numpy(pixels))
    assert made.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(made.ravel(), (pixels.ravel() / 255.0 - mean) / std, rtol=1e-6)
    with pytest.raises(ValueError, match="no whole numbers"):
        to_pixels(made)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tflite"], "format='tflite' must be one of onnx, pt2, torchscript, safetensors"),
        (["--samples", "0"], "samples=0 must be at least 1"),
        (["--split", "holdout"], "has no split holdout; give --split train or val or test"),
    ],
)
def test_mistakes_are_told_in_one_line(untrained_fish, capsys, words, said):
    assert cli.main(["export", str(untrained_fish), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_shards_that_the_features_were_not_made_of_are_refused(untrained_fish, cells_shards, capsys):
    words = ["export", str(untrained_fish), "--images", cells_shards.root, "--pretrained", "false"]
    assert cli.main(words) == 2
    assert "not the shards that" in capsys.readouterr().err


def test_a_file_of_something_else_is_told(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file of `tarpon export`"):
        load_module(tmp_path / "x.safetensors")


def test_the_licence_of_a_backbone_is_that_of_its_weights():
    assert "random weights" in find_licence("resnet50", pretrained=False)
    assert "apache-2.0" in find_licence("resnet50", pretrained=True)
    assert "not for commercial use" in find_licence("MCG-NJU/videomae-base-finetuned-kinetics", pretrained=True)
    assert "not known" in find_licence("", pretrained=None)
    assert "read the page" in find_licence("hf_hub:OWNER/NAME", pretrained=True)


def test_the_tolerance_is_that_of_the_largest_value(untrained_fish):
    what, proofs = opened(untrained_fish, "fish")
    big = [replace(proofs[0], expected=tuple(value * 0 + 100 for value in proofs[0].expected))]
    worst = compare(lambda inputs: tuple(value + 0.009 for value in big[0].expected), what.outputs, big)
    assert all(limit == pytest.approx(100 * TOLERANCE) and gap < limit for gap, limit in worst.values())
