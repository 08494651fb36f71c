"""From a group to one that continues it: the successor that a ReInit announced, or a branch. RFC 9420 §11.2, §11.3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mls.crypto import CipherSuite, cipher_suite
from mls.drafting import read_key_package
from mls.epoch.create_commit import CommitOrder, create_commit
from mls.epoch.environment import Environment, Origin
from mls.epoch.framing import SenderKeys
from mls.epoch.members import leaf_nodes
from mls.epoch.past import past_leaf
from mls.epoch.proposals import QueuedProposal
from mls.epoch.state import EpochState, GroupState
from mls.epoch.succession import verify_branch, verify_successor
from mls.errors import Code, Unsupported, UsageError
from mls.identity import CredentialPolicy
from mls.messages import (
    Add,
    Extension,
    LeafNode,
    MemberSender,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProtocolVersion,
    ResumptionPSK,
    ResumptionPSKUsage,
)
from mls.rules import require, require_present
from mls.schedule.secret_tree import SecretTree
from mls.store.candidates import Candidate
from mls.store.standing import Standing, limits_of
from treekem.index import LeafIndex
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a new group is to be, and which epoch of which group it continues."""

    group_id: bytes
    suite: CipherSuite
    extensions: tuple[Extension, ...]
    link: ResumptionPSK
    origin: Origin


def origin_of(standing: Standing, epoch: int, policy: CredentialPolicy) -> Origin | None:
    """Describe a group as of an epoch, or return None where its members at that time are not known any more.

    RFC 9420 §11.2, §11.3.
    """
    context = standing.state.group.context
    is_present = epoch == context.epoch
    if not is_present and epoch not in {each.epoch for each in standing.past}:
        return None
    leaves = (leaf for _, leaf in leaf_nodes(standing.state.group.tree)) if is_present else _leaves(standing, epoch)
    identities = tuple(policy.identity(leaf.credential) for leaf in leaves)
    return Origin(context.version, context.cipher_suite, identities, standing.frozen if is_present else None)


def _leaves(standing: Standing, epoch: int) -> Iterator[LeafNode]:
    n_leaves = next(each.n_leaves for each in standing.past if each.epoch == epoch)
    for index in range(n_leaves):
        leaf = past_leaf(standing.past, epoch, standing.state.group.tree, LeafIndex(index))
        if leaf is not None:
            yield leaf


# Creating, §11.2 step 3 and §11.3 step 2.


def plan_successor(standing: Standing, policy: CredentialPolicy) -> Continuation:
    """Return what a frozen group's ReInit announced. Raises UsageError or Unsupported. RFC 9420 §11.2."""
    announced = require_present(standing.frozen, UsageError, "R-11.2-01", "no ReInit was committed in this group")
    is_known = announced.version == ProtocolVersion.MLS10
    require(is_known, Unsupported, "R-6-05", f"a successor of version {announced.version}")
    return Continuation(
        announced.group_id,
        cipher_suite(announced.cipher_suite),
        announced.extensions,
        _link(standing, ResumptionPSKUsage.REINIT),
        _origin_now(standing, policy),
    )


def plan_branch(
    standing: Standing, group_id: bytes, extensions: tuple[Extension, ...], policy: CredentialPolicy
) -> Continuation:
    """Return what a branch of a group's present epoch is. RFC 9420 §11.3."""
    link = _link(standing, ResumptionPSKUsage.BRANCH)
    return Continuation(group_id, standing.state.suite, extensions, link, _origin_now(standing, policy))


def _link(standing: Standing, usage: ResumptionPSKUsage) -> ResumptionPSK:
    return ResumptionPSK(usage, standing.group_id, standing.state.epoch)


def _origin_now(standing: Standing, policy: CredentialPolicy) -> Origin:
    origin = origin_of(standing, standing.state.epoch, policy)
    if origin is None:
        raise AssertionError("the members of the present epoch are known")
    return origin


def create_first_commit(
    plan: Continuation, state: EpochState, key_packages: Sequence[bytes], env: Environment
) -> Candidate:
    """Create the commit that fills a new group, still in epoch 0, and ties it to the group that it continues.

    Raises UsageError for key packages of the wrong identities; InvalidKeyPackage and what else adding raises.
    RFC 9420 §11.2, §11.3.
    """
    psk = PreSharedKey(PreSharedKeyID(plan.link, env.entropy(plan.suite.hash_length)))
    proposals: list[Proposal] = [*(Add(read_key_package(each, env.settings)) for each in key_packages), psk]
    sender = MemberSender(state.own.index)
    # In the clear, which spends no key: nobody but us is in the epoch that this commit is for.
    queued = tuple(QueuedProposal(each, sender) for each in proposals)
    order = CommitOrder(queued, private=False, link=plan.link.usage)
    tree = SecretTree(state.suite, 1, state.secrets.encryption.copy(), limits_of(env.settings))
    try:
        created = create_commit(state, order, SenderKeys(state.secrets.sender_data, tree), env)
    finally:
        tree.wipe()
    if created.transition.state is None:
        raise AssertionError("a first commit removes nobody")
    _verify_members(plan, created.transition.state.group, env)
    welcome = None if created.welcome is None else encode(MLSMessage(ProtocolVersion.MLS10, created.welcome))
    size = 0 if welcome is None else len(welcome)
    fits = size <= env.settings.max_welcome_bytes
    require(fits, UsageError, "S-max_welcome_bytes", f"a Welcome of {size} bytes", code=Code.LIMIT_EXCEEDED)
    message = encode(created.message)
    return Candidate(message, welcome, tree_beside=False, left_out=(), transition=created.transition, order=0)


def _verify_members(plan: Continuation, group: GroupState, env: Environment) -> None:
    """Judge a new group as those will who are invited to it."""
    identities = [env.policy.identity(leaf.credential) for _, leaf in leaf_nodes(group.tree)]
    is_branch = plan.link.usage is ResumptionPSKUsage.BRANCH
    verify = verify_branch if is_branch else verify_successor
    verify(plan.origin, group.context, identities, UsageError)
