"""What Arrow reads is no Python object."""

import pyarrow as pa

from tarpon.shards.arrow_input import open_bytes


def test_the_bytes_are_arrows_own():
    content = bytes(range(256)) * 4
    before = pa.total_allocated_bytes()
    file = open_bytes(content)
    assert pa.total_allocated_bytes() - before >= len(content)
    assert file.read() == content
    assert open_bytes(b"").read() == b""
