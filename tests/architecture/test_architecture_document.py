"""ARCHITECTURE.md tells the truth: each section of the RFC has a place, each place exists, each module is named."""

from __future__ import annotations

import re

from tests.support.modules import ENGINE, ROOT, modules
from tests.support.requirements import requirement_ids, section_of

DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")

# A row of the table: "| 12.2 | what | `mls/epoch/validation.py`, `…` |"; several sections may share one.
ROW = re.compile(r"^\| (?P<sections>[0-9A-D][0-9A-D., ]*?) \|.*\| (?P<places>[^|]+) \|$", re.MULTILINE)
PLACE = re.compile(r"`(?P<path>[A-Za-z0-9_./-]+)`(?P<planned> \(planned\))?")
NAMED_ANYWHERE = re.compile(r"`((?:treekem|mls)/[a-z0-9_/]*(?:\.py)?)`(?P<planned> \(planned\))?")


def sections_in_table() -> set[str]:
    return {section.strip() for row in ROW.finditer(DOCUMENT) for section in row["sections"].split(",")}


def test_every_section_with_requirements_has_a_place() -> None:
    required = {section_of(rule) for rule in requirement_ids()}
    assert required - sections_in_table() == set()


def test_every_section_in_the_table_exists() -> None:
    known = {section_of(rule) for rule in requirement_ids()}
    assert sections_in_table() - known == set()


def test_every_row_names_a_place() -> None:
    empty = [row["sections"] for row in ROW.finditer(DOCUMENT) if not PLACE.search(row["places"])]
    assert empty == []


def test_every_place_in_the_table_exists() -> None:
    named = {
        place["path"]: bool(place["planned"])
        for row in ROW.finditer(DOCUMENT)
        for place in PLACE.finditer(row["places"])
    }
    missing = [path for path, is_planned in named.items() if not is_planned and not (ROOT / path).exists()]
    assert missing == []


def test_every_module_named_anywhere_exists() -> None:
    missing = [
        place[1]
        for place in NAMED_ANYWHERE.finditer(DOCUMENT)
        if not place["planned"] and not (ROOT / place[1]).exists()
    ]
    assert missing == []


def test_a_module_that_exists_is_not_called_planned() -> None:
    overtaken = [
        place["path"] for place in PLACE.finditer(DOCUMENT) if place["planned"] and (ROOT / place["path"]).exists()
    ]
    assert overtaken == []


def test_every_module_is_named() -> None:
    paths = [module.path.removesuffix("__init__.py") for module in modules(*ENGINE)]
    assert [path for path in paths if f"`{path}`" not in DOCUMENT] == []
