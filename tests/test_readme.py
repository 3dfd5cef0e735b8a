"""The README and the docs: every command exists, every link leads somewhere, the description in it is valid."""

import re
import tomllib
from pathlib import Path

import pytest

from common.config import load, parse, setting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_the_description_is_valid() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert parse(tomllib.loads(text), "README").name == "mine"


def test_every_psreval_run_names_a_description_that_is_there() -> None:
    for command in re.findall(r"psreval run(?: (experiments/\S+\.toml))?((?: --set \S+)*)", README):
        changes = dict(setting(text) for text in re.findall(r"--set (\S+)", command[1]))
        load(ROOT / (command[0] or "experiments/demo.toml"), changes)


def test_the_test_command_is_what_ci_runs() -> None:
    assert "make test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_nothing_names_the_place_where_it_was_made() -> None:
    for path in [*PAGES, *ROOT.glob("*/*.py"), *ROOT.glob("*/*.toml"), ROOT / "Makefile", ROOT / "pyproject.toml"]:
        if path.parent.name != "tests":
            assert "/work/" not in path.read_text(encoding="utf-8"), path
