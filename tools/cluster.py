"""Work on a cluster: an address of a dask.distributed scheduler, or SLURM, as an executor for packing and features."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager

EXTRA = "it needs the package {package}: pip install 'tarpon[cluster]'"
CONNECT_S = 30.0  # for a scheduler to answer
RETRIES = 2  # of a job whose worker is gone, by the scheduler
SLURM = "slurm"


class SameFolder(Executor):
    """Runs jobs in the folder that this process is in: relative paths mean the same on the workers."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._folder = executor, os.getcwd()

    def submit(self, function: Callable, /, *words: object, **options: object) -> Future:
        return self._executor.submit(call_in, self._folder, function, *words, **options)


def call_in(folder: str, function: Callable, *words: object, **options: object) -> object:
    """function(...) in a folder, which the workers must see as this machine does."""
    os.chdir(folder)
    return function(*words, **options)


@contextmanager
def open_cluster(cluster: str, *, workers: int) -> Iterator[Executor]:
    """An executor on a cluster.

    Args:
        cluster: tcp://HOST:PORT of a scheduler, or "slurm", which starts `workers` jobs, each with what
            ~/.config/dask/jobqueue.yaml says of a job (cores, memory, walltime, queue, account).
        workers: of SLURM.

    Raises:
        ValueError: in one line: no such package, nobody answers, no worker is there.
    """
    try:
        import distributed
    except ImportError as error:
        raise ValueError(f"cluster={cluster}: {EXTRA.format(package='distributed')}") from error
    if cluster == SLURM:
        with _start_slurm(workers) as started, distributed.Client(started) as client:
            yield SameFolder(client.get_executor(pure=False, retries=RETRIES))
        return
    if "://" not in cluster:
        raise ValueError(f"cluster={cluster}: give a scheduler's address such as tcp://scheduler:8786, or {SLURM}")
    try:
        client = distributed.Client(cluster, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ValueError(f"cluster={cluster}: no scheduler answers there ({' '.join(str(error).split())[:200]})") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise ValueError(f"cluster={cluster}: the scheduler has no workers; start some with: dask worker {cluster}")
        yield SameFolder(client.get_executor(pure=False, retries=RETRIES))


@contextmanager
def _start_slurm(workers: int) -> Iterator[object]:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ValueError(f"cluster={SLURM}: {EXTRA.format(package='dask-jobqueue')}") from error
    try:
        cluster = SLURMCluster()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cluster={SLURM}: {' '.join(str(error).split())[:200]}; say what a job gets in ~/.config/dask/jobqueue.yaml "
            f"(docs/scale.md)"
        ) from error
    with cluster:
        cluster.scale(jobs=workers)
        yield cluster
