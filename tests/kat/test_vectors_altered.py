"""Whatever is altered in a vector, verifying notices it: each value in turn, expected ones and inputs alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from vectors.kinds import KINDS
from vectors.verify import failure_of

DATA = Path(__file__).resolve().parents[2] / "vectors" / "data"
FIRST, MIDDLE, LAST = PLACES = ("first", "middle", "last")

# What may be altered without any harm, as the format has it; everything else must not.
INDIFFERENT = {
    ("secret-tree", "sender_data.ciphertext", MIDDLE),  # only its first Nh bytes are sampled
    ("secret-tree", "sender_data.ciphertext", LAST),
    ("passive-client-welcome", "ratchet_tree", None),  # a tree inside the Welcome makes one beside it needless
    ("passive-client-handling-commit", "ratchet_tree", None),
    ("passive-client-random", "ratchet_tree", None),
}

Path_ = tuple[str | int, ...]


def leaves_of(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:  # noqa: ANN401  (JSON is what it is)
    """Yield every value of a case that is no object and no array, with where it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves_of(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves_of(inner, (*path, index))
    else:
        yield path, value


def alterations_of(path: Path_, value: str | int | None) -> Iterator[tuple[str | None, str | int]]:
    """Yield other values of the same kind, with the place of the change; None where the value has no places."""
    if path[-1] == "cipher_suite":
        # Some suites share what a kind computes, so that another suite need not matter.
        yield None, 0x0F0F
    elif value is None:
        yield None, "00" if "path_secrets" in path or path[-1] == "ratchet_tree" else 0
    elif isinstance(value, int):
        yield None, value + 1
    elif path[-1] == "label":
        yield None, value + "x"
    else:
        yield from altered_octets(bytes.fromhex(value))


def altered_octets(octets: bytes) -> Iterator[tuple[str, str]]:
    """Yield the octets with one bit of one of them changed, and not one that curves ignore in private keys."""
    if not octets:
        yield FIRST, "00"
        return
    for place, index, bit in ((FIRST, 0, 0x10), (MIDDLE, len(octets) // 2, 0x01), (LAST, len(octets) - 1, 0x01)):
        changed = bytearray(octets)
        changed[index] ^= bit
        yield place, changed.hex()


def altered(case: dict[str, Any], path: Path_, value: object) -> dict[str, Any]:
    changed = deepcopy(case)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def is_proposal(case: dict[str, Any], proposal_type: str) -> bool:
    return str(case["proposal"]).startswith(proposal_type)


def is_indifferent(kind: str, case: dict[str, Any], path: Path_, place: str | None) -> bool:
    name = ".".join(map(str, path))
    # Who proposes matters for an Update alone.
    if (kind, name) == ("tree-operations", "proposal_sender"):
        return not is_proposal(case, "0002")
    # An Add's key package ends with a signature, of which the tree takes no notice.
    if (kind, name, place) == ("tree-operations", "proposal", LAST):
        return is_proposal(case, "0001")
    return (kind, name, place) in INDIFFERENT


def cases_of(kind: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((DATA / f"{kind}.json").read_text(encoding="utf-8"))
    return cases


def small_case(kind: str, suite: int) -> dict[str, Any]:
    """Return the smallest case of a suite in which no array is empty."""
    of_suite = [case for case in cases_of(kind) if case.get("cipher_suite", suite) == suite]
    full = [case for case in of_suite if [] not in case.values()]
    return min(full or of_suite, key=lambda case: len(str(case)))


def unnoticed(kind: str, case: dict[str, Any], places: tuple[str, ...]) -> list[str]:
    """Return what verifying did not notice."""
    assert failure_of(kind, case) is None
    return [
        f"{'.'.join(map(str, path))}, {place}"
        for path, value in leaves_of(case)
        for place, change in alterations_of(path, value)
        if place is None or place in places
        if not is_indifferent(kind, case, path, place)
        if failure_of(kind, altered(case, path, change)) is None
    ]


# Structs that nothing vouches for decode after many a change; what they cannot survive is a length that is wrong.
AUTHENTICATED = [kind for kind in KINDS if kind != "messages"]


@pytest.mark.parametrize("kind", AUTHENTICATED)
@pytest.mark.parametrize("suite", [1, 5])
def test_an_altered_value_is_noticed(kind: str, suite: int) -> None:
    assert unnoticed(kind, small_case(kind, suite), (MIDDLE,)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", AUTHENTICATED)
def test_every_altered_value_is_noticed(kind: str) -> None:
    for case in cases_of(kind):
        assert unnoticed(kind, case, PLACES) == []


@pytest.mark.parametrize("change", [lambda text: text[:-2], lambda text: text + "00"], ids=["shorter", "longer"])
def test_a_message_of_another_length_is_noticed(change: Any) -> None:  # noqa: ANN401  (a function of the parametrization)
    case = small_case("messages", 1)
    assert failure_of("messages", case) is None
    for name, value in case.items():
        assert failure_of("messages", {**case, name: change(value)}) is not None, name


def test_a_message_of_another_kind_is_noticed() -> None:
    case = small_case("messages", 1)
    for name in ("mls_welcome", "mls_group_info", "mls_key_package", "private_message", "public_message_commit"):
        other = case["public_message_proposal"]
        assert failure_of("messages", {**case, name: other}) is not None, name


def test_a_proposal_left_out_of_an_epoch_is_noticed() -> None:
    cases = cases_of("passive-client-handling-commit")
    case = next(each for each in cases if any(epoch["proposals"] for epoch in each["epochs"]))
    for index, epoch in enumerate(case["epochs"]):
        for number in range(len(epoch["proposals"])):
            changed = deepcopy(case)
            del changed["epochs"][index]["proposals"][number]
            assert failure_of("passive-client-handling-commit", changed) is not None
