"""How many frames a video shows, counted without decoding it."""

from pathlib import Path

import av


def count_frames(path: Path) -> int:
    """Packets of the picture that are shown: one a frame in the containers and codecs that labs have.

    Frames that an edit list cuts off are not counted. Where the file ends before its header says, the header's number is
    given: it is that of the video that was tracked. ValueError where the file holds no video.
    """
    shown = read = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("holds no video")
            declared = container.streams.video[0].frames
            try:
                for packet in container.demux(video=0):
                    if packet.size:
                        read += 1
                        shown += not packet.is_discard
            except av.error.FFmpegError:
                pass  # cut off: the header says how long it was
    except av.error.FFmpegError as error:
        raise ValueError(f"does not open as a video ({error})") from error
    return max(shown, declared) if read < declared else shown
