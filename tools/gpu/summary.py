"""What the parts wrote, of one visit or of several, as one record and one Markdown file."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tarpon.shards import atomic
from tarpon.tools.gpu.journal import read_rows
from tarpon.tools.gpu.parts import PARTS

BOOKKEEPING = ("begin", "step")  # kinds that are bookkeeping
CELL_CHARS = 160  # characters


def collect(folders: Iterable[Path]) -> dict:
    """{"gpu": name or None, "machine": ..., "steps": [...], "rows": [...]}, of each step the attempt that counts."""
    rows = [
        row for folder in folders for path in sorted(folder.rglob("*.jsonl")) if path.stem in PARTS for row in read_rows(path)
    ]
    rows.sort(key=lambda row: row["at"])
    attempts: dict[tuple[str, str], list[list[dict]]] = {}
    for row in rows:
        step = row["name"] if row["kind"] in BOOKKEEPING else row.get("step", row["name"])
        tries = attempts.setdefault((row["part"], step), [])
        if row["kind"] == "begin" or not tries:
            tries.append([])
        tries[-1].append(row)
    chosen = [choose_attempt(tries) for tries in attempts.values()]
    kept = sorted((row for attempt in chosen for row in attempt), key=lambda row: (list(PARTS).index(row["part"]), row["at"]))
    facts = {row["name"]: row["value"] for row in kept if row["kind"] == "fact"}
    machine = facts.get("machine") or {}
    steps = [row for row in kept if row["kind"] == "step"]
    found = [row for row in kept if row["kind"] not in BOOKKEEPING]
    return {"gpu": machine.get("gpu"), "machine": machine, "steps": steps, "rows": found}


def choose_attempt(tries: Sequence[list[dict]]) -> list[dict]:
    """The last attempt that went well, else the last one."""
    good = [rows for rows in tries if any(row["kind"] == "step" and row["ok"] is not False for row in rows)]
    return (good or tries)[-1]


def write(record: dict, out: Path) -> Path:
    """`out`/<gpu>.json and .md; returns the first."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{file_name(record['gpu'] or 'cpu')}.json"
    atomic.write_text(path, json.dumps(record, indent=1) + "\n")
    atomic.write_text(path.with_suffix(".md"), "\n".join(markdown(record)) + "\n")
    return path


def file_name(gpu: str) -> str:
    """ "NVIDIA H200" -> "nvidia_h200"."""
    return re.sub(r"[^a-z0-9]+", "_", gpu.lower()).strip("_")


def markdown(record: dict) -> list[str]:
    """Lines of Markdown: what was not well first, then figures by kind."""
    where = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items())
    lines = [f"# {record['gpu'] or where.get('cpu', 'unknown machine')}", ""]
    if where:
        lines += [f"`tarpon gpu` on {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB; {versions}.", ""]
    bad = [step for step in record["steps"] if step["ok"] is False]
    said = {
        kind: [(r["name"], status_word(r), r["said"]) for r in record["rows"] if r["kind"] == kind]
        for kind in ("check", "decodes")
    }
    lines += [f"{len(record['steps'])} steps and tests, {len(bad)} not well.", ""]
    steps = [(step["part"], step["name"], status_word(step), step["seconds"]) for step in record["steps"]]
    sections = [
        ("Not well", ("part", "step", "what"), [(s["part"], s["name"], s["said"]) for s in bad]),
        ("Speed", *speed_table(record["rows"])),
        ("Fused operations", *timing_table(record["rows"])),
        ("Against float64", *accuracy_table(record["rows"])),
        ("Checks", ("what", "", "said"), said["check"]),
        ("Decoders", ("clip", "decoded", "said"), said["decodes"]),
        ("Steps", ("part", "step", "", "seconds"), steps),
    ]  # fmt: skip
    for title, head, rows in sections:
        if rows:
            lines += [f"## {title}", "", *markdown_table(head, rows), ""]
    return lines


def status_word(row: dict) -> str:
    if row.get("decoded") is False:
        return "no"
    return {True: "ok", False: "failed", None: "skipped"}[row["ok"]]


def speed_table(rows: Sequence[dict]) -> tuple[tuple, list]:
    head = ("what", "per second", "unit", "of resident", "waiting", "decoders, %")
    lines = []
    for row in (row for row in rows if row["kind"] == "speed"):
        shares = (f"{row[key]:.2f}" if key in row else "" for key in ("of_resident", "wait_share"))
        lines.append((row["name"], f"{row['per_second']:.1f}", row["unit"], *shares, row.get("decoder_use", "")))
    return head, lines


def timing_table(rows: Sequence[dict]) -> tuple[tuple, list]:
    """Every way beside eager, compared by the graph's time where there is one."""
    timed = [row for row in rows if row["kind"] == "time"]
    eager = {(r["op"], str(r["shape"]), r["pass"]): r["ms"] for r in timed if r["way"] == "eager"}
    lines = []
    for row in timed:
        base = eager.get((row["op"], str(row["shape"]), row["pass"]))
        figures = [format_number(row.get(key), 4) for key in ("host_ms", "graph_ms", "ceiling_ms")]
        over = format_number(base / row["ms"] if base and row["ms"] else None, 2)
        lines.append(
            (row["op"], "x".join(map(str, row["shape"])), row["way"], row["pass"], *figures, over, row.get("error", ""))
        )
    return ("operation", "shape", "way", "pass", "host ms", "graph ms", "ceiling ms", "x eager", "error"), lines


def format_number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def accuracy_table(rows: Sequence[dict]) -> tuple[tuple, list]:
    """Of each operation the value with the largest share of its tolerance; and every value that is not ok."""
    exact = [row for row in rows if row["kind"] == "exact"]
    worst = {}
    for row in exact:
        share = float("inf") if row["discrepancy"] is None else row["discrepancy"] / row["tolerance"]
        worst[row["op"]] = max(worst.get(row["op"], (share, row)), (share, row), key=lambda each: each[0])
    shown = [row for _, row in worst.values()]
    shown += [row for row in exact if not row["ok"] and row not in shown]
    counts = {op: sum(row["op"] == op for row in exact) for op in worst}
    return ("worst of all values", "of", "", "discrepancy", "allowed", "error"), [
        (
            row["name"],
            counts[row["op"]],
            status_word(row),
            format_scientific(row["discrepancy"]),
            format_scientific(row["tolerance"]),
            row["error"],
        )
        for row in shown
    ]


def format_scientific(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(format_cell(cell) for cell in line)} |" for line in (head, ["---"] * len(head), *rows)]


def format_cell(value: object) -> str:
    return " ".join(str("" if value is None else value).replace("|", "/").split())[:CELL_CHARS]
