"""That a client is in a group once, by the application's notion of a client. RFC 9420 §12.2, §12.4.3.2.

Clients are compared with those of the same identity alone, whom the tree finds without a look at all members.
"""

from __future__ import annotations

from collections.abc import Sequence

from mls.epoch.environment import Environment
from mls.epoch.members import IdentityOf
from mls.epoch.state import leaf_node_at
from mls.errors import InvalidProposalList
from mls.identity import Subject
from mls.messages import KeyPackage, LeafNode
from mls.rules import require
from treekem.index import LeafIndex
from treekem.tree import RatchetTree


def verify_clients(tree: RatchetTree, added: Sequence[tuple[LeafIndex, KeyPackage]], env: Environment) -> None:
    """Check that those whom a commit added are in `tree`, the tree with them, only once. Raises InvalidProposalList.

    RFC 9420 §12.2.
    """
    judged, new = set[LeafIndex](), frozenset(index for index, _ in added)
    clients = _clients_beside(tree, added, env)
    for index, key_package in added:
        judged.add(index)
        beside = clients[env.policy.identity(key_package.leaf_node.credential)]
        others = ((other, subject) for other, subject in beside.items() if other not in judged)
        again = next((other for other, subject in others if env.policy.same_client(beside[index], subject)), None)
        message = f"the client of leaf {again} is added again"
        require(again not in new, InvalidProposalList, "R-12.2-07", message, leaf=again)
        require(again is None or again in new, InvalidProposalList, "R-12.2-08", message, leaf=again)


def verify_other_client(tree: RatchetTree, leaf: LeafNode, other: LeafIndex, rule: str, env: Environment) -> None:
    """Check that a leaf and another one are not of one client. Raises InvalidProposalList. RFC 9420 §12.4.3.2."""
    present = leaf_node_at(tree, other)
    if present is not None:
        one = env.subject(leaf.credential, leaf.signature_key)
        same = env.policy.same_client(one, env.subject(present.credential, present.signature_key))
        require(not same, InvalidProposalList, rule, f"the client of leaf {other} is added again", leaf=other)


def _clients_beside(
    tree: RatchetTree, added: Sequence[tuple[LeafIndex, KeyPackage]], env: Environment
) -> dict[bytes, dict[LeafIndex, Subject]]:
    """Return all members of each identity that is added, each described once: they are compared in pairs."""
    identities = {env.policy.identity(key_package.leaf_node.credential) for _, key_package in added}
    clients: dict[bytes, dict[LeafIndex, Subject]] = {}
    for identity in identities:
        holders = tree.leaves_with(identity, IdentityOf(env.policy))
        leaves = ((index, leaf_node_at(tree, index)) for index in holders)
        clients[identity] = {
            index: env.subject(leaf.credential, leaf.signature_key) for index, leaf in leaves if leaf is not None
        }
    return clients
