"""Tars: what other programs read in them is what was written."""

import tarfile
from pathlib import Path

import numpy as np
import webdataset

from tarpon.shards.writer import format_dali_index, index_tar


def expected(toy, number: int) -> dict[str, dict[str, bytes]]:
    return {sample.key: sample.files for sample in toy.make(toy.Unit(number))}


def test_places_are_those_of_the_bytes(toy_shards, toy, tmp_path):
    toy_shards()
    places = index_tar(tmp_path / "toy" / "shard-00000.tar")
    content = (tmp_path / "toy" / "shard-00000.tar").read_bytes()
    for key, files in places.items():
        for name, (offset, size) in files.items():
            assert content[offset : offset + size] == expected(toy, int(key[1:].partition("-")[0]))[key][name]


def test_plain_webdataset_reads_the_tars(toy_shards, toy):
    manifest = toy_shards()
    urls = sorted(str(path) for path in Path(manifest.root).glob("*.tar"))
    seen = []
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        files = {name: content for name, content in sample.items() if not name.startswith("__")}
        assert files == expected(toy, int(sample["__key__"][1:].partition("-")[0]))[sample["__key__"]]
        seen.append(sample["__key__"])
    assert seen == manifest.column("key").tolist()


def test_a_tar_holds_nothing_of_when_and_who(toy_shards, tmp_path):
    toy_shards()
    with tarfile.open(tmp_path / "toy" / "shard-00000.tar") as tar:
        assert {(member.mtime, member.uname, member.uid) for member in tar} == {(0, "tarpon", next(iter(tar)).uid)}


def test_index_by_hand():
    text = format_dali_index({"a": {"x.npy": (512, 10), "y": (1536, 3)}, "b": {"x.npy": (2560, 7)}})
    assert text == "v1.2 2\nx.npy 512 10 a.x.npy y 1536 3 a.y\nx.npy 2560 7 b.x.npy\n"


def test_dali_reads_the_tars_with_our_index(mouse_shards):
    from nvidia.dali import fn, pipeline_def

    root = Path(mouse_shards.root)
    shard = mouse_shards.value(0, "shard")
    rows = np.flatnonzero(mouse_shards.column("shard") == shard)

    @pipeline_def(batch_size=len(rows), num_threads=1, device_id=None)
    def graph():
        return tuple(
            fn.readers.webdataset(
                paths=str(root / shard),
                index_paths=str((root / shard).with_suffix(".idx")),
                ext=["clip.mp4", "keypoints.npy", "meta.json"],
                missing_component_behavior="error",
            )
        )

    pipeline = graph()
    pipeline.build()
    content = (root / shard).read_bytes()
    for name, output in zip(("clip", "keypoints", "meta"), pipeline.run(), strict=True):
        for place, row in enumerate(rows):
            offset, size = mouse_shards.value(row, f"{name}_offset"), mouse_shards.value(row, f"{name}_size")
            assert np.asarray(output.at(place)).tobytes() == content[offset : offset + size]
