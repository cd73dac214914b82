"""The camera's bits, by the brightest pixel."""

from tarpon.shards.camera import find_depth


def test_a_camera_s_bits():
    found = [find_depth(greatest) for greatest in (0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535)]
    assert found == [8, 8, 10, 10, 12, 12, 14, 14, 16, 16]
