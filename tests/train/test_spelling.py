"""Other names for options, on the command line and in files."""

import pytest
import yaml

from tarpon.train.config import parse, parser_for
from tarpon.train.launch import flat
from tarpon.train.spelling import translate_options
from tarpon.train.tasks import TASKS
from tarpon.train.tasks.mouse.record import MOUSE
from tarpon.train.usage import UsageError

NAMES = {
    "rate": ("optim.lr",),
    "size": ("a", "b"),
    "use_it": ("it.on",),
    "shares": ("loss.weights",),
    "net": ("net.name",),
    "exact": ("kind=fp32",),
}
REFUSED = {"gone": "say it when packing"}
IDLE = {"where": lambda value: "" if value == "here" else "only here"}


def given(*words: str) -> list[str]:
    return translate_options(words, NAMES, REFUSED, idle=IDLE)


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (("--rate", "1e-3", "--c", "2"), ["--optim.lr=1e-3", "--c", "2"]),
        (("--rate=1e-3",), ["--optim.lr=1e-3"]),
        (("--size", "4"), ["--a=4", "--b=4"]),
        (("--use_it", "--c=1"), ["--it.on=true", "--c=1"]),
        (("--c=1", "--use_it"), ["--c=1", "--it.on=true"]),
        (("--use_it", "false"), ["--it.on=false"]),
        (("--rate", "1", "-2", ".5", "--c"), ["--optim.lr=[1, -2, .5]", "--c"]),
        (("--use-it",), ["--it.on=true"]),
        (("rate", "--optim.lr=2"), ["rate", "--optim.lr=2"]),
        (("--shares", "1.0,0.5,.5,1e-1"), ["--loss.weights=[1.0,0.5,.5,1e-1]"]),
        (("--shares=1, 0.5",), ["--loss.weights=[1, 0.5]"]),
        (("--shares", "1", "0.5"), ["--loss.weights=[1, 0.5]"]),
        (("--loss.weights", "1,0.5", "--c"), ["--loss.weights=[1,0.5]", "--c"]),
        (("--loss.weights=1,2",), ["--loss.weights=[1,2]"]),
        (("--out", "a,b"), ["--out", "a,b"]),
        (("--net", "tiny-2"), ["--net.name=tiny-2"]),
        (("--net", "{name: tiny}"), ["--net", "{name: tiny}"]),
        (("--net=own.yaml",), ["--net=own.yaml"]),
        (("--exact", "--c"), ["--kind=fp32", "--c"]),
        (("--exact=false",), []),
        (("--where", "here", "--c"), ["--c"]),
    ],
)
def test_command_lines(words, want):
    assert given(*words) == want


def test_what_nothing_takes_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="gone is no option of training: say it when packing"):
        given("--gone", "3")
    path = tmp_path / "c.yaml"
    path.write_text("gone: 3\n")
    with pytest.raises(UsageError, match=r"c\.yaml: gone is no option"):
        given("--config", str(path))


def test_what_is_done_anyway_may_be_asked_for_and_not_contradicted(tmp_path):
    with pytest.raises(UsageError, match="where=there: only here"):
        given("--where=there")
    path = tmp_path / "c.yaml"
    path.write_text("where: there\n")
    with pytest.raises(UsageError, match=r"c\.yaml: where=there: only here"):
        given("--config", str(path))
    path.write_text("where: here\nc: 1\n")
    (word,) = given("--config", str(path))
    assert yaml.safe_load(word.removeprefix("--config=")) == {"c": 1}


def test_sections_of_ours_in_files_stay_and_a_value_in_their_place_is_theirs(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("net:\n  name: own\n")
    assert given("--config", str(path)) == [f"--config={path}"]
    path.write_text("net: theirs\nshares: 1.0,0.5\nexact: true\n")
    (word,) = given("--config", str(path))
    held = yaml.safe_load(word.removeprefix("--config="))
    assert held == {"net": {"name": "theirs"}, "loss": {"weights": [1.0, 0.5]}, "kind": "fp32"}


def test_files(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("rate: 0.5\noptim:\n  beta1: 0.8\nsize: 3\n")
    (word,) = given("--config", str(path))
    assert yaml.safe_load(word.removeprefix("--config=")) == {"optim": {"beta1": 0.8, "lr": 0.5}, "a": 3, "b": 3}
    path.write_text("optim:\n  lr: 0.5\n")
    assert given(f"--config={path}") == [f"--config={path}"]
    path.write_text("rate: 0.5\noptim:\n  lr: 0.6\n")
    with pytest.raises(UsageError, match=r"also sets to 0\.6; give it once"):
        given("--config", str(path))
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read"):
        given("--config", "nowhere.yaml")


def mouse(*words: str):
    parser = parser_for(MOUSE.options, recipe=MOUSE.recipe(), task="mouse")
    return parse(parser, MOUSE.options, translate_options(["--data=d", *words], MOUSE.spellings, MOUSE.refused))[:2]


@pytest.mark.parametrize("spelling", [("--scheduler", "--early_stop_patience"), ("--lr_schedule", "--early_stopping_patience")])
def test_both_guides_spellings_of_the_mouse_task(spelling):
    run, _ = mouse(spelling[0], "plateau", spelling[1], "7")
    assert (run.schedule.kind, run.early_stop_patience) == ("plateau", 7)


def test_the_published_command_line_sets_what_it_says(tmp_path):
    path = tmp_path / "guide.yaml"
    path.write_text("lr: 1e-4\nfocal_gamma: 2.0\nlr_schedule: plateau\nearly_stopping_patience: 9\nuse_ema: true\n")
    words = "--batch_size 4 --train_T 180 --kp_jitter_std 0.01 --hidden_dim 128 --tcn_layers 4 --use_ema --ema_decay 0.99"
    run, options = mouse(*words.split(), "--config", str(path))
    assert (run.micro_batch, run.global_batch, run.ema.enabled, run.ema.decay) == (4, 4, True, 0.99)
    assert (run.optim.lr, run.schedule.kind, run.early_stop_patience) == (1e-4, "plateau", 9)
    assert (options.window.train_frames, options.augment.jitter_sd, options.loss.focal_gamma) == (180, 0.01, 2.0)
    assert (options.model.hidden, options.model.layers) == (128, 4)


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.spellings])
def test_every_spelling_names_an_option_and_no_name_is_both_taken_and_refused(task):
    _, _, text = parse(
        parser_for(TASKS[task].options, recipe=TASKS[task].recipe(), task=task), TASKS[task].options, ["--data=d"]
    )
    known = set(flat(yaml.safe_load(text)))
    assert {ours.partition("=")[0] for names in TASKS[task].spellings.values() for ours in names} <= known
    assert not TASKS[task].spellings.keys() & (TASKS[task].refused.keys() | TASKS[task].idle.keys())
