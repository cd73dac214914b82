"""Writes samples to WebDataset tars of bounded size: in parallel, resumable, every file atomically.

A shard is made by one process from a fixed list of source units: `<shard>.tar`, DALI's `<shard>.idx`, and last
`parts/<shard>.parquet`, whose existence (with the right fingerprint) means that the shard is done. The manifest is assembled
from all parts.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tarpon.shards import atomic
from tarpon.shards.arrow_input import open_bytes
from tarpon.shards.decode_threads import decoding_on_one_thread
from tarpon.shards.progress import Progress
from tarpon.shards.quarantine import Fault, contain
from tarpon.shards.schema import Sample, Schema
from tarpon.shards.shard_runs import run_jobs
from tarpon.shards.store import NotThere, Store

Make = Callable[[object], Iterable[Sample | Fault]]
Ready = Callable[[Sequence], AbstractContextManager[Iterable]]
PARTS = "parts"  # of an unfinished set: what was made of it
DUPLICATE_KEY = "another sample has the key {key}: names that differ only in signs that a key may not hold; rename one"


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One tar to make."""

    name: str  # without extension
    units: tuple  # arguments of `make`, in order; see source.Unit
    make: Make  # a module-level function: it travels to other processes
    schema: Schema
    out: str  # folder or URL
    settings: str  # JSON of all options that determine the content
    ready: Ready = nullcontext  # as of source.Source
    excluded: tuple[tuple[str, str], ...] = ()  # keys of samples that are left out, with the reason: duplicates, copies
    single: bool = False  # decode on one thread: other processes have the other cores

    def fingerprint(self) -> str:
        """Hash of settings, units and what is left out: of all that determines the shard."""
        parts = [self.settings, *(unit.fingerprint() for unit in self.units), *map(str, self.excluded)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def part(self) -> str:
        """Name of the Parquet file of the shard's rows, written last."""
        return f"{PARTS}/{self.name}.parquet"

    def tar(self) -> str:
        """Name of the shard's tar."""
        return f"{self.name}.tar"

    def open_part(self) -> pq.ParquetFile:
        """The shard's rows; NotThere where it is not done."""
        return pq.ParquetFile(open_bytes(Store(self.out).read(self.part())))

    def is_done(self) -> bool:
        """True when the shard exists as this job would make it."""
        try:
            meta, size = self.open_part().schema_arrow.metadata or {}, Store(self.out).size(self.tar())
        except NotThere:
            return False
        wanted = {b"fingerprint": self.fingerprint().encode(), b"bytes": str(size).encode()}
        return all(meta.get(name) == value for name, value in wanted.items())


def write_shards(jobs: Sequence[ShardJob], *, workers: int, executor: Executor | None = None, progress: bool = True) -> None:
    """Make every shard that is not done yet.

    Args:
        workers: processes, unless an executor is given.
        executor: any concurrent.futures Executor, e.g. a cluster's; None: a pool of new processes.

    Raises:
        ValueError, OSError: as `run_jobs`.
    """
    if (folder := Store(jobs[0].out).folder) is not None:
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
        _remove_drafts(folder)
    todo = [job for job in jobs if not job.is_done()]
    total = sum(unit.size() for job in jobs for unit in job.units)
    ready = total - sum(unit.size() for job in todo for unit in job.units)
    with Progress(total, what="pack", unit="frames", done=ready, shown=progress) as bar:
        if not todo:
            return

        def count(job: ShardJob) -> None:
            bar.update(sum(unit.size() for unit in job.units))

        run_jobs(todo, write_shard, workers=workers, executor=executor, done=count)
    if folder is not None:
        _remove_drafts(folder)  # of a cluster's worker that was killed, whose shard another one made


def _remove_drafts(folder: Path) -> None:
    for held in (folder, folder / PARTS):
        atomic.remove_drafts(held)


def write_shard(job: ShardJob) -> str:
    """Make one shard (tar, DALI index, part); returns its name."""
    import webdataset  # takes seconds, which a command with all shards done should not wait for

    out = Store(job.out)
    faults, rows, digests, held, excluded = [], [], [], set(), dict(job.excluded)
    with out.replace(job.tar()) as draft:
        with (
            decoding_on_one_thread(job.single),
            open(draft, "wb") as stream,
            webdataset.TarWriter(stream, encoder=False, mtime=0, user="tarpon", group="tarpon") as tar,
            job.ready(job.units) as units,
        ):
            for unit in units:
                for item in contain(unit.name(), job.make(unit)):
                    if isinstance(item, Fault):
                        faults.append(item)
                        continue
                    if item.key in excluded or item.key in held:
                        reason = excluded.get(item.key) or DUPLICATE_KEY.format(key=item.key)
                        fault = Fault(file=str(item.row["source"]), reason=reason)
                        faults += [] if fault in faults else [fault]  # a stack that is a copy is one fault, not one a page
                        continue
                    held.add(item.key)
                    tar.write({"__key__": item.key, **item.files})
                    rows.append({"key": item.key, "shard": f"{job.name}.tar", "split": "", **item.row})
                    digests.append({name: hashlib.sha256(content).hexdigest() for name, content in item.files.items()})
        places = index_tar(draft)
        size, tar_sum = draft.stat().st_size, _hash_file(draft)
    for row, digest in zip(rows, digests, strict=True):
        for component in job.schema.components:
            offset, length = places[row["key"]].get(component.name, (0, 0))
            row |= {
                f"{component.column}_offset": offset,
                f"{component.column}_size": length,
                f"{component.column}_sha256": digest.get(component.name, ""),
            }
    out.write(f"{job.name}.idx", format_dali_index(places).encode())
    meta = {
        "fingerprint": job.fingerprint(),
        "bytes": str(size),
        "sha256": tar_sum,
        "faults": json.dumps([asdict(fault) for fault in faults]),
    }
    with out.replace(job.part()) as draft:
        pq.write_table(pa.Table.from_pylist(rows, schema=job.schema.arrow()).replace_schema_metadata(meta), draft)
    return job.name


def read_parts(jobs: Sequence[ShardJob]) -> tuple[pa.Table, list[Fault]]:
    """Rows of all shards in shard order, and all faults, sorted."""
    tables, faults = [], []
    for job in jobs:
        table = job.open_part().read()
        faults += [Fault(**fault) for fault in json.loads(table.schema.metadata[b"faults"])]
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables), sorted(faults, key=str)


def read_tar_sums(jobs: Sequence[ShardJob]) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-256 of every tar; those of an unfinished packing of an earlier version have none."""
    metas = {job.tar(): job.open_part().schema_arrow.metadata for job in jobs}
    return {name: (int(meta[b"bytes"]), meta[b"sha256"].decode()) for name, meta in metas.items() if b"sha256" in meta}


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def index_tar(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """key -> component -> (byte offset, size) of every sample in a tar."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, name = member.name.partition(".")
            places.setdefault(key, {})[name] = (member.offset_data, member.size)
    return places


def format_dali_index(places: dict[str, dict[str, tuple[int, int]]]) -> str:
    """The text of DALI's WebDataset index, version 1.2: extension, offset, size and name of each file, one line a sample."""
    lines = [
        " ".join(f"{name} {offset} {size} {key}.{name}" for name, (offset, size) in files.items())
        for key, files in places.items()
    ]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
