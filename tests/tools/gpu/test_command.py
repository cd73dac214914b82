"""The command line, with and without the packages that come later in a visit; what one must not ask for."""

import subprocess
import sys

import pytest
import torch

from tarpon.tools.gpu import command, plan
from tarpon.tools.gpu.journal import Journal
from tarpon.tools.gpu.parts import PARTS

BLOCK = """
import sys
sys.modules.update(dict.fromkeys(BLOCKED))  # as on a machine that has not got them
import runpy
sys.argv = ARGV
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
LATER = (
    "av", "nvidia.dali", "deepspeed", "pyarrow", "webdataset", "PIL", "tifffile", "imagecodecs", "cv2", "albumentations",
    "wandb", "matplotlib", "sklearn", "timm", "torchvision", "transformers", "tensorboard", "yaml", "tqdm", "fsspec",
    "pytorch_metric_learning",
)  # fmt: skip


def run_without(blocked: tuple[str, ...], argv: list[str], **options) -> subprocess.CompletedProcess:
    code = BLOCK.replace("BLOCKED", repr(blocked)).replace("ARGV", repr(argv))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.mark.slow
def test_kernels_need_pytorch_and_triton_alone(tmp_path, quiet_env, rows):
    """The whole part, its kernels in Triton's interpreter."""
    argv = ["tarpon.tools.gpu.kernels", f"--out={tmp_path}", "--device=cpu"]
    done = run_without((*LATER, "jsonargparse"), argv, env=quiet_env)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "kernels.jsonl")
    assert {row["name"] for row in found if row["kind"] == "step"} == {step.name for step in PARTS["kernels"].steps("kernels")}
    facts = {row["name"]: row["value"] for row in found if row["kind"] == "fact"}
    assert facts["interpreted"] is True
    assert "versions" in facts
    assert {row["op"] for row in found if row["kind"] == "time"} == set(plan_ops())
    exact = [row for row in found if row["kind"] == "exact"]
    assert {row["op"] for row in exact} == set(plan_ops())
    assert all(row["ok"] for row in exact)
    assert sum(row["discrepancy"] > 0 for row in exact) > len(exact) // 2  # float32 is not float64


def plan_ops() -> tuple[str, ...]:
    from tarpon.models.ops import OPS

    return tuple(OPS)


@pytest.mark.parametrize(
    ("blocked", "argv"),
    [((*LATER, "jsonargparse", "torch"), ["tarpon.tools.gpu"]), (LATER, ["tarpon.tools.cli", "gpu"])],
    ids=["module", "cli"],
)
def test_the_command_itself_needs_less_still(tmp_path, quiet_env, blocked, argv):
    """Collecting stands for any use: the parts run in processes of their own."""
    Journal(tmp_path / "in", "kernels").write("fact", "machine", value={})
    done = run_without(blocked, [*argv, f"--collect={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"], env=quiet_env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "cpu.json").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"part": "kernel"}, "part='kernel' must be one of kernels, pipelines, train, tests"),
        ({"device": "tpu"}, "must be gpu or cpu"),
        ({"seconds": 0.0}, "must be above 0"),
        ({"collect": "nowhere"}, "no rows of a part below it"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        command.run(**given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("argv", [["tarpon.tools.gpu"], ["tarpon.tools.cli", "gpu"]], ids=["module", "cli"])
def test_without_a_gpu_it_leaves_with_2_and_one_line(tmp_path, argv):
    done = subprocess.run([sys.executable, "-m", *argv], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no NVIDIA GPU here that PyTorch sees" in done.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_plan_names_every_part_once_and_fits_a_quarter_of_an_hour(tmp_path, capsys):
    assert sorted(name for call in plan.CALLS for name in call.parts) == sorted(PARTS)
    assert sum(call.seconds() for call in plan.CALLS) <= 12 * 60  # three minutes for the machine's starts
    Journal(tmp_path, "train").write("step", "resume", ok=True, seconds=12.34, said="")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_bytes(b"0" * 2**20)
    assert command.run(dry_run=True, out=str(tmp_path), shards=str(tmp_path / "shards")) == 0
    told = capsys.readouterr().out
    assert "shards (1.0 MiB)" in told
    assert "12.3" in told
    assert all(name in told for name in PARTS)
