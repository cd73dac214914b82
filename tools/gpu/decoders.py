"""How busy the GPU's video decoders are while something else runs, from nvidia-smi."""

import shutil
import subprocess
from types import TracebackType

QUERY = ["nvidia-smi", "--query-gpu=utilization.decoder,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]


class DecoderMonitor:
    """A context manager; after it, `usage` holds the figures, or the reason why nvidia-smi gave none."""

    def __init__(self) -> None:
        self.usage: dict[str, object] = {"decoder_use": "nvidia-smi is not there"}
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "DecoderMonitor":
        if shutil.which(QUERY[0]):
            self._process = subprocess.Popen(QUERY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is None:
            return
        self._process.terminate()
        printed, _ = self._process.communicate(timeout=10)
        self.usage = parse_usage(printed)


def parse_usage(printed: str) -> dict[str, object]:
    """What nvidia-smi printed -> mean and highest use of the decoders and mean use of the multiprocessors, percent.

    NVML gives the mean over all decoder units.
    """
    pairs = []
    for line in printed.splitlines():
        try:
            decoder, gpu = (float(cell) for cell in line.split(","))
        except ValueError:
            continue
        pairs.append((decoder, gpu))
    if not pairs:
        return {"decoder_use": printed.strip()[:200] or "nvidia-smi printed nothing"}
    decoders, gpus = zip(*pairs, strict=True)
    return {
        "decoder_use": round(sum(decoders) / len(pairs), 1),
        "decoder_most": max(decoders),
        "gpu_use": round(sum(gpus) / len(pairs), 1),
        "looks": len(pairs),
    }
