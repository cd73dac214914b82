"""The machines of a hostfile, and whether DeepSpeed can start a training on them from here: told before it tries."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tarpon.shards.side_by_side import call_each

ANSWER_S = 10  # that ssh waits for a machine
AT_ONCE = 32  # machines asked at a time
NAMED = 3  # machines that a message names
SEE = "or start one launcher on each machine, which needs no ssh: torchrun or SLURM (docs/scale.md, Several machines)"


def read_hosts(path: Path) -> dict[str, int]:
    """Machine -> processes, in the order of the file: lines `HOST slots=GPUS`, as DeepSpeed reads them.

    Raises:
        ValueError: no such file, or a line that is none of these.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"hostfile={path}: {getattr(error, 'strerror', None) or 'no text'}") from error
    hosts: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        found = re.match(r"(\S+)\s+slots=(\d+)", line)
        if not found or int(found[2]) < 1:
            raise ValueError(f"{path}:{number}: {line!r} must be HOST slots=GPUS, as in gpu01 slots=4")
        if found[1] in hosts:
            raise ValueError(f"{path}:{number}: {found[1]} stands in an earlier line; give each machine once")
        hosts[found[1]] = int(found[2])
    if not hosts:
        raise ValueError(f"{path}: names no machine; a line each: HOST slots=GPUS")
    return hosts


def check_reach(hosts: Mapping[str, int]) -> None:
    """ValueError where DeepSpeed cannot start processes on these machines, with what to do.

    Several are started on by pdsh, over ssh without a password; one alone it asks over ssh too.
    """
    for program, needed in (("ssh", True), ("pdsh", len(hosts) > 1)):
        if needed and shutil.which(program) is None:
            raise ValueError(
                f"a hostfile needs {program}, which is not on this machine: apt-get install "
                f"{'openssh-client' if program == 'ssh' else program}, {SEE}"
            )
    answers = dict(zip(hosts, call_each(ask, hosts, threads=AT_ONCE), strict=True))
    if silent := {host: why for host, why in answers.items() if why}:
        told = "; ".join(f"{host} ({why})" for host, why in list(silent.items())[:NAMED])
        more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
        raise ValueError(
            f"{len(silent)} of {len(hosts)} machines are not reached by ssh without a password: {told}{more}; copy your key "
            f"there (ssh-copy-id HOST) until `ssh HOST true` is silent, {SEE}"
        )


def ask(host: str) -> str:
    """Why a machine is not reached by ssh without a password; "" where it is."""
    words, limit = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={ANSWER_S}", host, "true"], 3 * ANSWER_S
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {limit} s"
    return (" ".join(done.stderr.split())[-120:] or f"exit status {done.returncode}") if done.returncode else ""
