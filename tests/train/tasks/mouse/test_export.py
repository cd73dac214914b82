"""Files that are no checkpoint of the mouse task are refused in one line."""

import pytest
import torch

from tarpon.train.tasks.mouse import export as mouse_export


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "not a checkpoint"), (b"text, no zip", "not a checkpoint"), (None, "no such checkpoint")]
)
def test_a_file_of_something_else(tmp_path, content, said):
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        mouse_export.load(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_program(tmp_path):
    torch.save({"model_state_dict": {}, "classes": []}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="lacks args, kp_names"):
        mouse_export.load(tmp_path / "x.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"not a checkpoint|lacks"):
        mouse_export.load(tmp_path / "list.pt")


def test_code_in_a_file_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    torch.save({"model_state_dict": Bomb()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        mouse_export.load(tmp_path / "x.pt")
    assert not (tmp_path / "boom").exists()
