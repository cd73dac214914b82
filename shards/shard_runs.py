"""Runs shard jobs on an executor: what fails is tried once more, then named, and all others finish."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from tarpon.shards.quarantine import format_reason, is_machine_fault

NAMED = 3  # failed shards that the message names


class Job(Protocol):
    """One shard to make."""

    name: str


def run_jobs(
    jobs: Sequence[Job],
    make: Callable[[Job], object],
    *,
    workers: int,
    executor: Executor | None,
    done: Callable[[Job], None] = lambda job: None,
    noun: str = "shards",
) -> None:
    """make(job) for each job, in other processes.

    Args:
        make: a module-level function.
        workers: processes, unless an executor is given.
        executor: any concurrent.futures Executor, e.g. a cluster's; None: new processes.
        done: called with each job that was made. noun: what the jobs make, many.

    Raises:
        ValueError: some could not be made in two tries; names them. All others are made.
        OSError: the machine is at fault: where there is no room at once, for the others would fail too; where no second try
            could write, after these.
    """
    with _first_pool(min(workers, len(jobs)), executor) as pool:
        failed = _run(jobs, lambda job: pool.submit(make, job), done=done, most=None if executor else workers)
    if again := [job for job, _ in failed]:
        with _second_pool(min(workers, len(again)), executor) as submit:
            failed = _run(again, lambda job: submit(make, job), done=done, most=None if executor else workers)
    if failed:
        errors = [error for _, error in failed]
        if len(failed) == len(again) and all(isinstance(error, OSError) and error.errno for error in errors):
            raise errors[0]  # of the place that is written to: gone, or not ours
        named = "; ".join(f"{job.name} ({_describe(error)})" for job, error in failed[:NAMED])
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise ValueError(
            f"{len(failed)} of {len(jobs)} {noun} could not be made in two tries: {named}{more}; the others are done: the same "
            f"command makes what is left"
        ) from errors[0]


def _run(
    jobs: Sequence[Job], submit: Callable[[Job], Future], *, done: Callable[[Job], None], most: int | None
) -> list[tuple[Job, BaseException]]:
    """What failed, in the order of the jobs, and how.

    most: jobs handed in at a time, None: all. A pool cannot take back what it has queued: an interrupt would wait for it.
    """
    running: dict[Future, Job] = {}
    failed: dict[str, BaseException] = {}
    ended: SimpleQueue[Future] = SimpleQueue()
    waiting = deque(jobs)
    try:
        while waiting or running:
            while waiting and len(running) < (most or len(jobs)):
                try:
                    future = submit(waiting[0])
                except RuntimeError as error:  # the pool broke while jobs were still being handed in
                    failed |= {job.name: error for job in waiting}
                    waiting.clear()
                    break
                running[future] = waiting.popleft()
                future.add_done_callback(ended.put)
            if not running:
                break
            future = ended.get()
            job, error = running.pop(future), _error_of(future)
            if is_machine_fault(error):
                raise error
            if error is None:
                done(job)
            else:
                failed[job.name] = error
    finally:  # after an error what has begun ends, with its drafts, before the error is told
        for future in running:
            future.cancel()
        wait(running)
    return [(job, failed[job.name]) for job in jobs if job.name in failed]


def _error_of(future: Future) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:  # by a cluster that lost it
        return error


def _describe(error: BaseException) -> str:
    return format_reason(error) if isinstance(error, Exception) else type(error).__name__


def _spawned(workers: int) -> ProcessPoolExecutor:
    # fork is unsafe once codecs or threads have started
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def _first_pool(workers: int, executor: Executor | None) -> Iterator[Executor]:
    if executor is not None:
        yield executor
        return
    pool = _spawned(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _second_pool(workers: int, executor: Executor | None) -> Iterator[Callable[..., Future]]:
    """Of new processes each job gets one of its own: one that dies of its job takes no other with it."""
    if executor is not None:
        yield executor.submit
        return
    with ThreadPoolExecutor(workers) as threads:
        yield lambda make, job: threads.submit(_make_alone, make, job)


def _make_alone(make: Callable[[Job], object], job: Job) -> object:
    with _spawned(1) as pool:
        return pool.submit(make, job).result()
