"""What the entry point refuses, in one line and with status 2."""

import json
import shutil
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.train import launch, sink


def refused(capfd, *words: str) -> str:
    """The one line that the entry point says; exit status 2."""
    capfd.readouterr()
    assert launch.main(list(words)) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train/launch.py: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def refuse(capfd, shards, tiny, tmp_path):
    """(options...) -> the line, for a run that is otherwise right."""
    return lambda *options: refused(capfd, "mouse", f"--data={shards}", f"--out={tmp_path / 'out'}", *tiny, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data=nowhere",), "nowhere: no manifest.parquet here"),
        (("--optim.learning=1",), "optim.learning"),
        (("--epochs=x",), "epochs"),
        (("--micro_batch=2", "--global_batch=3"), "global_batch=3 must be a multiple of micro_batch x processes = 2 x 1"),
        (("--global_batch=6",), "5 training rows cannot fill one step of global_batch=6"),
        (("--resume=true",), "no such checkpoint"),
        (("--model.backbone.name=nonesuch",), "unknown backbone 'nonesuch'"),
        (("--deepspeed_config=nowhere.json",), "nowhere.json: cannot be read"),
        (("--deepspeed_config", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--optim.lr=1e30", "--global_batch=2", "--optim.clip_norm=0", "--freeze_backbone_epochs=0"), "non-finite loss"),
    ],
)
def test_mistakes_are_one_line_and_status_2(refuse, options, said):
    assert said in refuse(*options)


def test_an_unknown_task_is_answered_with_the_known(capfd):
    assert "task 'mose' must be one of cells, fish, mouse" in refused(capfd, "mose", "--data=d")
    assert "'(none)'" in refused(capfd)


def test_weights_that_cannot_be_had_name_the_three_choices(refuse, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    said = refuse(
        "--model.backbone.name=vit_tiny_patch16_224", "--model.backbone.pretrained=true", "--model.backbone.image_size=224"
    )
    assert all(choice in said for choice in ("pretrained: true", "weights: FILE", "pretrained: false"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 999}, "schema version 999"),
        ({"kind": "fish"}, "holds fish data, mouse is needed"),
        (None, "no manifest.parquet here"),
    ],
)
def test_shards_of_another_kind_or_version(refuse, shards, tmp_path, change, said):
    other = tmp_path / "other"
    other.mkdir()
    if change is not None:
        shutil.copytree(shards, other, dirs_exist_ok=True)
        card = json.loads((other / "dataset.json").read_text())
        (other / "dataset.json").write_text(json.dumps(card | change))
    assert said in refuse(f"--data={other}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU decodes H.264")
def test_h264_shards_on_a_cpu_are_refused(refuse, resplit, shards, tmp_path):
    out = resplit(shards, tmp_path / "h264", ["train"] * 5 + ["val", "test"])
    table = pq.read_table(out / "manifest.parquet")
    codec = pa.array(["h264"] * len(table), table.schema.field("codec").type)
    pq.write_table(table.set_column(table.column_names.index("codec"), "codec", codec), out / "manifest.parquet")
    assert "h264" in refuse(f"--data={out}")


def test_a_folder_that_holds_a_run_is_not_overwritten(refuse, whole, shards, resplit, tmp_path):
    held = [path for path in whole.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in held}
    assert "holds a run already" in refuse(f"--out={whole}")
    assert "other seed (123, now 5)" in refuse(f"--out={whole}", "--resume=true", "--seed=5", "--global_batch=2")
    other = tmp_path / "fewer"
    resplit(shards, other, ["train"] * 4 + ["val", "val", "test"])
    assert "other data" in refuse(f"--out={whole}", "--resume=true", f"--data={other}", "--global_batch=2")
    assert {path: path.stat().st_mtime_ns for path in held} == before


def test_a_spoilt_checkpoint_is_one_line(refuse, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    for path in (tmp_path / "copy" / "checkpoints").glob("last*"):
        path.write_bytes(path.read_bytes()[:1000])
    assert "not a readable checkpoint" in refuse(f"--out={tmp_path / 'copy'}", "--resume=true", "--global_batch=2")


def test_data_without_a_test_split_train_and_without_a_val_split_do_not(refuse, run, shards, resplit, tmp_path):
    none = resplit(shards, tmp_path / "none", ["train"] * 6 + ["val"])
    out = run("out", f"--data={none}", "--global_batch=2", "--steps=1")
    assert "test" not in json.loads((out / "metrics.json").read_text())
    no_val = resplit(shards, tmp_path / "no_val", ["train"] * 6 + ["test"])
    assert "no labelled val frames" in refuse(f"--data={no_val}", f"--out={tmp_path / 'never'}")


def test_a_full_disk_is_told_in_one_line_and_the_same_command_goes_on(shards, tiny, small_disk, capfd, monkeypatch):
    """It fills at the second step; TensorBoard's thread, which meets that too, is silent."""
    small_disk.mount("size=3m")
    out, filler, write = small_disk.folder / "run", small_disk.folder / "filler", sink.JsonLines.write

    def fill_the_disk(self, step: int, *args: object, **named: object) -> None:
        write(self, step, *args, **named)
        if step == 2:
            with open(filler, "wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4096)):
                    pass

    monkeypatch.setattr(sink.JsonLines, "write", fill_the_disk)
    words = ["mouse", f"--data={shards}", f"--out={out}", *tiny, "--epochs=3", "--save_every=1"]
    assert launch.main(words) == 2
    monkeypatch.undo()
    said = [line for line in capfd.readouterr().err.splitlines() if "No space left" in line or "Traceback" in line]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "goes on from the" in said[0]
    assert str(out) in said[0]
    filler.unlink()
    small_disk.mount("size=64m")
    assert launch.main(words) == 0
    assert "resume    from step" in capfd.readouterr().out
