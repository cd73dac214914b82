"""The launcher above this process. Imports little: it is looked for before PyTorch is imported, which can take a minute."""

import functools

import psutil

LAUNCHERS = ("deepspeed", "torchrun", "torch.distributed")  # in the first words of a launcher's command line


@functools.cache
def launchers() -> tuple[tuple[int, float], ...]:
    """The launcher that started this process and those that started it: (process id, when it was started) of each."""
    found, process = [], psutil.Process().parent()
    while process is not None:
        try:
            program, *words = process.cmdline()
            # a shell whose command line names deepspeed may end before it, after nohup or ssh, and means nothing by it
            named = any(name in word for word in words[:4] for name in LAUNCHERS)
            if not named or not program.rpartition("/")[2].startswith("python"):
                break
            found.append((process.pid, process.create_time()))
            process = process.parent()
        except (psutil.Error, ValueError):
            break
    return tuple(found)


def alive(processes: tuple[tuple[int, float], ...]) -> bool:
    """Whether all of them run; a process id that was given to another program since does not count."""
    for number, begun in processes:
        try:
            process = psutil.Process(number)
            if process.create_time() != begun or process.status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.Error:
            return False
    return True
