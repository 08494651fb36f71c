"""Stored records of a secret tree: few per message, and refused when damaged or when deleted secrets are put back."""

from __future__ import annotations

from collections.abc import Callable

import cbor2
import pytest

from mls.errors import Code, StorageError
from mls.schedule.secret_tree import SecretTree
from tests.support.secret_trees import (
    APPLICATION,
    LAST,
    SUITE,
    A,
    D,
    consume,
    new_tree,
    refusal,
)


def test_records_of_a_message_are_few() -> None:
    tree = new_tree(n_leaves=1 << 20)
    assert len(tree.stage(A, APPLICATION, 0).records) == 1 + 20 + 2
    consume(tree, A, APPLICATION, 0)
    assert set(tree.stage(A, APPLICATION, 5).records) == {"ratchet/0/application"}


def damaged_records() -> dict[str, Callable[[dict[str, bytes]], object]]:
    def rewrite(key: str, **changes: object) -> Callable[[dict[str, bytes]], object]:
        def work(records: dict[str, bytes]) -> None:
            records[key] = cbor2.dumps(cbor2.loads(records[key]) | changes, canonical=True)

        return work

    ratchet = "ratchet/3/application"
    return {
        "no CBOR": lambda records: records.update({ratchet: b"\xff"}),
        "empty": lambda records: records.update({ratchet: b""}),
        "no map": lambda records: records.update({ratchet: b"\x01"}),
        "no version": lambda records: records.update({"node/1": cbor2.dumps({"secret": bytes(32)})}),
        "a short node secret": rewrite("node/1", secret=bytes(31)),
        "a node secret that is a number": rewrite("node/1", secret=32),
        "a short ratchet secret": rewrite(ratchet, secret=bytes(31)),
        "no ratchet secret": rewrite(ratchet, secret=None),
        "a negative generation": rewrite(ratchet, generation=-1),
        "a generation beyond the end": rewrite(ratchet, generation=LAST + 2),
        "a floor beyond the generation": rewrite(ratchet, floor=3),
        "a generation that is text": rewrite(ratchet, generation="2"),
        "a skipped key cut off": rewrite(ratchet, skipped=bytes(39)),
        "skipped keys out of order": rewrite(ratchet, skipped=bytes(80)),
        "a skipped key ahead": rewrite(ratchet, skipped=b"\x00\x00\x00\x02" + bytes(36)),
        "a node missing": lambda records: records.pop("node/1"),
        "a ratchet missing": lambda records: records.pop(ratchet),
        "a leaf missing": lambda records: (records.pop(ratchet), records.pop("ratchet/3/handshake")),
        "a consumed node back": lambda records: records.update({"node/5": records["node/1"]}),
        "the root back": lambda records: records.update({"node/3": records["node/1"]}),
        "a consumed leaf back": lambda records: (records.update({"node/6": records["node/1"]}), records.pop("node/4")),
        "a node over another": lambda records: (records.update({"node/3": records["node/1"]}), records.pop("node/4")),
        "one half twice": lambda records: records.update({"node/5": records.pop("node/1")}),
        "a node outside": lambda records: records.update({"node/7": records["node/1"]}),
        "a leaf outside": lambda records: records.update({"ratchet/4/application": records[ratchet]}),
        "a number spelt otherwise": lambda records: records.update({"node/01": records.pop("node/1")}),
        "no number": lambda records: records.update({"node/x": records["node/1"]}),
        "another kind": lambda records: records.update({"ratchet/3/other": records[ratchet]}),
        "another record": lambda records: records.update({"group": b""}),
    }


@pytest.mark.parametrize("damage", damaged_records().values(), ids=damaged_records().keys())
def test_damaged_records_are_refused(damage: Callable[[dict[str, bytes]], object]) -> None:
    tree = new_tree()
    consume(tree, D, APPLICATION, 1)
    records = tree.records()
    assert SecretTree.restore(SUITE, 4, records).records() == records
    damage(records)
    assert refusal(SecretTree.restore, SUITE, 4, records, error=StorageError)[1] == Code.CORRUPT


@pytest.mark.parametrize("name", ["node/1", "ratchet/3/application"])
@pytest.mark.rfc("B25")
def test_records_are_read_as_they_are_written_and_not_otherwise(name: str) -> None:
    tree = new_tree()
    consume(tree, D, APPLICATION, 1)
    record = tree.records()[name]
    again = cbor2.dumps("v") + cbor2.dumps(1)
    for other in (
        record + b"\0",
        b"\xbf" + record[1:] + b"\xff",
        bytes([record[0] + 1]) + again + record[1:],
        b"\x81" * 100_000,
        cbor2.dumps(cbor2.loads(record) | {"v": 1.0}, canonical=True),
    ):
        records = {**tree.records(), name: other}
        assert refusal(SecretTree.restore, SUITE, 4, records, error=StorageError)[1] == Code.CORRUPT


def test_records_of_a_later_version_are_refused() -> None:
    records = new_tree().records()
    records["node/3"] = cbor2.dumps(cbor2.loads(records["node/3"]) | {"v": 2})
    assert refusal(SecretTree.restore, SUITE, 4, records, error=StorageError)[1] == Code.SCHEMA_TOO_NEW
