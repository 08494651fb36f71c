"""Secrets do not show themselves: not when printed, compared, copied, pickled or used for what they are not."""

from __future__ import annotations

import copy
import pickle
from array import array
from collections.abc import Callable

import pytest

from mls.crypto import SUITES, CipherSuite, HPKEPrivateKey, SignaturePrivateKey
from tests.support.entropy import DeterministicEntropy
from treekem.errors import UsageError
from treekem.secrets import Secret, ct_eq
from treekem.suite import HPKEKeyPair, PathSecret

MATERIAL = b"hunter2!"

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: f"suite{suite.id}")


@pytest.mark.rfc("R-2-01")
@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r:>40}".format, lambda secret: f"{[secret]}"])
@pytest.mark.parametrize("kind", [Secret, PathSecret, HPKEPrivateKey, SignaturePrivateKey])
def test_a_secret_is_printed_without_its_bytes(show: Callable[[object], str], kind: type[Secret]) -> None:
    secret = kind(MATERIAL)
    shown = show(secret)
    assert f"<{kind.__name__} of 8 bytes>" in shown
    assert "hunter" not in shown
    assert MATERIAL.hex() not in shown
    secret.wipe()
    assert f"<{kind.__name__}, wiped>" in show(secret)


@pytest.mark.parametrize(
    "misuse",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        hash,
        bytes,
        list,
        vars,
        lambda secret: secret == MATERIAL,
        lambda secret: [secret] == [MATERIAL],
        lambda secret: secret != PathSecret(MATERIAL),
        [PathSecret(b""), PathSecret(MATERIAL)].index,
        lambda secret: {secret},
        lambda secret: secret + b"",
        lambda secret: secret[0],
        lambda secret: secret < secret.copy(),
        lambda secret: secret.__getstate__(),
    ],
)
def test_a_secret_is_not_compared_copied_or_taken_apart(misuse: Callable[[PathSecret], object]) -> None:
    with pytest.raises(TypeError) as caught:
        misuse(PathSecret(MATERIAL))
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("material", [8, "hunter2", None, [1, 2], memoryview(b"ab"), array("H", [1]), Secret(b"ab")])
def test_a_secret_is_made_of_bytes(material: object) -> None:
    """A `bytearray` of an integer would be a key of zeros."""
    assert Secret(b"ab").expose() == Secret(bytearray(b"ab")).expose() == b"ab"
    with pytest.raises(UsageError):
        Secret(material)  # type: ignore[arg-type]  # the wrong type is what is tested


def test_a_secret_is_independent_of_what_it_was_made_of() -> None:
    source = bytearray(MATERIAL)
    secret = PathSecret(source)
    duplicate = secret.copy()
    source[:] = bytes(8)
    assert type(duplicate) is PathSecret
    assert secret.expose() == MATERIAL
    secret.wipe()
    secret.wipe()
    assert (secret.is_wiped, len(secret), duplicate.expose()) == (True, 0, MATERIAL)
    with pytest.raises(UsageError):
        secret.expose()
    with pytest.raises(UsageError):
        secret.copy()


@pytest.mark.rfc("R-9.2-09", "B40", "B52")
def test_a_wipe_overwrites() -> None:
    secret = Secret(MATERIAL)
    buffer = secret._buffer
    secret.wipe()
    assert buffer is not None
    assert bytes(buffer) == bytes(8)


@pytest.mark.rfc("B01", "B23")
@pytest.mark.parametrize("other", [b"", b"hunter2", b"hunter2!!", b"hunter2?", bytes(8)])
def test_comparison_is_of_all_bytes(other: bytes) -> None:
    assert ct_eq(Secret(MATERIAL), MATERIAL)
    assert ct_eq(MATERIAL, PathSecret(MATERIAL))
    assert not ct_eq(Secret(MATERIAL), other)
    assert not ct_eq(other, Secret(MATERIAL))


@pytest.mark.rfc("R-2-01")
@each_suite
def test_nothing_that_holds_a_key_shows_or_pickles_it(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    hpke, signature = suite.generate_key_pair(entropy), suite.generate_signature_key_pair(entropy)
    private = hpke.private.expose()
    for holder in (hpke, signature, suite.hpke.kem.load(private)):
        for serialized in (private, signature.private.expose()):
            assert serialized.hex() not in repr(holder)
            assert repr(serialized)[2:-1] not in repr(holder)
    for pair in (hpke, signature):
        for refuse in (pickle.dumps, copy.deepcopy, hash):
            with pytest.raises(TypeError):
                refuse(pair)
    with pytest.raises(TypeError):
        _ = hpke == HPKEKeyPair(hpke.private.copy(), hpke.public)


@each_suite
def test_a_wiped_key_is_no_key(suite: CipherSuite, entropy: DeterministicEntropy) -> None:
    hpke, signature = suite.generate_key_pair(entropy), suite.generate_signature_key_pair(entropy)
    context = suite.seal_context(b"label", b"")
    sealed = suite.seal(hpke.public, context, b"plaintext", entropy)
    assert suite.open(hpke.private, context, *sealed) == b"plaintext"
    hpke.private.wipe()
    signature.private.wipe()
    uses: list[Callable[[], bytes]] = [
        lambda: suite.open(hpke.private, context, *sealed),
        lambda: suite.hpke_public_key(hpke.private),
        lambda: suite.sign(signature.private, b"content"),
        lambda: suite.mac(signature.private, b"data"),
    ]
    for use in uses:
        with pytest.raises(UsageError, match="wiped"):
            use()


def test_a_key_that_is_wiped_while_it_is_loaded_leaves_nothing() -> None:
    """Clients may share their owner's key, and each of them may be in a thread of its own."""
    key = SignaturePrivateKey(MATERIAL)

    def load(material: bytes) -> int:
        key.wipe()
        return len(material)

    assert key.loaded_by(load) == len(MATERIAL)
    with pytest.raises(UsageError):
        key.loaded_by(load)
    kept = SignaturePrivateKey(MATERIAL)
    assert kept.loaded_by(len) == kept.loaded_by(len) == len(MATERIAL)
