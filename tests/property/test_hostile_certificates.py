"""Certificates that are none: whatever they are, only typed errors come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls.errors import InvalidMessage, MLSError
from mls.identity.x509 import IM_URI
from tests.support.certificates import (
    DNS,
    MAIL,
    MIDDLE,
    ROOT,
    TRUSTING,
    accept,
    alice,
    credential_of,
    end_entity,
    resigned,
    signed_part_of,
    subject_of,
)

HONEST = end_entity("alice", 1, MIDDLE, names=[DNS, MAIL], purposes=(IM_URI,))


def assert_only_typed_errors(*ders: bytes) -> None:
    hostile = credential_of(*ders)
    asked: Sequence[Callable[[], object]] = (
        lambda: accept(subject_of(HONEST, credential=hostile)),
        lambda: accept(subject_of(HONEST, replaces=hostile, credential=HONEST.sending(MIDDLE).credential)),
        lambda: TRUSTING.identity(hostile),
        lambda: TRUSTING.identifiers(hostile),
        lambda: TRUSTING.expires(hostile),
    )
    for ask in asked:
        try:
            ask()
        except MLSError as error:
            assert error.rule  # noqa: PT017  (an error is one of two good outcomes)


@given(data=st.data())
def test_nothing_but_typed_errors_escapes(data: st.DataObject) -> None:
    ders = [bytearray(HONEST.der), bytearray(MIDDLE.der)]
    chosen = data.draw(st.integers(0, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        _mutate(ders[chosen], data.draw)
    assert_only_typed_errors(*map(bytes, ders))


@given(data=st.data())
def test_nonsense_that_a_trusted_issuer_signed_is_refused_alike(data: st.DataObject) -> None:
    end, middle = bytearray(signed_part_of(HONEST.der)), bytearray(signed_part_of(MIDDLE.der))
    assert_only_typed_errors(resigned(bytes(end), MIDDLE), resigned(bytes(middle), ROOT))
    for _ in range(data.draw(st.integers(1, 4))):
        _mutate(data.draw(st.sampled_from((end, middle))), data.draw)
    assert_only_typed_errors(resigned(bytes(end), MIDDLE), resigned(bytes(middle), ROOT))


def test_a_certificate_signed_again_is_as_good() -> None:
    again = resigned(signed_part_of(HONEST.der), MIDDLE)
    accept(subject_of(HONEST, credential=credential_of(again, MIDDLE.der)))


def _mutate(der: bytearray, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
    place = draw(st.integers(0, max(0, len(der) - 1)))
    match draw(st.integers(0, 2)):
        case 0:
            der[place : place + 1] = bytes((draw(st.integers(0, 255)),))
        case 1:
            del der[place : place + draw(st.integers(1, 40))]
        case _:
            der[place:place] = der[place : place + draw(st.integers(1, 40))]


@given(st.binary(max_size=200))
def test_no_bytes_are_a_certificate_by_chance(garbage: bytes) -> None:
    with pytest.raises(InvalidMessage) as caught:
        accept(subject_of(alice(), credential=credential_of(garbage)))
    assert caught.value.rule == "R-5.3-04"
