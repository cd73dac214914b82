"""Part `train`: how fast a training goes, from shards and on a resident batch; freezing in bf16; a stop and a resume.

The steps are those that the tasks bring (`GpuChecks.train_steps`).
"""

import sys

from tarpon.tools.gpu.checks import load_checks
from tarpon.tools.gpu.step_runner import Step, main

PART = "train"


def steps() -> list[Step]:
    return [step for checks in load_checks().values() for step in checks.train_steps()]


if __name__ == "__main__":
    sys.exit(main(PART, steps(), sys.argv[1:]))
