"""The kernels' check and benchmark need PyTorch and Triton alone: they run, and GPU tests collect, with the rest blocked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BLOCKED = (
    "nvidia.dali", "av", "deepspeed", "pyarrow", "webdataset", "jsonargparse", "timm", "transformers", "sklearn", "PIL", "cv2",
    "tifffile", "imagecodecs", "matplotlib", "pandas", "torchvision", "tensorboard", "pytorch_metric_learning",
)  # fmt: skip
BLOCKER = f"""
import importlib.machinery, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in {BLOCKED!r}):
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(f"{{spec.name}} is blocked")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocker())
"""


def run_blocked(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + code],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_gpu_tests_collect():
    words = ["-q", "--collect-only", "-m", "gpu", "-p", "no:cacheprovider", "--import-mode=importlib", f"--confcutdir={HERE}"]
    told = run_blocked(f"import pytest; sys.exit(pytest.main({[*words, '-o', 'addopts=', str(HERE)]!r}))")
    assert "test_tcn_gpu.py" in told
    assert "test_mmoe_gpu.py" in told


@pytest.mark.slow
def test_check_and_benchmark_run_in_the_interpreter(tmp_path):
    code = f"""
from tarpon.tools.bench import ops as bench_ops
for op in ("temporal_block", "mmoe_gates"):
    options = dict(op=op, shapes="small", compile=False, seconds_a_figure=0.001, correct=True)
    assert bench_ops.run(**options, json={str(tmp_path)!r} + f"/{{op}}.json") == 0
"""
    told = run_blocked(code, TRITON_INTERPRET="1")
    assert "fused is Triton's interpreter" in told
    for op in ("temporal_block", "mmoe_gates"):
        assert (tmp_path / f"{op}.json").stat().st_size > 1000
        assert "fused forward_backward: host" in (tmp_path / f"{op}.log").read_text()
    for way in ("chosen", "one_pass", "two_pass", "library_products", "library"):
        assert f"float32 {way} weight: " in (tmp_path / "temporal_block.log").read_text()
