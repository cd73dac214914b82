"""Keys that WebDataset reads as keys."""

import pytest

from tarpon.shards.schema import Sample, sanitise_key
from tarpon.shards.sources.mouse.source import SCHEMA


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a b", "a\\b"])
def test_a_key_that_would_be_cut_is_refused(key):
    with pytest.raises(ValueError, match="sample key"):
        Sample(key=key, files={}, row={})


def test_safe_key():
    assert sanitise_key("a.b/c d-e_f") == "a_b_c_d-e_f"
    Sample(key=sanitise_key("2023-11-22 mouse 1.v2"), files={}, row={})


def test_every_component_has_its_columns():
    names = SCHEMA.arrow().names
    assert len(names) == len(set(names))
    assert {"clip_offset", "clip_size", "clip_sha256", "keypoints_offset", "meta_sha256"} <= set(names)
