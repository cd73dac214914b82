"""Samples into bounded WebDataset tars, in parallel, resumable, every file whole or absent.

A shard is made by one process from a fixed list of source units: `<shard>.tar`, DALI's `<shard>.idx`, and last
`parts/<shard>.parquet`, whose existence (with the right fingerprint) says the shard is done. The manifest is made
from the parts when all are there.
"""

import hashlib
import json
import multiprocessing
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tarpon.shards import atomic
from tarpon.shards.quarantine import Fault, contain
from tarpon.shards.schema import Sample, Schema

Make = Callable[[object], Iterable[Sample | Fault]]
TWICE = "another sample has the key {key}: names that differ only in signs that a key may not hold; rename one"


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One tar to make."""

    name: str  # without extension
    units: tuple  # what `make` is called with, in order; each with a `name()`, a `fingerprint()` and a `size()`
    make: Make  # a module-level function: it travels to other processes
    schema: Schema
    out: str
    settings: str  # JSON of everything that shapes the content
    taken: tuple[str, ...] = ()  # keys that samples of other shards have: not to be stored here

    def fingerprint(self) -> str:
        parts = [self.settings, *(unit.fingerprint() for unit in self.units), *self.taken]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def part(self) -> Path:
        return Path(self.out) / "parts" / f"{self.name}.parquet"

    def tar(self) -> Path:
        return Path(self.out) / f"{self.name}.tar"

    def done(self) -> bool:
        """True when the shard stands as this job would make it."""
        part, tar = self.part(), self.tar()
        if not (part.exists() and tar.exists()):
            return False
        meta = pq.read_schema(part).metadata or {}
        wanted = {b"fingerprint": self.fingerprint().encode(), b"bytes": str(tar.stat().st_size).encode()}
        return all(meta.get(name) == value for name, value in wanted.items())


def write_shards(jobs: Sequence[ShardJob], *, workers: int, executor: Executor | None = None, progress: bool = True) -> None:
    """Make every shard that is not done yet. `executor` may be any concurrent.futures Executor, e.g. a cluster's."""
    out = Path(jobs[0].out)
    (out / "parts").mkdir(parents=True, exist_ok=True)
    atomic.remove_drafts(out)
    atomic.remove_drafts(out / "parts")
    todo = [job for job in jobs if not job.done()]
    total = sum(unit.size() for job in jobs for unit in job.units)
    ready = total - sum(unit.size() for job in todo for unit in job.units)
    with tqdm(total=total, initial=ready, unit="frame", unit_scale=True, desc="pack", disable=not progress) as bar:
        if not todo:
            return
        spawn = multiprocessing.get_context("spawn")  # fork is unsafe once codecs or threads have started
        pool = executor or ProcessPoolExecutor(min(workers, len(todo)), mp_context=spawn)
        try:
            futures = {pool.submit(write_shard, job): job for job in todo}
            for future in as_completed(futures):
                future.result()
                bar.update(sum(unit.size() for unit in futures[future].units))
        finally:
            if executor is None:
                pool.shutdown(cancel_futures=True)


def write_shard(job: ShardJob) -> str:
    """Make one shard; returns its name. Leaves the tar, its DALI index and its part, or nothing."""
    import webdataset  # seconds to import, which every worker would pay before it knows that its shard is done

    faults, rows, digests, held = [], [], [], set(job.taken)
    with atomic.replacing(job.tar()) as draft:
        with (
            open(draft, "wb") as stream,
            webdataset.TarWriter(stream, encoder=False, mtime=0, user="tarpon", group="tarpon") as tar,
        ):
            for unit in job.units:
                for item in contain(unit.name(), job.make(unit)):
                    if isinstance(item, Fault):
                        faults.append(item)
                        continue
                    if item.key in held:
                        faults.append(Fault(file=str(item.row["source"]), reason=TWICE.format(key=item.key)))
                        continue
                    held.add(item.key)
                    tar.write({"__key__": item.key, **item.files})
                    rows.append({"key": item.key, "shard": f"{job.name}.tar", "split": "", **item.row})
                    digests.append({name: hashlib.sha256(content).hexdigest() for name, content in item.files.items()})
        places = tar_places(draft)
        size = draft.stat().st_size
    for row, digest in zip(rows, digests, strict=True):
        for component in job.schema.components:
            offset, length = places[row["key"]].get(component.name, (0, 0))
            row |= {
                f"{component.column}_offset": offset,
                f"{component.column}_size": length,
                f"{component.column}_sha256": digest.get(component.name, ""),
            }
    atomic.write_text(job.tar().with_suffix(".idx"), dali_index(places))
    meta = {"fingerprint": job.fingerprint(), "bytes": str(size), "faults": json.dumps([asdict(fault) for fault in faults])}
    with atomic.replacing(job.part()) as draft:
        pq.write_table(pa.Table.from_pylist(rows, schema=job.schema.arrow()).replace_schema_metadata(meta), draft)
    return job.name


def read_parts(jobs: Sequence[ShardJob]) -> tuple[pa.Table, list[Fault]]:
    """All shards' rows in shard order, and all faults."""
    tables, faults = [], []
    for job in jobs:
        table = pq.read_table(job.part())
        faults += [Fault(**fault) for fault in json.loads(table.schema.metadata[b"faults"])]
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables), sorted(faults, key=str)


def tar_places(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """key -> component -> (byte offset, size) of every sample in a tar."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, name = member.name.partition(".")
            places.setdefault(key, {})[name] = (member.offset_data, member.size)
    return places


def dali_index(places: dict[str, dict[str, tuple[int, int]]]) -> str:
    """The text of DALI's WebDataset index, version 1.2: extension, offset, size and name of each file, a line a sample."""
    lines = [
        " ".join(f"{name} {offset} {size} {key}.{name}" for name, (offset, size) in files.items())
        for key, files in places.items()
    ]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
