"""The list of requirements is whole, and agrees with where the engine names them; faults fit the engine as it is."""

from __future__ import annotations

from collections import Counter

import pytest

from mls.rules import requirements
from tests.faults import faults
from tests.support.conformance import place_exists
from tests.support.modules import ENGINE, modules
from tests.support.planting import Constant, Edit, Fault, Stale
from tests.support.requirements import cited_ids
from tests.support.rule_sites import Watch, watched
from treekem import rules
from treekem.errors import MLSError, UsageError
from treekem.rules import require, require_present

CITED = {rule for module in modules(*ENGINE) for rule in cited_ids(module)}
CITED_BY_THE_CODEC = {rule for module in modules("treekem/wire") for rule in cited_ids(module)}
HAVE_A_CALL = {rule for rule, requirement in requirements().items() if requirement.sort in {"checked", "generated"}}


def test_the_list_is_whole_and_in_order() -> None:
    sorts = Counter(requirement.sort for rule, requirement in requirements().items() if rule.startswith("R-"))
    assert sum(sorts.values()) == 639
    listed = list(requirements())
    assert listed == [*(rule for rule in listed if rule.startswith("R-")), *sorted(listed[639:])]


def test_what_the_engine_names_is_checked_or_generated() -> None:
    assert sorted(CITED - HAVE_A_CALL) == []


def test_what_is_checked_or_generated_is_named_by_the_engine() -> None:
    assert sorted(HAVE_A_CALL - CITED) == []


def test_what_is_generated_is_named_by_the_codec() -> None:
    generated = {rule for rule, requirement in requirements().items() if requirement.sort == "generated"}
    assert sorted(generated - CITED_BY_THE_CODEC) == []


def test_what_follows_from_others_names_them() -> None:
    meta = [requirement for requirement in requirements().values() if requirement.sort == "meta"]
    assert [requirement.id for requirement in meta if not requirement.sources] == []
    assert [
        (requirement.id, source)
        for requirement in meta
        for source in requirement.sources
        if source not in requirements() or requirements()[source].sort == "meta"
    ] == []


def test_what_stands_outside_of_the_engine_says_where() -> None:
    outside = [requirement for requirement in requirements().values() if requirement.sort == "outside"]
    assert [requirement.id for requirement in outside if requirement.owner == "engine"] == []
    assert [
        (requirement.id, requirement.where)
        for requirement in outside
        if not place_exists(requirement.where, requirement.id)
    ] == []
    assert not place_exists("mls.Group.no_such_method", "R-2-01")
    assert not place_exists("NO_SUCH_DOCUMENT.md", "R-2-01")
    assert not place_exists("SECURITY.md", "R-99-99")


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: f"{fault.rules[0]}: {fault.what}")
def test_faults_fit_the_engine_as_it_is(fault: Fault) -> None:
    with fault.planted():
        pass
    assert [rule for rule in fault.rules if rule not in requirements()] == []
    assert {requirements()[rule].sort for rule in fault.rules} <= {"shown", "generated"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("R-2-01", "the text is not there", Edit(require, "no such text", "")),
        Fault("R-2-01", "the text is there twice", Edit(require, "refusal", "denial")),
        Fault("R-2-01", "nothing changes", Edit(require, "carrying", "bearing")),
        Fault("R-2-01", "no such name", Constant(rules, "NO_SUCH_NAME", 1)),
        Fault("R-2-01", "within another", Fault("R-2-02", "it is lost", Edit(require, "if not condition", "if True"))),
    ],
    ids=lambda fault: fault.what,
)
def test_faults_that_do_not_fit_are_stale(fault: Fault) -> None:
    with pytest.raises(Stale), fault.planted():
        pass


def test_a_fault_is_planted_and_dug_up_again() -> None:
    fault = Fault("R-2-01", "None is there", Edit(require_present, "value is not None", "True"))
    with fault.planted():
        assert require_present(None, UsageError, "R-2-01", "absent") is None
    with pytest.raises(UsageError):
        require_present(None, UsageError, "R-2-01", "absent")


def test_rules_are_seen_to_hold_and_let_pass() -> None:
    watch = Watch(passing=frozenset({"R-2-01"}))
    with watched(watch):
        require(False, MLSError, "R-2-01", "let pass")  # noqa: FBT003  (a condition that fails)
        require(True, MLSError, "R-2-02", "holds")  # noqa: FBT003  (a condition that holds)
        with pytest.raises(MLSError):
            require(False, MLSError, "R-2-03", "refused")  # noqa: FBT003  (a condition that fails)
    assert watch.held == {"R-2-02"}
    with pytest.raises(MLSError):
        require(False, MLSError, "R-2-01", "refused again")  # noqa: FBT003  (a condition that fails)
