"""Faults in what members are protected by, and told. RFC 9420 §16."""

from __future__ import annotations

from mls import Group, joining, receiving
from mls.epoch import admission, effect, framing, receive_commit
from mls.observer import PublicGroup
from mls.store import standing
from tests.support.planting import Edit, Fault
from treekem import path, rules

FAULTS = [
    Fault(
        "R-16.2-01",
        "private keys outlive the nodes that they belong to",
        Edit(
            path.surviving_keys,
            "if (key := after.encryption_key(x)) is not None and key == before.encryption_key(x)",
            "",
        ),
    ),
    Fault(
        "R-16.3-02",
        "the reuse guard is always the same",
        Edit(framing.protect_private, "guard = entropy(_GUARD_LENGTH)", "guard = bytes(_GUARD_LENGTH)"),
    ),
    Fault(
        "R-16.6-01",
        "private keys of the tree outlive their epoch",
        Edit(
            standing.wipe_states,
            "                key.wipe()",
            "                key.wipe() if key is state.own.signature_key else None",
        ),
    ),
    Fault(
        "R-16.6-04",
        "the key of an own Update is used before anybody has committed it",
        Edit(
            Group.propose,
            "standing.proposals.setdefault(reference, pending)",
            "standing.proposals.setdefault(reference, pending); standing.state.own.private_keys.update("
            "{2 * standing.state.own.index: draft.update_key} if draft.update_key else {})",
        ),
    ),
    Fault(
        "R-16.9-01",
        "nobody is told which message of a sender is missing",
        Edit(receiving._receive_private, "message.epoch, sender_data.generation", "message.epoch, 0"),
    ),
    Fault(
        "R-16.10-01",
        "a committer's new credential is not told",
        Edit(effect.effect_of, "(old := member(before, committer)) != author:", "(old := author) != author:"),
    ),
    Fault(
        "R-16.10-01",
        "a new credential that came by an Update is not told",
        Edit(
            effect.effect_of,
            "updated = [(member(before, index), member_of(index, leaf, env)) for index, leaf in applied.updated]",
            "updated = []",
        ),
    ),
    Fault(
        "R-16.11-01",
        "who follows a group does not see what is proposed",
        Edit(PublicGroup.proposals, "queue = self._view.queue.values()", "queue = ()"),
    ),
    Fault(
        "R-16.12-01",
        "an error does not say which rule was broken",
        Edit(rules.require, "code=code, rule=rule", "code=None"),
    ),
    Fault(
        "R-16.12-01",
        "an error does not say whether a member was proven to have caused it",
        Edit(admission.authenticated, "error.authenticated = True", "pass"),
    ),
    Fault(
        "R-16.12-02",
        "who holds the group does not come in again from outside",
        Edit(joining.verify_returning, "require(resync,", "require(False,"),
    ),
    Fault(
        "R-16.12-02",
        "a commit whose tag does not match costs the secret that the next one needs",
        Edit(
            receive_commit.stage_commit,
            "    init_secret = state.secrets.init_secret\n",
            "    init_secret = state.secrets.init_secret.copy()\n    state.secrets.init_secret.wipe()\n",
        ),
    ),
]
