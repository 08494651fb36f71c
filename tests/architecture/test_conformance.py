"""CONFORMANCE.md says what the list of requirements says, and names tests that exist."""

from __future__ import annotations

from mls.rules import requirements
from tests.conformance import DOCUMENT
from tests.support.conformance_document import Record, read, write
from tests.support.modules import functions_of, modules

RECORD = read(DOCUMENT.read_text(encoding="utf-8"))


def test_the_document_is_current() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == write(RECORD), "run: python -m tests.conformance"


def test_the_tests_that_it_names_exist() -> None:
    known = {f"{module.path}::{function.name}" for module in modules("tests") for function in functions_of(module)}
    named = {f"tests/{test}" for tests in RECORD.tests.values() for test in tests or ()}
    assert sorted(named - known) == []


def test_results_survive_being_written() -> None:
    tests: dict[str, list[str] | None] = dict.fromkeys(requirements())
    tests["R-2-01"] = ["adversarial/test_secrets.py::test_a", "rfc9420/test_section_3.py::test_b"]
    tests["R-6-05"] = ["rfc9420/test_section_6.py::test_c"]
    record = Record(tests, 7, 9)
    assert read(write(record)) == record
    assert read("") == Record()
