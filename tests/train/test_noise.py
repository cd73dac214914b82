"""What libraries say, by every way they have: kept in a file, shown on an error or when asked for. A process each."""

import os
import subprocess
import sys

import pytest

SPEAK = """
import ctypes, logging, os, sys, warnings
from pathlib import Path
from tarpon.train import noise
loud = logging.getLogger("loud")
loud.addHandler(logging.StreamHandler(sys.stderr))
noise.begin()
def speak(way):
    os.write(1, f"below Python {way}\\n".encode())
    warnings.warn(f"a warning {way}")
    loud.warning(f"a logger {way}")
    logging.getLogger("plain").warning(f"a logger of no place {way}")
with noise.taking():
    print("printed within")
    print("our own", file=noise.terminal(), flush=True)
speak("early")
print("our words")
"""
LOUD = ("below Python", "a warning", "a logger", "a logger of no place")


@pytest.fixture
def speak(tmp_path):
    """(code after SPEAK) -> (exit status, output, errors) of a process in a folder `run`."""
    (tmp_path / "run").mkdir()

    def go(code: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", SPEAK + code],
            cwd=tmp_path,
            env=os.environ.copy(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return go


def test_noise_goes_to_the_run_folder_also_what_came_before_it(speak, tmp_path):
    status, out, errors = speak("noise.keep_in(Path('run')); speak('late'); print('more', file=sys.stderr)")
    assert (status, out, errors) == (0, "our own\nour words\n", "more\n")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "printed within" in text
    for way in ("early", "late"):
        assert all(f"{words} {way}" in text for words in LOUD)


def test_what_is_there_already_stays(speak, tmp_path):
    (tmp_path / "run" / "log.txt").write_text("of the part before\n")
    speak("noise.keep_in(Path('run'))")
    assert (tmp_path / "run" / "log.txt").read_text().startswith("of the part before\n")


def test_with_verbose_everything_is_shown(speak):
    status, out, errors = speak("noise.release(); speak('late')")
    assert status == 0
    assert all(f"{words} early" in errors for words in LOUD)
    assert all(f"{words} late" in out + errors for words in LOUD)


@pytest.mark.parametrize("kept", ["", "noise.keep_in(Path('run')); "])
def test_an_error_appears_with_the_last_words(speak, kept):
    status, _, errors = speak(f"{kept}[speak(i) for i in range(50)]; raise RuntimeError('out of luck')")
    assert status == 1
    assert errors.splitlines()[-1] == "RuntimeError: out of luck"
    assert "below Python 49" in errors
    assert "below Python 10\n" not in errors
    assert ("run/log.txt" in errors) == bool(kept)


def test_a_crash_below_python_shows_where(speak, tmp_path):
    status, _, errors = speak("noise.keep_in(Path('run')); speak('late'); os.abort()")
    assert status == -6
    assert "Fatal Python error: Aborted" in errors
    assert "below Python late" in (tmp_path / "run" / "log.txt").read_text()


def test_not_begun_it_takes_nothing(capfd):
    from tarpon.train import noise

    with noise.taking():
        print("printed")
        os.write(1, b"written\n")
    noise.release()
    noise.tell_last_words()
    assert noise.terminal() is sys.stdout
    assert capfd.readouterr() == ("printed\nwritten\n", "")
