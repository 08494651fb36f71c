"""Faults in the life of a group. RFC 9420 §3."""

from __future__ import annotations

from mls import Group, merging, succession
from mls.epoch import environment, welcome
from mls.store.standing import Standing
from tests.support.planting import Edit, Fault
from treekem.tree import RatchetTree

FAULTS = [
    Fault(
        "R-3-01",
        "the policy is not asked",
        Edit(environment.Environment.accept, "self.policy.accept(self.subject", "(self.subject"),
    ),
    Fault(
        "R-3.1-01",
        "the secret tree outlives its epoch",
        Edit(
            merging.merge_transition,
            "SecretTree(state.suite, state.group.tree.n_leaves, secret, limits_of(env.settings))",
            "standing.secret_tree",
        ),
    ),
    Fault(
        "R-3.1-02",
        "who is removed keeps a leaf that paths are sealed to",
        Edit(RatchetTree.remove_leaf, "node_of(leaf): None}", "node_of(leaf): self.leaf(leaf)}"),
    ),
    Fault(
        "R-3.2-01",
        "a proposal to remove somebody takes effect at once",
        Edit(
            Group.propose,
            "        return SentProposal(encoded, reference)",
            "        group = standing.state.group\n"
            "        object.__setattr__(group, 'tree', group.tree.remove_leaf(draft.proposal.removed))\n"
            "        return SentProposal(encoded, reference)",
        ),
    ),
    Fault(
        "R-3.2-02",
        "a committer moves on before its commit is taken",
        Edit(
            Group.commit,
            "return self._pending_commit(candidate)",
            "pending = self._pending_commit(candidate); self._standing = merge_transition("
            "standing, created.transition, None, self._store, env); return pending",
        ),
    ),
    Fault(
        "R-3.3-01",
        "a GroupInfo never says the external public key",
        Edit(welcome.create_group_info, "if external_pub:", "if False:"),
    ),
    Fault(
        "R-3.4-01",
        "an epoch leaves no resumption PSK behind",
        Edit(Standing._resumption, "return {", "return {} and {"),
    ),
    Fault(
        "R-3.4-02",
        "a successor is not tied to the group that it continues",
        Edit(succession.create_first_commit, "in key_packages), psk]", "in key_packages)]"),
    ),
]
