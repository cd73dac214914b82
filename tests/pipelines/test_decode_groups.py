"""Micro-batches are joined and taken apart again in order, whatever the number that is decoded as one."""

import pytest
import torch

from tarpon.pipelines.decode_groups import DECODERS, DecodeGroups, choose_group_size

WORK = [[1, 2], [3, 4], [5], [6, 7], [8, 9], [10]]
GIB = 2**30


@pytest.mark.parametrize("size", range(1, 9))
def test_parts_come_back_as_they_were(size):
    groups = DecodeGroups(size)
    joined = list(groups.join(WORK))
    assert [item for group in joined for item in group] == list(range(1, 11))
    assert len(joined) == -(-len(WORK) // size)
    outputs = [{"item": torch.tensor(group), "square": torch.tensor(group) ** 2} for group in joined]
    parts = [part for out in outputs for part in groups.split(out)]
    assert [part["item"].tolist() for part in parts] == WORK
    assert [part["square"].tolist() for part in parts] == [[item**2 for item in items] for items in WORK]


def test_parts_are_views():
    groups = DecodeGroups(3)
    (joined,) = groups.join([[0, 1], [2, 3]])
    outputs = {"item": torch.tensor(joined)}
    parts = list(groups.split(outputs))
    outputs["item"] += 10
    assert [part["item"].tolist() for part in parts] == [[10, 11], [12, 13]]


def test_parts_start_where_kernels_want_them():
    groups = DecodeGroups(3)
    (joined,) = groups.join([[0, 1], [2, 3], [4, 5]])
    valid = torch.arange(len(joined) * 5, dtype=torch.uint8).reshape(len(joined), 5)
    parts = [part["valid"] for part in groups.split({"valid": valid})]
    assert all(part.data_ptr() % 16 == 0 for part in parts)
    assert torch.equal(torch.cat(parts), valid)


def test_work_is_read_a_group_at_a_time():
    taken = []
    work = (taken.append(items) or items for items in WORK)
    joined = DecodeGroups(2).join(work)
    next(joined)
    assert len(taken) == 2


def test_no_work_is_no_group():
    assert list(DecodeGroups(4).join([])) == []


def test_a_cpu_decodes_what_it_is_asked_for():
    assert choose_group_size(0, batch=2, sample_bytes=1, memory_bytes=None) == 1
    assert choose_group_size(3, batch=2, sample_bytes=1, memory_bytes=None) == 3


def test_a_gpu_gives_all_decoders_work_within_its_memory():
    clip = 180 * 224 * 224 * 3 * 4  # bytes: 103 MiB
    assert choose_group_size(0, batch=2, sample_bytes=clip, memory_bytes=80 * GIB) == DECODERS // 2
    assert choose_group_size(0, batch=2, sample_bytes=clip, memory_bytes=16 * GIB) == 2  # 512 MiB hold two batches of 207 MiB
    assert choose_group_size(0, batch=2, sample_bytes=clip, memory_bytes=4 * GIB) == 1
    assert choose_group_size(0, batch=3, sample_bytes=1, memory_bytes=GIB) == 3
    assert choose_group_size(0, batch=64, sample_bytes=1, memory_bytes=GIB) == 1
    assert choose_group_size(5, batch=64, sample_bytes=clip, memory_bytes=GIB) == 5


def test_less_than_none_is_refused():
    with pytest.raises(ValueError, match="decode_batches=-1 must be 0"):
        choose_group_size(-1, batch=1, sample_bytes=1, memory_bytes=None)
