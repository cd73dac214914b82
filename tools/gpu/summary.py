"""What the parts wrote, of one visit or of several, as one record and one Markdown file."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tarpon.shards import atomic
from tarpon.tools.gpu.journal import read
from tarpon.tools.gpu.parts import PARTS

PLAIN = ("begin", "step")  # kinds that are bookkeeping
SHOWN_CELL = 160  # characters


def collected(folders: Iterable[Path]) -> dict:
    """{"gpu": name or None, "machine": ..., "steps": [...], "rows": [...]}, of every step the `best` attempt."""
    rows = [row for folder in folders for path in sorted(folder.rglob("*.jsonl")) if path.stem in PARTS for row in read(path)]
    rows.sort(key=lambda row: row["at"])
    attempts: dict[tuple[str, str], list[list[dict]]] = {}
    for row in rows:
        step = row["name"] if row["kind"] in PLAIN else row.get("step", row["name"])
        tries = attempts.setdefault((row["part"], step), [])
        if row["kind"] == "begin" or not tries:
            tries.append([])
        tries[-1].append(row)
    chosen = [best(tries) for tries in attempts.values()]
    kept = sorted((row for attempt in chosen for row in attempt), key=lambda row: (list(PARTS).index(row["part"]), row["at"]))
    facts = {row["name"]: row["value"] for row in kept if row["kind"] == "fact"}
    machine = facts.get("machine") or {}
    steps = [row for row in kept if row["kind"] == "step"]
    found = [row for row in kept if row["kind"] not in PLAIN]
    return {"gpu": machine.get("gpu"), "machine": machine, "steps": steps, "rows": found}


def best(tries: Sequence[list[dict]]) -> list[dict]:
    """The last attempt that went well, else the last one."""
    good = [rows for rows in tries if any(row["kind"] == "step" and row["ok"] is not False for row in rows)]
    return (good or tries)[-1]


def write(told: dict, out: Path) -> Path:
    """`out`/<gpu>.json and .md; returns the first."""
    out.mkdir(parents=True, exist_ok=True)
    place = out / f"{file_name(told['gpu'] or 'cpu')}.json"
    atomic.write_text(place, json.dumps(told, indent=1) + "\n")
    atomic.write_text(place.with_suffix(".md"), "\n".join(markdown(told)) + "\n")
    return place


def file_name(gpu: str) -> str:
    """ "NVIDIA H200" -> "nvidia_h200"."""
    return re.sub(r"[^a-z0-9]+", "_", gpu.lower()).strip("_")


def markdown(told: dict) -> list[str]:
    """Lines of Markdown: what was not well first, then figures by kind."""
    where = told["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items())
    lines = [f"# {told['gpu'] or where.get('cpu', 'unknown machine')}", ""]
    if where:
        lines += [f"`tarpon gpu` on {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB; {versions}.", ""]
    bad = [step for step in told["steps"] if step["ok"] is False]
    said = {kind: [(r["name"], mark(r), r["said"]) for r in told["rows"] if r["kind"] == kind] for kind in ("check", "decodes")}
    lines += [f"{len(told['steps'])} steps and tests, {len(bad)} not well.", ""]
    sections = [
        ("Not well", ("part", "step", "what"), [(s["part"], s["name"], s["said"]) for s in bad]),
        ("Speed", *speeds(told["rows"])),
        ("Fused operations", *times(told["rows"])),
        ("Against float64", *exacts(told["rows"])),
        ("Checks", ("what", "", "said"), said["check"]),
        ("Decoders", ("clip", "decoded", "said"), said["decodes"]),
        ("Steps", ("part", "step", "", "seconds"), [(s["part"], s["name"], mark(s), s["seconds"]) for s in told["steps"]]),
    ]  # fmt: skip
    for title, head, rows in sections:
        if rows:
            lines += [f"## {title}", "", *grid(head, rows), ""]
    return lines


def mark(row: dict) -> str:
    if row.get("decoded") is False:
        return "no"
    return {True: "ok", False: "failed", None: "skipped"}[row["ok"]]


def speeds(rows: Sequence[dict]) -> tuple[tuple, list]:
    head = ("what", "per second", "unit", "of resident", "waiting", "decoders, %")
    told = []
    for row in (row for row in rows if row["kind"] == "speed"):
        shares = (f"{row[key]:.2f}" if key in row else "" for key in ("of_resident", "wait_share"))
        told.append((row["name"], f"{row['per_second']:.1f}", row["unit"], *shares, row.get("decoder_use", "")))
    return head, told


def times(rows: Sequence[dict]) -> tuple[tuple, list]:
    """Every way beside eager, judged by the graph's time where there is one."""
    timed = [row for row in rows if row["kind"] == "time"]
    eager = {(r["op"], str(r["shape"]), r["pass"]): r["ms"] for r in timed if r["way"] == "eager"}
    told = []
    for row in timed:
        base = eager.get((row["op"], str(row["shape"]), row["pass"]))
        figures = [number(row.get(key), 4) for key in ("host_ms", "graph_ms", "ceiling_ms")]
        over = number(base / row["ms"] if base and row["ms"] else None, 2)
        told.append(
            (row["op"], "x".join(map(str, row["shape"])), row["way"], row["pass"], *figures, over, row.get("error", ""))
        )
    return ("operation", "shape", "way", "pass", "host ms", "graph ms", "ceiling ms", "x eager", "error"), told


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def exacts(rows: Sequence[dict]) -> tuple[tuple, list]:
    """Of every operation the value that comes nearest to what is allowed, or passes it; and everything that is not ok."""
    exact = [row for row in rows if row["kind"] == "exact"]
    worst = {}
    for row in exact:
        share = float("inf") if row["discrepancy"] is None else row["discrepancy"] / row["tolerance"]
        worst[row["op"]] = max(worst.get(row["op"], (share, row)), (share, row), key=lambda each: each[0])
    shown = [row for _, row in worst.values()]
    shown += [row for row in exact if not row["ok"] and row not in shown]
    counts = {op: sum(row["op"] == op for row in exact) for op in worst}
    return ("worst of all values", "of", "", "discrepancy", "allowed", "error"), [
        (row["name"], counts[row["op"]], mark(row), told(row["discrepancy"]), told(row["tolerance"]), row["error"])
        for row in shown
    ]


def told(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(one_cell(cell) for cell in line)} |" for line in (head, ["---"] * len(head), *rows)]


def one_cell(value: object) -> str:
    return " ".join(str("" if value is None else value).replace("|", "/").split())[:SHOWN_CELL]
