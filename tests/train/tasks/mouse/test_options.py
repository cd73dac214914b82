"""Values of the model's options that are refused, in one line that says what is allowed."""

import pytest

from tarpon.train.tasks.mouse.options import ModelOptions


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temporal": "lstm"}, "model.temporal='lstm' must be tcn or transformer"),
        ({"attention_frames": 0}, "attention_frames=0 must be at least 1"),
        ({"refine_stages": -1}, "refine_stages=-1 at least 0"),
        ({"refine_shared": True}, "for 2 refinement stages or more and refine_stages is 0; leave it out"),
        ({"refine_stages": 1, "refine_shared": True}, "refine_stages is 1"),
        ({"temporal": "transformer", "hidden": 10}, "a multiple of its 4 heads .* got hidden=10"),
        ({"temporal": "transformer", "norm": "clip"}, "norm=frame; got hidden=256 and norm=clip"),
    ],
)
def test_mistakes_are_told_in_one_line(given, said):
    with pytest.raises(ValueError, match=said) as caught:
        ModelOptions(**given)
    assert "\n" not in str(caught.value)


def test_the_network_is_the_published_one_unless_asked():
    options = ModelOptions()
    assert (options.temporal, options.refine_stages, options.refine_shared) == ("tcn", 0, False)
    ModelOptions(temporal="transformer", refine_stages=3, refine_shared=True, attention_frames=1)
