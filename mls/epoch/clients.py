"""That a client is in a group once, by the application's notion of a client. RFC 9420 §12.2, §12.4.3.2.

Clients are compared with those of the same identity alone, whom the tree finds without a look at all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mls.epoch.environment import Environment
from mls.epoch.leaves import decode_leaf_node
from mls.epoch.members import IdentityOf
from mls.epoch.state import leaf_node_at
from mls.errors import InvalidProposalList
from mls.identity import Subject
from mls.messages import KeyPackage, LeafNode
from mls.rules import require
from treekem.index import LeafIndex
from treekem.tree import RatchetTree

_SHARE: Final = 2  # One in so many.


def verify_added_once(packages: Sequence[tuple[int, KeyPackage]], env: Environment) -> None:
    """Check that no two key packages of a list, each with its place there, are of one client.

    This takes no signature, so it goes before what does. Raises InvalidProposalList. RFC 9420 §12.2.
    """
    of_identity: dict[bytes, list[tuple[int, LeafNode]]] = {}
    for index, package in packages:
        identity = env.identity_of(package.leaf_node.credential)
        # What cannot be read is refused where the key package is judged by itself.
        if identity is not None:
            of_identity.setdefault(identity, []).append((index, package.leaf_node))
    for leaves in of_identity.values():
        if len(leaves) > 1:
            _verify_each_client_once(leaves, env)


def _verify_each_client_once(leaves: Sequence[tuple[int, LeafNode]], env: Environment) -> None:
    """Compare leaves of one identity in pairs; each is described once."""
    seen: list[tuple[int, Subject]] = []
    for index, leaf in leaves:
        subject = env.subject(leaf.credential, leaf.signature_key)
        again = next((other for other, before in seen if env.policy.same_client(before, subject)), None)
        message = f"proposal {index} adds the client of proposal {again} again"
        require(again is None, InvalidProposalList, "R-12.2-07", message, index=index)
        seen.append((index, subject))


def verify_clients(tree: RatchetTree, added: Sequence[tuple[LeafIndex, KeyPackage]], env: Environment) -> None:
    """Check that nobody whom a commit added is one of the others in `tree`, the tree with them.

    Raises InvalidProposalList. RFC 9420 §12.2.
    """
    new = frozenset(index for index, _ in added)
    # Where most are new, a look at the others costs less than a table of all.
    are_seen = _SHARE * len(new) > tree.n_members
    others = _clients_beside(tree, new, env) if are_seen else {}
    for _, package in added:
        leaf = package.leaf_node
        identity = env.policy.identity(leaf.credential)
        if identity not in others:
            others[identity] = {} if are_seen else _clients_of(tree, identity, new, env)
        beside = others[identity]
        subject = env.subject(leaf.credential, leaf.signature_key) if beside else None
        again = next(
            (index for index, other in beside.items() if subject and env.policy.same_client(subject, other)), None
        )
        message = f"the client of leaf {again} is added again"
        require(again is None, InvalidProposalList, "R-12.2-08", message, leaf=again)


def verify_other_client(tree: RatchetTree, leaf: LeafNode, other: LeafIndex, rule: str, env: Environment) -> None:
    """Check that a leaf and another one are not of one client. Raises InvalidProposalList. RFC 9420 §12.4.3.2."""
    present = leaf_node_at(tree, other)
    if present is not None:
        one = env.subject(leaf.credential, leaf.signature_key)
        same = env.policy.same_client(one, env.subject(present.credential, present.signature_key))
        require(not same, InvalidProposalList, rule, f"the client of leaf {other} is added again", leaf=other)


def _clients_beside(
    tree: RatchetTree, new: frozenset[LeafIndex], env: Environment
) -> dict[bytes, dict[LeafIndex, Subject]]:
    """Return all clients but those that are new, by identity."""
    found: dict[bytes, dict[LeafIndex, Subject]] = {}
    for index, encoded in tree.encoded_leaves():
        if index not in new:
            leaf = decode_leaf_node(encoded)
            subject = env.subject(leaf.credential, leaf.signature_key)
            found.setdefault(env.policy.identity(leaf.credential), {})[index] = subject
    return found


def _clients_of(
    tree: RatchetTree, identity: bytes, new: frozenset[LeafIndex], env: Environment
) -> dict[LeafIndex, Subject]:
    """Return the clients of an identity but those that are new, each described once: they are compared in pairs."""
    holders = (index for index in tree.leaves_with(identity, IdentityOf(env.policy)) if index not in new)
    leaves = ((index, leaf_node_at(tree, index)) for index in holders)
    return {index: env.subject(leaf.credential, leaf.signature_key) for index, leaf in leaves if leaf is not None}
