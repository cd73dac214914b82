"""Part `tests`: the tests marked gpu, each result written when it is known."""

import os
import sys
from pathlib import Path

from tarpon.tools.gpu.journal import Journal
from tarpon.tools.gpu.step_runner import DEVICE_LOST, Rows, Step, Visit, device_is_lost, main

PART = "tests"
ROOT = Path(__file__).resolve().parents[2]  # of the checkout: the tests are no part of the package
SMALL = "tests/test_layers.py"  # on a CPU, where none of the marked ones can run
FAILURE_CHARS = 3000  # last characters of a failure that its row holds


def steps() -> list[Step]:
    return [Step(name="tests", make=run_tests, seconds=150, resumes=True)]


class Results:
    """A plugin of pytest: a row for every test's begin and end; what is over is not run again."""

    def __init__(self, journal: Journal, visit: Visit) -> None:
        self._journal, self._visit, self.failed, self.passed = journal, visit, 0, 0

    def pytest_collection_modifyitems(self, config, items: list) -> None:
        left = [item for item in items if not self._journal.is_over(item.nodeid)]
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        self._journal.write("begin", nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        if not (report.when == "call" or report.failed or (report.when == "setup" and report.skipped)):
            return
        self.failed += report.failed
        self.passed += report.passed
        message = report.longreprtext[-FAILURE_CHARS:] if report.failed or report.skipped else ""
        ok = None if report.skipped else report.passed
        seconds = round(report.duration, 2)
        self._journal.write("step", report.nodeid, ok=ok, outcome=report.outcome, seconds=seconds, said=message)
        if report.failed and device_is_lost():
            os._exit(DEVICE_LOST)  # the remaining tests go on in another process

    def pytest_runtest_teardown(self, item) -> None:
        if self._visit.seconds_left() < 0:
            item.session.shouldstop = "the time is over"


def run_tests(visit: Visit) -> Rows:
    import pytest

    if not (ROOT / "tests").is_dir():
        raise FileNotFoundError(f"no tests beside {ROOT / 'tools'}: run it from a checkout")
    results = Results(Journal(visit.out, PART, since=visit.since), visit)
    chosen = ["-m", "gpu", str(ROOT / "tests")] if visit.gpu else ["-m", "not gpu and not slow", str(ROOT / SMALL)]
    words = ["-v", "-ra", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    status = pytest.main([*words, *chosen], plugins=[results])
    message = f"{results.passed} passed, {results.failed} failed, status {int(status)}"
    yield {"kind": "check", "name": "gpu tests", "ok": status == 0 and results.passed > 0, "said": message}


if __name__ == "__main__":
    sys.exit(main(PART, steps(), sys.argv[1:]))
