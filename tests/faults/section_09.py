"""Faults in the secret tree and its ratchets. RFC 9420 §9."""

from __future__ import annotations

from mls import merging, receiving
from mls.client import Client
from mls.crypto import CipherSuite
from mls.epoch import framing, join, transition
from mls.epoch.transition import NextEpoch
from mls.group import Group
from mls.schedule import hash_ratchet, key_schedule
from mls.schedule.hash_ratchet import Ratchet
from mls.schedule.secret_tree import SecretTree
from mls.store import group_records, standing
from mls.store.standing import Standing
from tests.support.planting import Edit, Fault
from treekem.secrets import Secret

FAULTS = [
    Fault(
        "R-9-01",
        "left and right are exchanged in the secret tree",
        Edit(
            SecretTree._split,
            'self._child(secret, b"left"), right(above): self._child(secret, b"right")',
            'self._child(secret, b"right"), right(above): self._child(secret, b"left")',
        ),
    ),
    Fault(
        "R-9-01",
        "the secret tree has another label",
        Edit(SecretTree._child, 'b"tree", side', 'b"node", side'),
    ),
    Fault(
        "R-9-02",
        "the kind of a ratchet is the context, not the label",
        Edit(SecretTree._split, 'kind.encode(), b""', 'b"tree", kind.encode()'),
    ),
    Fault(
        "R-9.1-01",
        "a key that encrypted stays",
        Edit(Group._spend, "standing.secret_tree.apply(key)", "pass"),
    ),
    Fault(
        "R-9.1-01",
        "a key staged twice can be used twice",
        Edit(SecretTree.apply, "self._wipe_twins(staged)", "pass"),
    ),
    Fault(
        "R-9.1-01",
        "that a key encrypted is not written",
        Edit(Group._spend, "{**batch, **standing.key_batch(standing.state.epoch, key)}", "batch"),
    ),
    Fault(
        "R-9.1-02",
        "a generation is written with its lowest byte first",
        Edit(CipherSuite.derive_tree_secret, 'to_bytes(4, "big")', 'to_bytes(4, "little")'),
    ),
    Fault(
        "R-9.1-02",
        "a generation takes eight bytes",
        Edit(CipherSuite.derive_tree_secret, "to_bytes(4,", "to_bytes(8,"),
    ),
    Fault(
        "R-9.1-03",
        "a nonce is bound to the generation after its key's",
        Edit(hash_ratchet._key_and_nonce, 'b"nonce", generation,', 'b"nonce", generation + 1,'),
    ),
    Fault(
        "R-9.1-03",
        "a ratchet secret is bound to no generation",
        Edit(hash_ratchet._next_secret, 'b"secret", generation,', 'b"secret", 0,'),
    ),
    Fault(
        "R-9.1-04",
        "proposals take the keys of application data",
        Edit(SecretTree._name_of, "== ContentType.APPLICATION", "!= ContentType.COMMIT"),
    ),
    Fault(
        "R-9.1-06",
        "what lies to the left of a path is lost",
        Edit(
            SecretTree._split,
            "plan.nodes.update(children)",
            "plan.nodes.update((x, child) for x, child in children.items() if x > below)",
        ),
    ),
    Fault(
        "R-9.2-01",
        "a skipped key stays when it is used",
        Edit(Ratchet.consume, "if number != generation", "if number >= 0"),
    ),
    Fault(
        "R-9.2-01",
        "the key that was used is not overwritten",
        Edit(SecretTree.apply, "staged.key.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-01",
        "that a message was read is not written",
        Edit(receiving._consume, "store.apply(standing.key_batch(epoch, key))", "pass"),
    ),
    Fault(
        "R-9.2-01",
        "the key of a message stays in memory when it was read",
        Edit(receiving._consume, "sight.keys.secret_tree.apply(key)", "pass"),
    ),
    Fault(
        "R-9.2-01",
        "the key of a proposal stays in memory when it was read",
        Edit(receiving._record_proposal, "standing.secret_tree.apply(key)", "pass"),
    ),
    Fault(
        "R-9.2-01",
        "the key of a commit stays in memory when it was merged",
        Edit(merging.merge_transition, "standing.secret_tree.apply(key)", "pass"),
    ),
    Fault(
        "R-9.2-01",
        "the key of a commit stays in the store when it was merged",
        Edit(Standing.merge_batch, "{} if staged is None else self.key_batch(self.state.epoch, staged)", "{}"),
    ),
    Fault(
        "R-9.2-02",
        "the secret tree leaves the encryption secret to others",
        Edit(SecretTree.__init__, "encryption_secret.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-02",
        "who merges a commit keeps the new epoch's encryption secret beside its tree",
        Edit(merging.merge_transition, "state.secrets.encryption.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-02",
        "who founds or joins a group keeps its encryption secret beside the tree",
        Edit(Client._founded, "state.secrets.encryption.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-02",
        "the store keeps the encryption secret of the present epoch",
        Edit(group_records._state_fields, '{"encryption"} if is_current else set()', "set()"),
    ),
    Fault(
        "R-9.2-02",
        "the init secret outlives its epoch",
        Edit(key_schedule.EpochSecrets.wipe, "self.init_secret.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-03",
        "the node secret that a leaf was split from stays",
        Edit(SecretTree._split, "consumed_nodes=(path[height],)", "consumed_nodes=()"),
    ),
    Fault(
        "R-9.2-03",
        "node secrets on the path of a leaf are kept",
        Edit(SecretTree._split, "children.pop(below)", "children[below].copy()"),
    ),
    Fault(
        "R-9.2-03",
        "the store keeps the node secret that a leaf was split from",
        Edit(SecretTree.records_after, "node_key(x): None for x in plan.consumed_nodes", ""),
    ),
    Fault(
        "R-9.2-04",
        "a key is kept among the skipped ones when its generation is used",
        Edit(
            Ratchet._move_ahead,
            "    following = None",
            "    skipped[generation] = SkippedKey(*_key_and_nonce(suite, secret, generation), stamp)\n"
            "    following = None",
        ),
    ),
    Fault(
        "R-9.2-04",
        "a ratchet that moves ahead forgets the keys that it passes over",
        Edit(Ratchet._move_ahead, "skipped[passed] = SkippedKey(key, nonce, stamp)", "pass"),
    ),
    Fault(
        "R-9.2-05",
        "who wipes a skipped key that did not fit wipes the kept one",
        Edit(Ratchet.key_and_nonce, "entry.key.copy()", "entry.key"),
    ),
    Fault(
        "R-9.2-05",
        "a message costs its key before it is decrypted",
        Edit(
            framing.open_private,
            "    aad = encode(PrivateContentAAD",
            "    keys.secret_tree._replace((staged.leaf, staged.kind), keys.secret_tree._current_plan(staged).ratchets"
            "[staged.leaf, staged.kind])\n"
            "    aad = encode(PrivateContentAAD",
        ),
    ),
    Fault(
        "R-9.2-06",
        "no key is kept of a generation that is passed over",
        Edit(Ratchet._move_ahead, "len(skipped) - max_skipped", "len(skipped)"),
    ),
    Fault(
        "R-9.2-06",
        "keys of generations passed over are kept without bound",
        Edit(Ratchet._move_ahead, "len(skipped) - max_skipped", "0"),
    ),
    Fault(
        "R-9.2-07",
        "the psk_secret stays with the committer and the receivers",
        Edit(NextEpoch.wipe_passing, "self.psk_secret.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-07",
        "the psk_secret stays with who joins",
        Edit(join.join_by_welcome, "    injected.wipe()", "    pass"),
    ),
    Fault(
        "R-9.2-07",
        "the PSKs themselves stay with the committer and the receivers",
        Edit(transition.derive_next_epoch, "psk.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-07",
        "the PSKs themselves stay with who joins",
        Edit(join.join_by_welcome, "psk.wipe()", "pass"),
    ),
    Fault(
        "R-9.2-09",
        "what is wiped is let go, but not overwritten",
        Edit(Secret.wipe, "self._buffer[:] = bytes(len(self._buffer))", "pass"),
    ),
    Fault(
        "R-9.2-09",
        "a ratchet secret is replaced, but not wiped",
        Edit(Ratchet._move_ahead, "[self.secret, *evicted]", "evicted"),
    ),
    Fault(
        "R-9.2-09",
        "node secrets are deleted, but not wiped",
        Edit(SecretTree.apply, "self._nodes.pop(x).wipe()", "self._nodes.pop(x)"),
    ),
    Fault(
        "R-9.2-09",
        "the private keys and secrets of an epoch that ended are dropped, but not wiped",
        Edit(standing.wipe_states, "state.secrets.wipe()", "pass"),
    ),
]
