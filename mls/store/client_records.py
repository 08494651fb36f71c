"""A client's own records: who it is, its key packages, and its external PSKs.

client               identity, cipher suite and signature key
identity/<suite>     the same for a further cipher suite
keypackage/<ref>     a key package that may still be used to add us, with its private keys
consumed/<ref>       that a key package was used, and until when it was valid
psk/<id>             an external pre-shared key
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mls.crypto import SignatureKeyPair, SignaturePrivateKey, cipher_suite
from mls.epoch.join import KeyPackageBundle
from mls.errors import Code, InvalidWelcome
from mls.identity import Identity
from mls.messages import Credential, ExternalPSK, KeyPackage, KeyPackageSource, PreSharedKeyID
from mls.rules import require, require_present
from mls.schedule.psk import PSK
from mls.store.codec import pack, unpack
from mls.store.group_records import resumption_key
from mls.store.seam import Store
from treekem.suite import HPKEPrivateKey
from treekem.wire import decode, encode, encode_as

CLIENT_KEY: Final = "client"
KEY_PACKAGES: Final = "keypackage/"
CONSUMED: Final = "consumed/"


def pack_identity(identity: Identity, signature_key: SignaturePrivateKey) -> bytes:
    """Write who a client is."""
    return pack(encode_as(Credential, identity.credential), identity.suite, signature_key.expose())


def identity_key(suite: int) -> str:
    """Return the key of the record of an identity for a further cipher suite."""
    return f"identity/{suite:05}"


def unpack_identity(record: bytes, key: str = CLIENT_KEY) -> Identity:
    """Read who a client is. Raises StorageError."""

    def build(credential: bytes, suite: int, signature_key: bytes) -> Identity:
        private_key = SignaturePrivateKey(signature_key)
        cipher_suite(suite).signature_public_key(private_key)  # Raises for what is no key of the suite.
        return Identity(decode(Credential, credential), suite, private_key)

    return unpack(key, record, build)


def key_package_key(reference: bytes) -> str:
    """Return the key of a key package's record."""
    return f"{KEY_PACKAGES}{reference.hex()}"


def consumption(bundle: KeyPackageBundle) -> dict[str, bytes | None]:
    """Return what the first use of a key package changes: it goes, and what stays is that it was used."""
    if bundle.last_resort:
        return {}
    reference = bundle.reference()
    return {key_package_key(reference): None, consumed_key(reference): pack(not_after(bundle.key_package))}


def consumed_key(reference: bytes) -> str:
    """Return the key of the record that a key package was used."""
    return f"{CONSUMED}{reference.hex()}"


def unpack_consumed(key: str, record: bytes) -> int:
    """Return until when a key package that was used had been valid. Raises StorageError."""

    def build(not_after: int) -> int:
        return not_after

    return unpack(key, record, build)


def not_after(key_package: KeyPackage) -> int:
    """Return the second in which a key package ends to be valid."""
    source = key_package.leaf_node.source
    return source.lifetime.not_after if isinstance(source, KeyPackageSource) else 0


def knows_reference(store: Store) -> Callable[[bytes], bool]:
    """Return whether a reference is of a key package that this client has, or that it remembers to have used.

    The store is read once, however many references are asked for: a Welcome may name as many as it likes.
    """
    known = frozenset(name for prefix in (KEY_PACKAGES, CONSUMED) for name, _ in store.scan(prefix))
    return lambda reference: key_package_key(reference) in known or consumed_key(reference) in known


def addressed_bundle(store: Store, references: Sequence[bytes]) -> KeyPackageBundle:
    """Return the key package of ours that a Welcome is for, given the references that it names.

    Raises InvalidWelcome or StorageError. RFC 9420 §12.4.3.1.
    """
    names = map(key_package_key, references)
    held = next(((name, record) for name in names if (record := store.read(name)) is not None), None)
    used = held is None and any(store.read(consumed_key(reference)) is not None for reference in references)
    message = "the key package that this Welcome is for was used up"
    require(not used, InvalidWelcome, "N-L12", message, code=Code.KEY_PACKAGE_CONSUMED)
    message, code = "no entry is for a key package of this client", Code.NO_MATCHING_KEY_PACKAGE
    name, record = require_present(held, InvalidWelcome, "R-12.4.3.1-03", message, code=code)
    return unpack_bundle(name, record)


def pack_bundle(bundle: KeyPackageBundle) -> bytes:
    """Write a key package and what is behind it."""
    return pack(
        encode(bundle.key_package),
        bundle.init_key.expose(),
        bundle.encryption_key.expose(),
        bundle.signature_keys.private.expose(),
        bundle.last_resort,
    )


def unpack_bundle(key: str, record: bytes) -> KeyPackageBundle:
    """Read a key package and what is behind it. Raises StorageError."""

    def build(
        encoded: bytes, init_key: bytes, encryption_key: bytes, signature_key: bytes, last_resort: bool
    ) -> KeyPackageBundle:
        key_package = decode(KeyPackage, encoded)
        pair = SignatureKeyPair(SignaturePrivateKey(signature_key), key_package.leaf_node.signature_key)
        return KeyPackageBundle(
            key_package, HPKEPrivateKey(init_key), HPKEPrivateKey(encryption_key), pair, last_resort
        )

    return unpack(key, record, build)


def psk_key(psk_id: bytes) -> str:
    """Return the key of an external PSK's record."""
    return f"psk/{psk_id.hex()}"


def stored_psk(store: Store, psk_id: PreSharedKeyID) -> PSK | None:
    """Return a pre-shared key, external or of a past epoch, or None. RFC 9420 §8.4, §8.6."""
    match psk_id.psk:
        case ExternalPSK(psk_id=name):
            key = psk_key(name)
        case resumption:
            key = resumption_key(resumption.psk_group_id, resumption.psk_epoch)
    record = store.read(key)

    def build(secret: bytes) -> PSK:
        return PSK(secret)

    return None if record is None else unpack(key, record, build)
