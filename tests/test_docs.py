"""The documentation: pages made from the program, the notebook, what is promised to others' tools."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tarpon.tools import notebook, option_pages
from tarpon.tools.cli import COMMANDS
from tarpon.train.option import Option
from tarpon.train.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GENERATED = "reference/"


class SiteLoader(yaml.SafeLoader):
    """MkDocs' file holds tags of its own."""


def list_pages(entry: object) -> list[str]:
    """The pages of a `nav`, whatever its depth."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in list_pages(part)]


def test_every_page_is_on_the_site():
    listed = list_pages(yaml.load((DOCS / "site" / "mkdocs.yml").read_text(), SiteLoader)["nav"])
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {page for page in listed if not page.startswith(GENERATED)} == {p for p in there if not p.startswith(GENERATED)}
    made = {"commands", *(f"train-{name}" for name in TASKS)}
    assert {Path(page).stem for page in listed if page.startswith(GENERATED)} == made


@pytest.mark.parametrize("task", TASKS)
def test_training_page_shows_every_option_with_its_default(task):
    page = option_pages.make_training_page(task)
    rows = dict(re.findall(r"^\| `--([\w.]+)` \| .+ \| .+ \| (.+?) \|$", page, re.MULTILINE))
    recipe = TASKS[task].recipe()
    assert rows["data"] == option_pages.NEEDED
    assert rows["epochs"] == f"`{recipe.run.epochs}`"
    assert rows["optim.lr"] == f"`{recipe.run.optim.lr:g}`"
    assert len(rows) > 60
    assert not re.search(r"\| *\|", page), "an option without a sentence"


def test_commands_page_shows_every_command(monkeypatch):
    few = {name: COMMANDS[name] for name in ("pack mouse", "lint", "doctor")}
    monkeypatch.setattr(option_pages, "COMMANDS", few)
    page = option_pages.make_commands_page()
    assert re.findall(r"^## tarpon (.*)$", page, re.MULTILINE) == list(few)
    assert "tarpon lint SHARDS [" in page
    assert re.search(r"^tarpon pack mouse .*--out OUT \[", page, re.MULTILINE)


def test_a_cell_holds_what_a_table_would_break_on():
    option = Option(name="kind", kind=str, default="", sentence="a | b\nof <class>", section="")
    assert option_pages.make_table([option]).splitlines()[-1] == '| `--kind` | a \\| b of &lt;class> | text | `""` |'


def test_the_notebook_is_the_page():
    page = (DOCS / "python.md").read_text()
    assert (DOCS / "python.ipynb").read_text() == notebook.make_notebook(page), "python -m tarpon.tools.notebook ..."
    cells = json.loads(notebook.make_notebook(page))["cells"]
    ran = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert ran == [block.strip() for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert not any("```python" in "".join(cell["source"]) for cell in cells)


def test_the_type_marker_is_packaged_with_every_layer(tmp_path):
    ask = [sys.executable, "setup.py", "-q", "build", f"--build-base={tmp_path}/base", f"--build-lib={tmp_path}/lib"]
    subprocess.run(ask, cwd=ROOT, check=True, capture_output=True)
    markers = {path.parent.name for path in (tmp_path / "lib" / "tarpon").rglob("py.typed")}
    assert markers == {"shards", "pipelines", "models", "train", "tools"}


def test_files_of_other_tools_are_whole():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r"^version = (.*)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)[1]
    assert cited["version"] == version
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)
    assert f"## {version}" in (DOCS / "CHANGELOG.md").read_text()
    conda = yaml.safe_load((ROOT / "docker" / "environment.yml").read_text())
    (by_pip,) = (part["pip"] for part in conda["dependencies"] if isinstance(part, dict))
    asked = re.findall(r"\.\.(?:\[(.*?)\]|/(\S+))", " ".join(by_pip))
    extras = re.findall(r"^(\w+) =", (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2], re.MULTILINE)
    assert all(set(names.split(",")) <= set(extras) if names else (ROOT / path).is_file() for names, path in asked)
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())
