"""Faults in the order of state changes. RFC 9420 §14."""

from __future__ import annotations

from mls import Group, merging
from mls.store import standing
from mls.store.standing import Standing
from tests.support.planting import Edit, Fault

FAULTS = [
    Fault(
        "R-14-01",
        "what a commit covers is not pending any more",
        Edit(
            Group.commit,
            "standing.candidates[candidate.name] = candidate",
            "standing.candidates[candidate.name] = candidate; standing.proposals.clear()",
        ),
    ),
    Fault(
        "R-14-01",
        "a commit uses up the secrets of the epoch that it ends",
        Edit(
            Group.commit,
            "return self._pending_commit(candidate)",
            "standing.secret_tree.wipe(); return self._pending_commit(candidate)",
        ),
    ),
    Fault(
        "R-14-02",
        "a commit that was discarded is pending again after a restart",
        Edit(
            Group.discard,
            'self._store.apply({f"{self._standing.prefix}candidate/{commit.candidate}": None})',
            "pass",
        ),
    ),
    Fault(
        "R-14-02",
        "a commit is not pending any more after a restart",
        Edit(Standing.candidate_batch, "return {name: pack", "return {} and {name: pack"),
    ),
    Fault(
        "R-14-04",
        "what a discarded commit would have led to stays",
        Edit(Group.discard, "wipe_states([candidate.transition.state], kept=self._standing.state)", "pass"),
    ),
    Fault(
        "R-14-04",
        "the epoch that ends stays, and so do those that others' commits led to",
        Edit(merging._wipe_ended, "wipe_states(ended, kept=after.state)", "pass"),
    ),
    Fault(
        "R-14-04",
        "the records of commits that lost stay",
        Edit(Standing._volatile, "for name in self.candidates:", "for name in ():"),
    ),
    Fault(
        "R-14-06",
        "the generation of a commit is spent when it is merged",
        Edit(
            Group.commit,
            "self._spend(created.key, standing.candidate_batch(candidate), env)",
            "self._store.apply(standing.candidate_batch(candidate))",
        ),
    ),
    Fault(
        "R-14-06",
        "that a commit spent a generation is not stored",
        Edit(standing.Standing.key_batch, "return ratchet_records(", "return {} and ratchet_records("),
    ),
]
