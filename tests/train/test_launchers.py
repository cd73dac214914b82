"""Ranks as each launcher tells them."""

import pytest

from tarpon.train.launchers import LaunchedRank, choose_gpu, first_node, read_launched

SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_STEP_NODELIST": "gpu[03-05,09]",
    "SLURM_JOB_ID": "77",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "head",
    "MASTER_PORT": "29500",
}
DEEPSPEED = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_WORLD_SIZE"} | {"LOCAL_SIZE": "2"}
OUTSIDE = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77"}


@pytest.mark.parametrize(
    ("env", "ranks", "address"),
    [
        (TORCHRUN, (3, 4, 1, 2), "head"),
        (DEEPSPEED, (3, 4, 1, 2), "head"),
        (SRUN, (5, 7, 1, 2), "gpu03"),
        (OPEN_MPI, (1, 2, 1, 2), "127.0.0.1"),
        (SRUN | TORCHRUN, (3, 4, 1, 2), "head"),  # torchrun started by srun
        (OPEN_MPI | DEEPSPEED, (3, 4, 1, 2), "head"),
    ],
)
def test_every_launcher_tells_the_place(env, ranks, address):
    launched = read_launched(env)
    assert (launched.rank, launched.world, launched.local_rank, launched.local_world) == ranks
    assert launched.address == address


@pytest.mark.parametrize(
    "env",
    [
        {},
        OUTSIDE,  # a batch script
        OUTSIDE | {"SLURM_STEP_ID": "4294967290"},  # an interactive shell
        {"WORLD_SIZE": "1"},
    ],
)
def test_nobody_s_process_stands_alone(env):
    assert read_launched(env) is None


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PMI_SIZE": "4", "PMI_RANK": "1"}, "PMI_SIZE=4: one of several processes"),
        ({"MV2_COMM_WORLD_SIZE": "2"}, "MV2_COMM_WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2"),
        ({"RANK": "0"}, "RANK=0 is set, but WORLD_SIZE is not"),
        ({"RANK": "x"}, "RANK='x' must be a whole number"),
        (TORCHRUN | {"RANK": "4"}, "rank 4 of 4"),
        (DEEPSPEED | {"LOCAL_SIZE": "1"}, "on this machine 1 of 1"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "4"}, "set MASTER_ADDR"),
    ],
)
def test_several_processes_that_would_each_stand_alone_are_refused_in_one_line(env, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_launched(env)
    assert "start with" in str(caught.value) or "MASTER_ADDR" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_processes_of_a_job_make_the_same_port_and_two_jobs_two():
    def port(**change: str) -> int:
        return read_launched(SRUN | change).port

    assert port() == port(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0")
    assert port() != port(SLURM_JOB_ID="78")
    assert isinstance(read_launched(OPEN_MPI), LaunchedRank)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("gpu[03-05,09],x", "gpu03"), ("a[1]-ib,b", "a1-ib"), ("rack-2n[7,9]", "rack-2n7")],
)
def test_the_first_of_slurm_s_nodes(nodes, first):
    assert first_node(nodes) == first


@pytest.mark.parametrize(("own", "of", "visible", "gpu"), [(3, 4, 4, 3), (3, 4, 1, 0), (1, 2, 8, 1), (0, 1, 8, 0)])
def test_a_process_takes_its_own_gpu_of_those_it_sees(own, of, visible, gpu):
    assert choose_gpu(place(own, of), visible) == gpu


def test_fewer_gpus_than_processes_is_one_line():
    with pytest.raises(ValueError, match=r"4 processes on this machine see 2 GPUs \(CUDA_VISIBLE_DEVICES\)"):
        choose_gpu(place(0, 4), 2)


def place(local_rank: int, local_world: int) -> LaunchedRank:
    return LaunchedRank(
        rank=local_rank, world=local_world, local_rank=local_rank, local_world=local_world, address="head", port=29500
    )
