"""RFC 9420 §5.2: hash references."""

from __future__ import annotations

import hashlib

import pytest

from mls.crypto import SUITES, CipherSuite


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")
@pytest.mark.rfc("R-5.2-01")
def test_a_reference_is_the_hash_of_label_and_value(suite: CipherSuite) -> None:
    """The label stands as it is given: it has its "MLS 1.0 " from the caller, and gets no second one."""
    label, value = b"MLS 1.0 KeyPackage Reference", bytes(20_000)
    ref_hash_input = b"\x1c" + label + b"\x80\x00\x4e\x20" + value
    assert suite.ref_hash(label, value) == hashlib.new(suite.hash_name, ref_hash_input).digest()
    assert suite.ref_hash(label, value) != suite.ref_hash(b"MLS 1.0 Proposal Reference", value)
