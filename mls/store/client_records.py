"""A client's own records: who it is, its key packages, and its external PSKs.

client               identity, cipher suite and signature key
keypackage/<ref>     a key package that may still be used to add us, with its private keys
psk/<id>             an external pre-shared key
"""

from __future__ import annotations

from typing import Final

from mls.crypto import SignatureKeyPair, SignaturePrivateKey
from mls.epoch.join import KeyPackageBundle
from mls.identity import Identity
from mls.messages import Credential, ExternalPSK, KeyPackage, PreSharedKeyID
from mls.schedule.psk import PSK
from mls.store.codec import pack, unpack
from mls.store.group_records import resumption_key
from mls.store.seam import Store
from treekem.suite import HPKEPrivateKey
from treekem.wire import decode, encode, encode_as

CLIENT_KEY: Final = "client"
KEY_PACKAGES: Final = "keypackage/"


def pack_identity(identity: Identity, signature_key: SignaturePrivateKey) -> bytes:
    """Write who a client is."""
    return pack(encode_as(Credential, identity.credential), identity.suite, signature_key.expose())


def unpack_identity(record: bytes) -> Identity:
    """Read who a client is. Raises StorageError."""

    def build(credential: bytes, suite: int, signature_key: bytes) -> Identity:
        return Identity(decode(Credential, credential), suite, SignaturePrivateKey(signature_key))

    return unpack(CLIENT_KEY, record, build)


def key_package_key(reference: bytes) -> str:
    """Return the key of a key package's record."""
    return f"{KEY_PACKAGES}{reference.hex()}"


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
    return None if record is None else unpack(key, record, PSK)
