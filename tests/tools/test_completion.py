"""Tab completion: the script is one that bash reads, and it offers the commands' own words."""

import shutil
import subprocess

import pytest

from tarpon.tools import cli, completion

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_tarpon
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def offer(tmp_path_factory):
    """(words...) -> what bash offers for the last of them; of a few commands, for making the script loads all there are."""
    kept = {name: cli.COMMANDS[name] for name in ("doctor", "doctor mouse", "pack mouse", "lint", "train", "completion")}
    script = tmp_path_factory.mktemp("completion") / "tarpon.bash"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "COMMANDS", kept)
        import shtab

        script.write_text(shtab.complete(completion.make_parser(), shell="bash"))

    def ask(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK.format(script=script, words=quoted)], capture_output=True, text=True, check=True
        )
        assert not done.stderr
        return set(done.stdout.split())

    return ask


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tarpon", ""), {"doctor", "pack", "lint", "train", "completion"}),
        (("tarpon", "pack", ""), {"mouse"}),
        (("tarpon", "pack", "mouse", "--ou"), {"--out"}),
        (("tarpon", "doctor", "mouse", "--ou"), set()),  # it writes nothing
        (("tarpon", "doctor", "--bu"), {"--build"}),
        (("tarpon", "train", ""), {"mouse", "fish", "cells", "star"}),
        (("tarpon", "train", "mouse", "--schedule.kind", "c"), {"cosine", "constant"}),
        (("tarpon", "train", "fish", "--model.arch"), {"--model.architecture"}),
        (("tarpon", "completion", ""), {"bash", "zsh", "tcsh"}),
    ],
)
def test_bash_offers_the_commands_own_words(offer, words, offered):
    assert offer(*words) == offered


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_too(shell, monkeypatch, capsys):
    monkeypatch.setattr(cli, "COMMANDS", {name: cli.COMMANDS[name] for name in ("lint", "train", "completion")})
    assert completion.run(shell) == 0
    assert "tarpon" in capsys.readouterr().out
