"""Faults in application messages. RFC 9420 §15."""

from __future__ import annotations

from mls import Group, merging
from mls.epoch import framing
from mls.schedule.hash_ratchet import Ratchet
from mls.schedule.secret_tree import SecretTree
from mls.store.standing import Standing
from tests.support.planting import Edit, Fault

FAULTS = [
    Fault(
        "R-15-01",
        "handshakes and what is said share a ratchet",
        Edit(SecretTree._name_of, "if is_application else RatchetKind.HANDSHAKE", ""),
    ),
    Fault(
        "R-15-01",
        "all members share a ratchet",
        Edit(SecretTree._name_of, "return leaf, ", "return leaf * 0, "),
    ),
    Fault(
        "R-15-02",
        "every past epoch is kept",
        Edit(merging.merge_transition, "[-n_kept:] if n_kept else []", ""),
    ),
    Fault(
        "R-15-02",
        "late messages are verified by the leaves of today",
        Edit(Standing.past_after, "for leaf in transition.changed_leaves", "for leaf in ()"),
    ),
    Fault(
        "R-15.1-01",
        "every message is padded in one way",
        Edit(framing.protect_private, "wanted = padding(len(plaintext))", "wanted = -len(plaintext) % 256"),
    ),
    Fault(
        "R-15.1-02",
        "padding makes messages larger than may be sent",
        Edit(
            framing.protect_private,
            "wanted if limit is None else min(wanted, _room(framed, len(plaintext), limit))",
            "wanted",
        ),
    ),
    Fault(
        "R-15.2-02",
        "while a change is pending, what is said goes to all who were there before",
        Edit(Group.encrypt, "require(not standing.proposals,", "require(True,"),
    ),
    Fault(
        "R-15.3-01",
        "the keys of messages that were passed over are lost",
        Edit(Ratchet._move_ahead, "skipped[passed] = SkippedKey(key, nonce, stamp)", "pass"),
    ),
    Fault(
        "R-15.3-01",
        "a ratchet that moves ahead comes one generation short",
        Edit(
            Ratchet._move_ahead,
            "moved = Ratchet(following, generation + 1,",
            "moved = Ratchet(following, generation,",
        ),
    ),
    Fault(
        "R-15.3-02",
        "a sender's skipped keys are not bounded",
        Edit(Ratchet._move_ahead, "moved.without_oldest(len(skipped) - max_skipped)", "moved.without_oldest(0)"),
    ),
    Fault(
        "R-15.3-02",
        "the group's skipped keys are not bounded",
        Edit(SecretTree._evict, "if excess <= 0:", "if True:"),
    ),
    Fault(
        "R-15.3-02",
        "skipped keys that are too old are not deleted",
        Edit(SecretTree._expire, "if self._oldest >= oldest:", "if True:"),
    ),
    Fault(
        "R-15.3-02",
        "nobody remembers when a key was skipped",
        Edit(SecretTree._stamp_at, "max(self._stamp, stamp_of(now))", "self._stamp"),
    ),
]
