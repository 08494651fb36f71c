"""The corpus, replayed: no input breaks its target, and what a target is made for is still accepted."""

from __future__ import annotations

from collections.abc import Callable

import cbor2
import pytest

from mls import Client
from tests.fuzz import groups, observers
from tests.fuzz.__main__ import main
from tests.fuzz.corpus import FOLDER, read_corpus
from tests.fuzz.registry import targets
from tests.fuzz.stores import store_target
from tests.fuzz.target import Target

OTHER_VALUES: tuple[object, ...] = (None, -1, b"\x00" * 32, "text", [[]], {1: 2})


@pytest.mark.rfc("R-2.1-14", "R-2.1-15")
@pytest.mark.parametrize("name", sorted(targets()))
def test_corpus_breaks_nothing(name: str) -> None:
    target = targets()[name]()
    for data in (*target.seeds(), *read_corpus(name)):
        target.run(data)


def test_every_target_has_a_corpus_and_nothing_else_has() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(targets())


def test_corpus_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 300 * 1024


@pytest.mark.parametrize(
    ("build", "n_accepted"),
    [
        (groups.receive_target, 11),
        (groups.insider_target, 6),
        (groups.registry_target, 9),
        (observers.observe_target, 10),
        (groups.join_target, 1),
        (groups.welcome_insider_target, 1),
        (groups.enter_target, 1),
    ],
)
def test_examples_are_accepted(build: Callable[[], Target], n_accepted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[object] = []
    settle = groups.Receiver._settle

    def counted(receiver: groups.Receiver, outcome: object) -> None:
        accepted.append(outcome)
        settle(receiver, outcome)

    monkeypatch.setattr(groups.Receiver, "_settle", counted)
    target = build()
    for data in target.seeds():
        target.run(data)
    assert len(accepted) == n_accepted


def test_a_target_notices_what_it_must_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    target = groups.receive_target()

    def broken(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(Client, "receive", broken)
    with pytest.raises(KeyError):
        target.run(b"anything")


def test_fields_of_other_types_are_refused_where_records_are_read() -> None:
    target = store_target()
    n_changed = 0
    for seed in target.seeds():
        place, record = seed[:1], cbor2.loads(seed[1:])
        if not isinstance(record, list):
            continue
        for position in range(1, len(record)):
            for other in OTHER_VALUES:
                changed = [*record[:position], other, *record[position + 1 :]]
                target.run(place + cbor2.dumps(changed, canonical=True))
                n_changed += 1
    assert n_changed > 250


def test_the_command_runs_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode-Lifetime", "--engine", "plain", "--seconds", "1", "--seed", "1"]) == 0
    assert "nothing broke" in capsys.readouterr().out
    assert main(["no-such-target"]) == 2
