"""Which folder a run gets, and whether it goes on with what is there."""

import subprocess
import sys

import pytest

from tarpon.train import lock
from tarpon.train.config import Run
from tarpon.train.lock import Lock
from tarpon.train.resume import choose_run

TEXT = "seed: 1\nout: x\nresume: auto\noptim:\n  lr: 0.1\nloader:\n  threads: 2\n"


@pytest.fixture
def folder(tmp_path):
    """(saved=, finished=, text=) -> a run folder as a training left it."""

    def make(name: str = "run", *, saved: bool = True, finished: bool = False, text: str = TEXT):
        out = tmp_path / name
        (out / "checkpoints").mkdir(parents=True)
        (out / "run.yaml").write_text(text)
        (out / "metrics.jsonl").write_text('{"step": 1}\n')
        if saved:
            (out / "checkpoints" / "last.safetensors").write_bytes(b"x")
        if finished:
            (out / "metrics.json").write_text("{}")
        return out

    return make


def choose(out, *, resume="auto", name=None, text=TEXT):
    return choose_run(Run(data="d", out=str(out), resume=resume), name=name, text=text)


def test_a_new_folder_is_begun_and_not_made(tmp_path):
    run, said = choose(tmp_path / "new")
    assert (run.resume, said) == (False, ())
    assert not (tmp_path / "new").exists()


def test_a_run_of_the_same_options_goes_on(folder):
    assert choose(folder())[0].resume is True
    other = TEXT.replace("threads: 2", "threads: 8").replace("out: x", "out: y")  # change nothing of what is learnt
    assert choose(folder("b"), text=other)[0].resume is True


@pytest.mark.parametrize("resume", ["auto", False])
def test_a_start_that_saved_nothing_is_begun_again(folder, resume):
    run, said = choose(folder(saved=False), resume=resume)
    assert run.resume is False
    assert "saved nothing" in said[0]


def test_other_options_are_refused_by_name_or_told(folder):
    out, text = folder(), TEXT.replace("0.1", "0.2")
    with pytest.raises(ValueError, match=r"holds a run already, of other options: optim\.lr=0\.2 \(was 0\.1\)"):
        choose(out, text=text)
    run, said = choose(out, text=text, resume=True)
    assert run.resume is True
    assert "optim.lr=0.2 (was 0.1)" in said[0]


def test_a_finished_run_and_one_that_may_not_be_gone_on_with_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="holds a run already, finished"):
        choose(folder(finished=True))
    with pytest.raises(ValueError, match="go on with --resume true"):
        choose(folder("b"), resume=False)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "metrics.jsonl").write_text("theirs")
    with pytest.raises(ValueError, match="no run of Tarpon wrote"):
        choose(tmp_path / "theirs")


def test_of_named_folders_the_newest_unfinished_of_the_same_options_goes_on(folder, tmp_path):
    folder("m_20260101_000000")
    newest = folder("m_20260102_000000")
    folder("m_20260103_000000", finished=True)
    folder("m_20260104_000000", text=TEXT.replace("seed: 1", "seed: 2"))
    run, _ = choose(tmp_path, name="m")
    assert (run.out, run.resume) == (str(newest), True)
    run, _ = choose(tmp_path, name="m", resume=False)
    assert run.resume is False
    assert run.out not in {str(path) for path in tmp_path.iterdir()}


def test_two_starts_into_one_folder_are_refused_and_a_killed_one_holds_nothing(folder):
    out = folder()
    code = (
        "import sys, time; from pathlib import Path; from tarpon.train.lock import Lock; "
        "lock = Lock(); lock.take(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert lock.is_held(out)
    with pytest.raises(ValueError, match=rf"a training is going on in it \(process {holder.pid} on "):
        choose(out)
    holder.kill()
    holder.communicate()
    assert not lock.is_held(out)
    mine = Lock()
    mine.take(out)
    mine.release()
