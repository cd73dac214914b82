"""A checkpoint is loaded as it was saved or refused by name; a full disk leaves the one before."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from tarpon.shards import atomic
from tarpon.train import checkpoint
from tarpon.train.checkpoint import load_tensors, save_tensors
from tarpon.train.tensor_checksum import checksum

META = {"step": 3}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(20, 7, generator=generator),
        "half": torch.randn(9, generator=generator).to(torch.bfloat16),
        "count": torch.tensor(5),
        "none": torch.zeros(0, 4),
        "flag": torch.tensor([True, False]),
    }


def refused(path: Path) -> bool:
    """The file is refused in one line that names it."""
    try:
        load_tensors(path)
    except ValueError as error:
        return str(path) in str(error) and "\n" not in str(error)
    return False


def test_every_bit_of_a_checkpoint_counts(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors(), META)
    loaded, meta = load_tensors(path)
    assert meta == META
    assert all(torch.equal(loaded[name], value) for name, value in tensors().items())
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        assert refused(path) or checksum(*load_tensors(path)) == checksum(tensors(), META), place  # a blank may be another
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a readable checkpoint"):
            load_tensors(path)


def test_the_sum_tells_names_kinds_and_shapes_apart():
    one = checksum({"a": torch.zeros(4)}, {})
    others = [
        checksum({"b": torch.zeros(4)}, {}),
        checksum({"a": torch.zeros(2, 2)}, {}),
        checksum({"a": torch.zeros(4, dtype=torch.int32)}, {}),
        checksum({"a": torch.zeros(4)}, {"step": 1}),
    ]
    assert len({one, *others}) == 5
    assert checksum({"x": torch.ones(1), "y": torch.zeros(1)}, {}) == checksum({"y": torch.zeros(1), "x": torch.ones(1)}, {})


def test_files_without_a_sum_load_as_before(tmp_path):
    from safetensors.torch import save_file

    save_file(tensors(), tmp_path / "old.safetensors", metadata={"tarpon": "{}"})
    assert load_tensors(tmp_path / "old.safetensors")[1] == {}


@pytest.mark.parametrize("where", ["save", "fsync", "replace"])
def test_a_disk_that_fills_at_any_point_leaves_the_checkpoint_before(tmp_path, monkeypatch, where):
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors(), META)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(held, draft, metadata):
        Path(draft).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    if where == "save":
        monkeypatch.setattr(checkpoint, "save_file", half)
    else:
        monkeypatch.setattr(atomic.os, where, full)
    with pytest.raises(OSError, match="No space left") as told:
        save_tensors(path, {"weight": torch.ones(3)}, {"step": 4})
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == before


def test_a_full_disk_leaves_nothing_half_written(small_disk):
    path = small_disk.folder / "a.safetensors"
    save_tensors(path, tensors(), META)
    with pytest.raises(OSError, match=r"No space left|not saved"):
        save_tensors(path, {"weight": torch.zeros(2**19)}, {"step": 4})
    assert [file.name for file in small_disk.folder.iterdir()] == ["a.safetensors"]
    assert load_tensors(path)[1] == META
