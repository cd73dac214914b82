"""Which process this is of how many: read from the variables of the launcher that started it."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

HOW = (
    "start with `deepspeed train/launch.py TASK ...`, torchrun, srun or Open MPI's mpirun, or set RANK, WORLD_SIZE, "
    "LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT for every process"
)
PORTS = (20000, 20000)  # the first, and how many: jobs of one machine should not meet on one port
NO_STEP = 4294967290  # SLURM numbers the batch script and an interactive shell from here on: they are not tasks of an srun


@dataclass(frozen=True, kw_only=True)
class LaunchedRank:
    """One process among those that train together."""

    rank: int
    world: int
    local_rank: int  # among those of this machine
    local_world: int
    address: str  # of rank 0's machine
    port: int


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a launcher calls these numbers; the first name that is set counts."""

    launcher: str
    rank: str
    world: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_world: tuple[str, ...]


LAUNCHERS = (  # the first whose rank is set: deepspeed and torchrun may themselves be started by srun or mpirun
    Names(
        launcher="deepspeed or torchrun",
        rank="RANK",
        world=("WORLD_SIZE",),
        local_rank=("LOCAL_RANK",),
        local_world=("LOCAL_WORLD_SIZE", "LOCAL_SIZE"),  # torchrun's, DeepSpeed's
    ),
    Names(
        launcher="mpirun",
        rank="OMPI_COMM_WORLD_RANK",
        world=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_world=("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    Names(
        launcher="srun",
        rank="SLURM_PROCID",
        world=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=("SLURM_LOCALID",),
        local_world=("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
    ),
)
CROWDS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE", "MV2_COMM_WORLD_SIZE")


def read_launched(env: Mapping[str, str]) -> LaunchedRank | None:
    """This process among those that a launcher started; None when no launcher started it.

    Raises:
        ValueError: it is one of several, but which is not told.
    """
    for names in LAUNCHERS:
        if names.rank in env and not (names.launcher == "srun" and not _is_srun(env)):
            return _read_numbers(names, env)
    for name in CROWDS:
        if _number(env, name) > 1:
            raise ValueError(f"{name}={env[name]}: one of several processes, but of none is told which it is; {HOW}")
    return None


def read_rank(env: Mapping[str, str]) -> int:
    """The rank alone, without a check: who of several says what is wrong."""
    return next((_number(env, names.rank) for names in LAUNCHERS if names.rank in env), 0)


def _read_numbers(names: Names, env: Mapping[str, str]) -> LaunchedRank:
    rank, world = _number(env, names.rank), _first(env, names.world, names=names)
    local_rank = _first(env, names.local_rank, names=names)
    if names.launcher == "srun":
        counts = _per_node(next((env[name] for name in names.local_world if name in env), ""))
        node = _number(env, "SLURM_NODEID")
        local_world = counts[node] if node < len(counts) else world
    else:
        local_world = _first(env, names.local_world, names=names, default=world)
    if not (0 <= rank < world and 0 <= local_rank < local_world <= world):
        raise ValueError(
            f"{names.launcher}: rank {rank} of {world}, on this machine {local_rank} of {local_world}: these numbers of the "
            f"environment contradict each other; {HOW}"
        )
    return LaunchedRank(
        rank=rank,
        world=world,
        local_rank=local_rank,
        local_world=local_world,
        address=_address(names, env, alone=local_world == world),
        port=_port(env),
    )


def _is_srun(env: Mapping[str, str]) -> bool:
    """Whether a step of srun started this process; a batch script and an interactive shell have a SLURM_PROCID too."""
    return 0 <= _number(env, "SLURM_STEP_ID", default=NO_STEP) < NO_STEP


def _address(names: Names, env: Mapping[str, str], *, alone: bool) -> str:
    if "MASTER_ADDR" in env:
        return env["MASTER_ADDR"]
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or env.get("SLURM_NODELIST")
    if nodes and names.launcher == "srun":
        return first_node(nodes)
    if alone:
        return "127.0.0.1"
    raise ValueError(
        f"{names.launcher} over several machines: which of them rank 0 is on is not told; set MASTER_ADDR to its name "
        f"(mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500 ...)"
    )


def _port(env: Mapping[str, str]) -> int:
    """Rank 0's port: the given one, or one that all processes make of the job's number."""
    if "MASTER_PORT" in env:
        return _number(env, "MASTER_PORT")
    job = next((env[name] for name in ("SLURM_JOB_ID", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid") if name in env), "")
    return PORTS[0] + zlib.crc32(f"{job}.{env.get('SLURM_STEP_ID', '')}".encode()) % PORTS[1]


def choose_gpu(launched: LaunchedRank, visible: int) -> int:
    """The GPU of this process among those that it sees; ValueError where some are too few for the processes.

    A scheduler may show each process its own GPU alone, as number 0, or all of a machine's to each.
    """
    if visible != 1 and visible < launched.local_world:
        raise ValueError(
            f"{launched.local_world} processes on this machine see {visible} GPUs (CUDA_VISIBLE_DEVICES): start as many as "
            f"there are GPUs, or give each process its own"
        )
    return launched.local_rank % visible


def first_node(nodes: str) -> str:
    """SLURM's list of nodes -> the first: "gpu[03-05,9],login" is gpu03."""
    found = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    if not found:
        raise ValueError(f"SLURM_STEP_NODELIST={nodes!r} is no list of nodes; set MASTER_ADDR to the machine of rank 0")
    return "".join(part or "" for part in found.groups())


def _per_node(text: str) -> list[int]:
    """SLURM's "2(x3),1" -> [2, 2, 2, 1]."""
    return [int(n) for n, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text) for _ in range(int(times or 1))]


def _first(env: Mapping[str, str], wanted: tuple[str, ...], *, names: Names, default: int | None = None) -> int:
    for name in wanted:
        if name in env:
            return _number(env, name)
    if default is None:
        raise ValueError(f"{names.rank}={env[names.rank]} is set, but {' or '.join(wanted)} is not; {HOW}")
    return default


def _number(env: Mapping[str, str], name: str, *, default: int = 0) -> int:
    try:
        return int(env.get(name, default))
    except ValueError:
        raise ValueError(f"{name}={env[name]!r} must be a whole number; {HOW}") from None
