"""What the documents promise is there: links, commands, options, licences."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from vultus.cli.main import _COMMANDS
from vultus.model.catalog import known_models

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_readme_names_every_model_and_only_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for card in known_models():
        assert f"| `{card.name}` |" in text
        assert card.licence in text
    for command in re.findall(r"^vultus (\w+)", text, re.MULTILINE):
        assert command in _COMMANDS


def test_readme_python_compiles_and_is_short():
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    compile(code, "README.md", "exec")
    assert len([line for line in code.splitlines() if line]) <= 10


@pytest.mark.parametrize("drawing", sorted((ROOT / "docs/images").glob("*.svg")), ids=lambda path: path.name)
def test_drawings_are_well_formed(drawing):
    ElementTree.parse(drawing)


def test_every_shipped_file_has_a_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    listed = (ROOT / "src/vultus/assets/SHA256SUMS").read_text(encoding="utf-8")
    for line in listed.splitlines():
        name = line.split("  ", 1)[1]
        assert name in notice or f"{Path(name).parent.as_posix()}/\n" in notice, name


def test_one_set_of_commands_for_everyone():
    """pre-commit and CI run the same make targets, and CONTRIBUTING names three commands."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: make --no-print-directory (\w+)", hooks) == ["lint", "test"]
    assert re.search(r"^check: lint test$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    steps = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.findall(r"^make --no-print-directory (\w+)", steps, re.MULTILINE) == ["lint", "test"]
    block = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    assert len(block.strip().splitlines()) == 3
