"""The passive kinds: a client that is invited to a group and follows it, verified. `vectors.scenarios` makes them up.

The three official kinds share one form, and so do files of other names.
"""

from __future__ import annotations

from typing import Final

from mls import Group, Settings
from mls.drafting import read_key_package
from mls.errors import MLSError
from mls.events import ProposalReceived, StagedCommit
from treekem.suite import Entropy
from vectors.actors import Actor, create_actor
from vectors.case import (
    Case,
    Mismatch,
    array,
    expect,
    expect_octets,
    hpke_private_key,
    octets,
    parts,
    signature_private_key,
    suite_of,
)

PASSIVE_FIELDS: Final = frozenset(
    {
        *("cipher_suite", "external_psks", "key_package", "signature_priv", "encryption_priv", "init_priv"),
        *("welcome", "initial_epoch_authenticator", "epochs"),
    }
)


def verify_passive_client(case: Case, entropy: Entropy) -> None:
    """Join by the Welcome, and compare the epoch authenticator there and after every commit."""
    group = _join(case, entropy)
    expect_octets(group.epoch_authenticator, case, "initial_epoch_authenticator")
    for index, stated in enumerate(parts(case, "epochs")):
        try:
            _follow(group, stated)
        except (MLSError, Mismatch) as error:
            error.add_note(f"epochs[{index}]")
            raise
        expect_octets(group.epoch_authenticator, stated, "epoch_authenticator", f"epochs[{index}].")


def _join(case: Case, entropy: Entropy) -> Group:
    actor = _invited(case, entropy)
    tree = None if case.get("ratchet_tree") is None else octets(case, "ratchet_tree")
    return actor.client.join(octets(case, "welcome"), tree).accept()


def _invited(case: Case, entropy: Entropy) -> Actor:
    """Return a client that holds what the case gives it. Importing compares private and public keys."""
    suite, encoded = suite_of(case), octets(case, "key_package")
    expect(read_key_package(encoded, Settings.vectors()).cipher_suite, suite.id, "the key package's cipher suite")
    signature_key = signature_private_key(suite, case, "signature_priv")
    actor = create_actor(suite.id, b"passive", entropy, signature_key=signature_key)
    init_key, encryption_key = (hpke_private_key(suite, case, name) for name in ("init_priv", "encryption_priv"))
    actor.client.import_key_package(encoded, init_key, encryption_key)
    for psk in parts(case, "external_psks"):
        actor.client.add_psk(octets(psk, "psk_id"), octets(psk, "psk"))
    return actor


def _follow(group: Group, stated: Case) -> None:
    for index, encoded in enumerate(array(stated, "proposals")):
        received = group.receive(octets({"proposal": encoded}, "proposal"))
        if not isinstance(received, ProposalReceived):
            raise Mismatch(f"proposals[{index}] came to a {type(received).__name__}")
    staged = group.receive(octets(stated, "commit"))
    if not isinstance(staged, StagedCommit):
        raise Mismatch(f"commit came to a {type(staged).__name__}")
    group.merge(staged)
