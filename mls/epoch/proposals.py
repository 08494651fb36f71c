"""Proposals: each judged alone, then as a list, then applied to a copy of the tree. RFC 9420 §12.1, §12.2, §12.3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from mls.crypto import CipherSuite, SignaturePrivateKey
from mls.epoch.authorization import authorize_joiner, authorize_proposal
from mls.epoch.clients import verify_added_once, verify_clients, verify_other_client
from mls.epoch.custom import verify_custom, verify_proposal_support
from mls.epoch.environment import Environment
from mls.epoch.extensions import verify_extensions
from mls.epoch.group_extensions import extensions_after, verify_group_context_extensions
from mls.epoch.leaves import Demands, verify_key_package, verify_leaf_node, verify_own_demands
from mls.epoch.limits import verify_extension_count, verify_width
from mls.epoch.many_leaves import vetted_key_packages
from mls.epoch.members import IdentityOf, verify_all_demands, verify_members
from mls.epoch.state import GroupState, leaf_node_at
from mls.errors import (
    Code,
    InvalidKey,
    InvalidLeafNode,
    InvalidProposal,
    InvalidProposalList,
    MLSError,
    UnavailableSecret,
)
from mls.identity import Place
from mls.messages import (
    Add,
    Credential,
    CustomProposal,
    Extension,
    ExternalInit,
    ExternalPSK,
    GroupContextExtensions,
    KeyPackage,
    LeafNode,
    LeafPosition,
    MemberSender,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    ResumptionPSK,
    ResumptionPSKUsage,
    Sender,
    Update,
    UpdateSource,
)
from mls.registry import GROUP_CONTEXT, NO_REGISTRY, Registry
from mls.rules import refuse, require, require_kind, require_present
from mls.schedule.psk import PSK
from treekem.index import LeafIndex
from treekem.nodes import LeafSlot
from treekem.tree import RatchetTree

_FEW: Final = 32  # So many are added one by one.


@dataclass(frozen=True, slots=True)
class QueuedProposal:
    """A proposal and who made it; `reference` is empty for one that stands in the commit itself."""

    proposal: Proposal
    sender: Sender
    reference: bytes = b""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a list of proposals makes of a group; the group itself is untouched.

    `changed` names every leaf of the new tree that the list put there.
    """

    tree: RatchetTree
    extensions: tuple[Extension, ...]
    demands: Demands
    added: tuple[tuple[LeafIndex, KeyPackage], ...]
    updated: tuple[tuple[LeafIndex, LeafNode], ...]
    removed: tuple[LeafIndex, ...]
    psks: tuple[PreSharedKeyID, ...]
    reinit: ReInit | None
    external_init: ExternalInit | None

    @property
    def changed(self) -> frozenset[LeafIndex]:
        """The leaves that were added or updated."""
        return frozenset(index for index, _ in (*self.added, *self.updated))

    @property
    def new_leaves(self) -> frozenset[LeafIndex]:
        """The leaves that were added, to which no path secret is sealed. RFC 9420 §7.5."""
        return frozenset(index for index, _ in self.added)


# One proposal, §12.1.


def verify_proposal(
    group: GroupState,
    queued: QueuedProposal,
    env: Environment,
    demands: Demands,
    *,
    index: int | None = None,
    strict: bool = False,
    link: ResumptionPSKUsage | None = None,
    vetted: bool = False,
) -> None:
    """Check one proposal; `index` is its place in the list, `strict` holds for one that is about to be sent.

    `link` is the usage of the PSK by which the commit ties a new group to another one; the key package of one that is
    `vetted` was found valid before. Raises a subclass of InvalidMessage, or Refused. RFC 9420 §12.1.
    """
    try:
        _verify_proposal(group, queued, env, demands, strict=strict, link=link, vetted=vetted)
        if link is None:
            # Who continues a group does what its members agreed on there.
            authorize_proposal(group, queued.proposal, queued.sender, env)
    except MLSError as error:
        error.index = index
        raise


def _verify_proposal(
    group: GroupState,
    queued: QueuedProposal,
    env: Environment,
    demands: Demands,
    *,
    strict: bool,
    link: ResumptionPSKUsage | None,
    vetted: bool,
) -> None:
    match queued.proposal:
        case Add(key_package=key_package):
            if not vetted:
                verify_key_package(key_package, demands, env, strict=strict)
            leaf = key_package.leaf_node
            env.accept(leaf.credential, leaf.signature_key, Place.ADD)
        case Update(leaf_node=leaf):
            _verify_update(group, leaf, queued.sender, env, demands, strict=strict)
        case Remove(removed=removed):
            known = group.leaf_node(removed) is not None
            require(known, InvalidProposal, "R-12.1.3-02", f"leaf {removed} is to be removed, but it is blank")
        case PreSharedKey(psk=psk):
            verify_psk_id(psk, group.suite, link)
        case ReInit(version=version, extensions=extensions):
            lower = version < group.context.version
            require(not lower, InvalidProposal, "R-12.1.5-02", "reinitialization to a lower version")
            verify_extension_count(extensions, GROUP_CONTEXT, InvalidProposal, env.settings, own=strict)
            verify_extensions(extensions, GROUP_CONTEXT, InvalidProposal, env.registry)
        case ExternalInit(kem_output=kem_output):
            joins = not isinstance(queued.sender, MemberSender)
            require(joins, InvalidProposal, "R-12.1.6-02", "a member proposes an external init")
            _verify_kem_output(group.suite, kem_output)
        case GroupContextExtensions(extensions=extensions):
            verify_group_context_extensions(group, extensions, env, strict=strict)
        case CustomProposal() as custom:
            if strict:
                verify_proposal_support(group, (custom.proposal_type,), ())
            verify_custom(group, queued.sender, custom, (), env)
        case _:
            assert_never(queued.proposal)


def _verify_kem_output(suite: CipherSuite, kem_output: bytes) -> None:
    """§8.3: a kem_output is a public key, which anybody can judge, whoever holds the key to open it."""
    try:
        suite.verify_hpke_key(kem_output)
    except InvalidKey as error:
        refuse(InvalidProposal, "R-8.3-04", f"kem_output: {error.message}", code=error.code)
        raise


def _verify_update(
    group: GroupState, leaf: LeafNode, sender: Sender, env: Environment, demands: Demands, *, strict: bool
) -> None:
    message = "an Update of a sender who is no member"
    member = require_kind(sender, MemberSender, InvalidProposal, "R-12.1.2-03", message)
    require(isinstance(leaf.source, UpdateSource), InvalidLeafNode, "R-7.3-11", "an Update's leaf has another source")
    verify_replacement(group, leaf, member.leaf_index, env, demands, Place.UPDATE, strict=strict)


def verify_replacement(
    group: GroupState,
    leaf: LeafNode,
    index: LeafIndex,
    env: Environment,
    demands: Demands,
    place: Place,
    *,
    strict: bool = False,
    signer: SignaturePrivateKey | None = None,
) -> None:
    """Check a leaf that replaces the one at `index`; `strict` for one that is about to be sent.

    `signer` is as for `verify_leaf_node`. Raises InvalidProposal, InvalidLeafNode, InvalidSignature, InvalidKey,
    MalformedMessage or Refused. RFC 9420 §7.3, §7.5, §5.3.1.
    """
    message = f"leaf {index} is to be replaced, but it is blank"
    old = require_present(group.leaf_node(index), InvalidProposal, "R-12.1.2-03", message)
    suite = group.suite
    fresh = suite.canonical_public_key(leaf.encryption_key) != suite.canonical_public_key(old.encryption_key)
    rule = "R-7.3-12" if place is Place.UPDATE else "R-12.4.2-10"
    require(fresh, InvalidLeafNode, rule, f"leaf {index}: its encryption key is not replaced", leaf=index)
    position = LeafPosition(group.context.group_id, index)
    verify_leaf_node(leaf, position, demands, env, strict=strict, signer=signer)
    if (leaf.credential, leaf.signature_key) != (old.credential, old.signature_key):
        env.accept(leaf.credential, leaf.signature_key, place, replaces=old.credential, leaf=index)


def verify_psk_id(psk: PreSharedKeyID, suite: CipherSuite, link: ResumptionPSKUsage | None = None) -> None:
    """Check a PreSharedKeyID that a proposal or a Welcome names. Raises InvalidProposal. RFC 9420 §8.4, §12.1.4.

    `link` is the usage, apart from that by applications, that is in its place: only where a group begins there is one.
    """
    length = len(psk.psk_nonce)
    message = f"a psk_nonce of {length} bytes, not {suite.hash_length}"
    require(length == suite.hash_length, InvalidProposal, "R-12.1.4-03", message, code=Code.PSK_INVALID)
    usage = psk.psk.usage if isinstance(psk.psk, ResumptionPSK) else None
    is_reinit = usage is ResumptionPSKUsage.REINIT and link is not usage
    is_branch = usage is ResumptionPSKUsage.BRANCH and link is not usage
    message = "a PSK of usage {} outside the commit that starts a group"
    require(not is_reinit, InvalidProposal, "R-12.1.4-01", message.format("reinit"), code=Code.PSK_INVALID)
    require(not is_branch, InvalidProposal, "R-12.1.4-02", message.format("branch"), code=Code.PSK_INVALID)


# The list, §12.2.


def verify_list(proposals: Sequence[QueuedProposal], committer: LeafIndex) -> None:
    """Check that a member's list goes together. Raises InvalidProposalList. RFC 9420 §12.2."""
    for index, queued in enumerate(proposals):
        from_outside = isinstance(queued.proposal, ExternalInit)
        _listed(not from_outside, "R-12.2-13", "an ExternalInit in a member's commit", index)
        match queued.proposal:
            case Update():
                own = queued.sender == MemberSender(committer)
                _listed(not own, "R-12.2-03", "the committer covers its own Update", index)
            case Remove(removed=removed):
                _listed(removed != committer, "R-12.2-04", "the committer removes itself", index)
            case ReInit():
                _listed(len(proposals) == 1, "R-12.2-11", "a ReInit is not alone", index)
            case _:
                pass
    _verify_each_leaf_once(proposals)
    _verify_psks_once(proposals)
    lists = [index for index, each in enumerate(proposals) if isinstance(each.proposal, GroupContextExtensions)]
    _listed(len(lists) <= 1, "R-12.2-10", "two GroupContextExtensions", lists[-1] if lists else None)


def _verify_each_leaf_once(proposals: Sequence[QueuedProposal]) -> None:
    touched: set[LeafIndex] = set()
    for index, queued in enumerate(proposals):
        leaf = _leaf_touched(queued)
        if leaf is not None:
            _listed(leaf not in touched, "R-12.2-05", f"leaf {leaf} is updated or removed twice", index)
            touched.add(leaf)


def _leaf_touched(queued: QueuedProposal) -> LeafIndex | None:
    match queued.proposal, queued.sender:
        case Remove(removed=removed), _:
            return removed
        case Update(), MemberSender(leaf_index=sender):
            return sender
        case _:
            return None


def _verify_psks_once(proposals: Sequence[QueuedProposal]) -> None:
    seen: set[PreSharedKeyID] = set()
    for index, queued in enumerate(proposals):
        if isinstance(queued.proposal, PreSharedKey):
            psk = queued.proposal.psk
            _listed(psk not in seen, "R-12.2-09", "a PreSharedKeyID twice", index, Code.PSK_INVALID)
            seen.add(psk)


def verify_external_list(proposals: Sequence[QueuedProposal]) -> None:
    """Check the list of an external commit. Raises InvalidProposalList. RFC 9420 §12.2, §12.4.3.2."""
    inits = removes = 0
    for index, queued in enumerate(proposals):
        _listed(not queued.reference, "R-12.4.3.2-04", "an external commit refers to a proposal", index)
        inits += isinstance(queued.proposal, ExternalInit)
        removes += isinstance(queued.proposal, Remove)
        allowed = isinstance(queued.proposal, ExternalInit | Remove | PreSharedKey)
        _listed(allowed, "R-12.2-20", "an external commit may not cover this", index)
    _listed(inits == 1, "R-12.2-17", f"an external commit with {inits} ExternalInit proposals", None)
    _listed(removes <= 1, "R-12.2-18", "an external commit removes more than one leaf", None)
    _verify_psks_once(proposals)


def verify_joiner(
    group: GroupState, leaf: LeafNode, index: LeafIndex, applied: Applied, env: Environment, *, strict: bool = False
) -> None:
    """Check the leaf that an external commit brings, and the former leaf that it may replace.

    Raises InvalidProposalList and what `verify_replacement` does. RFC 9420 §12.2, §12.4.3.2.
    """
    verify_leaf_node(leaf, LeafPosition(group.context.group_id, index), applied.demands, env, strict=strict)
    if strict:
        verify_own_demands(leaf, applied.demands, index)
    replaced = None
    for removed in applied.removed:
        replaced = _replaced_credential(group, leaf, removed, env)
    for other in applied.tree.leaves_with(env.policy.identity(leaf.credential), IdentityOf(env.policy)):
        verify_other_client(applied.tree, leaf, other, "R-12.4.3.2-10", env)
    env.accept(leaf.credential, leaf.signature_key, Place.EXTERNAL_JOIN, replaces=replaced)
    authorize_joiner(group, leaf, index, applied.removed, applied.psks, env)


def _replaced_credential(group: GroupState, leaf: LeafNode, removed: LeafIndex, env: Environment) -> Credential:
    message = f"leaf {removed} is to be removed, but it is blank"
    old = require_present(group.leaf_node(removed), InvalidProposal, "R-12.1.3-02", message)
    same = env.policy.identity(old.credential) == env.policy.identity(leaf.credential)
    message = f"an external commit removes leaf {removed}, which is not the joiner's own"
    require(same, InvalidProposalList, "R-12.2-18", message, code=Code.CREDENTIAL_CHANGED, leaf=removed)
    canonical = group.suite.canonical_public_key
    fresh = canonical(leaf.encryption_key) != canonical(old.encryption_key)
    require(fresh, InvalidLeafNode, "R-12.2-19", "the joiner keeps its former encryption key", leaf=removed)
    return old.credential


def _listed(condition: bool, rule: str, message: str, index: int | None, code: Code | None = None) -> None:
    place = "" if index is None else f"proposal {index}: "
    require(condition, InvalidProposalList, rule, place + message, code=code, index=index)


# Applying, §12.3.


def apply_proposals(
    group: GroupState,
    proposals: Sequence[QueuedProposal],
    env: Environment,
    *,
    strict: bool = False,
    link: ResumptionPSKUsage | None = None,
) -> Applied:
    """Check every proposal under the extensions that will be in force, and apply the list to a copy of the tree.

    The order is that of RFC 9420 §12.3, whatever the order of the list; `link` is as for `verify_proposal`. Raises
    a subclass of InvalidMessage, or Refused.
    """
    entries = tuple((each.sender, each.proposal) for each in proposals)
    extensions = extensions_after(group, entries, env)
    demands = Demands.of(group.context, group.suite, extensions)
    verify_added_once(_key_packages(proposals), env)
    _verify_each(group, proposals, env, demands, strict=strict, link=link)
    updated = tuple(
        (each.sender.leaf_index, each.proposal.leaf_node)
        for each in proposals
        if isinstance(each.proposal, Update) and isinstance(each.sender, MemberSender)
    )
    removed = tuple(each.proposal.removed for each in proposals if isinstance(each.proposal, Remove))
    packages = tuple(each.proposal.key_package for each in proposals if isinstance(each.proposal, Add))
    tree, added = _edited_tree(group.tree, updated, removed, packages)
    verify_width(tree, env.settings, own=strict)
    applied = Applied(
        tree=tree,
        extensions=extensions,
        demands=demands,
        added=added,
        updated=updated,
        removed=removed,
        psks=tuple(each.proposal.psk for each in proposals if isinstance(each.proposal, PreSharedKey)),
        reinit=next((each.proposal for each in proposals if isinstance(each.proposal, ReInit)), None),
        external_init=next((each.proposal for each in proposals if isinstance(each.proposal, ExternalInit)), None),
    )
    _verify_applied(group, applied, env)
    return applied


def _verify_each(
    group: GroupState,
    proposals: Sequence[QueuedProposal],
    env: Environment,
    demands: Demands,
    *,
    strict: bool,
    link: ResumptionPSKUsage | None,
) -> None:
    """Check every proposal by itself; of our own commit, the error names the places of all key packages at fault."""
    added = [(index, package, strict and not proposals[index].reference) for index, package in _key_packages(proposals)]
    vetted = vetted_key_packages(added, demands, env)
    refusals: dict[int, MLSError] = {}
    for index, queued in enumerate(proposals):
        if isinstance(queued.proposal, CustomProposal):
            continue  # judged among the others, where the extensions came about
        own = strict and not queued.reference
        try:
            verify_proposal(group, queued, env, demands, index=index, strict=own, link=link, vetted=index in vetted)
        except MLSError as refusal:
            refusals[index] = refusal
            if not (own and isinstance(queued.proposal, Add)):
                break
    if refusals:
        first = next(iter(refusals.values()))
        first.indexes = tuple(refusals)
        raise first


def _key_packages(proposals: Sequence[QueuedProposal]) -> list[tuple[int, KeyPackage]]:
    """Return the key packages of the Adds in a list, with their places in it."""
    numbered = enumerate(each.proposal for each in proposals)
    return [(index, proposal.key_package) for index, proposal in numbered if isinstance(proposal, Add)]


def verify_own_support(applied: Applied, own: LeafIndex) -> None:
    """Check that we support what a commit asks of all, we who stay. Raises InvalidLeafNode. RFC 9420 §13.4, §13.5."""
    leaf = leaf_node_at(applied.tree, own)
    if leaf is not None:
        verify_own_demands(leaf, applied.demands, own)


def _edited_tree(
    tree: RatchetTree,
    updated: Iterable[tuple[LeafIndex, LeafNode]],
    removed: Iterable[LeafIndex],
    packages: Sequence[KeyPackage],
) -> tuple[RatchetTree, tuple[tuple[LeafIndex, KeyPackage], ...]]:
    for index, leaf in updated:
        tree = tree.update_leaf(index, LeafSlot.of(leaf))
    for index in removed:
        tree = tree.remove_leaf(index)
    if len(packages) > _FEW:
        tree, leaves = tree.with_new_leaves([LeafSlot.of(each.leaf_node) for each in packages])
        return tree, tuple(zip(leaves, packages, strict=True))
    added = []
    for key_package in packages:
        tree, index = tree.add_leaf(LeafSlot.of(key_package.leaf_node))
        added.append((index, key_package))
    return tree, tuple(added)


def _verify_applied(group: GroupState, applied: Applied, env: Environment) -> None:
    verify_clients(applied.tree, applied.added, env)
    _verify_init_keys(applied, group.suite)
    verify_members(applied.tree, applied.changed, group.suite)
    if applied.extensions != group.extensions:
        verify_all_demands(applied.tree, applied.demands)


def _verify_init_keys(applied: Applied, suite: CipherSuite) -> None:
    seen: set[bytes] = set()
    for position, (_, key_package) in enumerate(applied.added):
        key = suite.canonical_public_key(key_package.init_key)
        message = "two key packages share an init_key"
        require(key not in seen, InvalidProposalList, "R-10.1-06", message, code=Code.DUPLICATE_KEY, index=position)
        seen.add(key)


def psks_of(psk_ids: Iterable[PreSharedKeyID], env: Environment) -> list[tuple[PreSharedKeyID, PSK]]:
    """Return the pre-shared keys that a list names, in its order. Raises UnavailableSecret. RFC 9420 §12.3."""
    found = []
    for index, psk_id in enumerate(psk_ids):
        held, message = env.psk(psk_id), f"PSK {index}, {_described(psk_id)}, is not held"
        psk = require_present(held, UnavailableSecret, "R-12.3-05", message, code=Code.PSK_UNKNOWN, index=index)
        found.append((psk_id, psk))
    return found


def _described(psk_id: PreSharedKeyID) -> str:
    """Name a pre-shared key for people; names come from others, and may be long."""
    match psk_id.psk:
        case ExternalPSK(psk_id=name):
            return f"external {name[:32]!r}"
        case resumption:
            return f"of epoch {resumption.psk_epoch} of group {resumption.psk_group_id[:32].hex()}"


def is_path_required(proposals: Sequence[QueuedProposal], registry: Registry = NO_REGISTRY) -> bool:
    """Whether a commit of these proposals must carry a path: only non-empty lists of a few types need none.

    RFC 9420 §12.4, §13.2, §17.4.
    """
    return not proposals or not all(_goes_without_path(each.proposal, registry) for each in proposals)


def _goes_without_path(proposal: Proposal, registry: Registry) -> bool:
    if isinstance(proposal, CustomProposal):
        definition = registry.proposal(proposal.proposal_type)
        return definition is not None and not definition.needs_path
    return isinstance(proposal, Add | PreSharedKey | ReInit)
