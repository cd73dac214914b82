"""The tests marked gpu are found with the packages that a visit counts on."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ABSENT = ("imagecodecs", "cv2", "albumentations", "wandb")
CODE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]))
"""


@pytest.mark.slow
def test_all_of_them_collect_without_what_is_not_there(quiet_env):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=quiet_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    marked = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()}
    marked -= {str(Path(__file__).relative_to(ROOT))}
    assert len(marked) > 5
    assert marked <= found
