"""A group's records: what is written when, and how it is read back.

    group/<id>/epoch                 the present epoch: context, secrets, our place and keys
    group/<id>/tree/<block>          a block of the ratchet tree
    group/<id>/ratchet/<epoch>/<…>   a node or ratchet of an epoch's secret tree
    group/<id>/past/<epoch>          what is left of a past epoch
    group/<id>/proposal/<n>          a proposal of the present epoch, in the order of arrival
    group/<id>/candidate/<hash>      an own commit that is not decided
    group/<id>/resumption/<epoch>    a resumption PSK

A message touches a ratchet's record, a commit the blocks of the tree that it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mls.crypto import SignaturePrivateKey, cipher_suite
from mls.epoch.effect import CustomEffect, Effect, Member
from mls.epoch.framing import SenderKeys
from mls.epoch.past import PastEpoch
from mls.epoch.proposals import QueuedProposal
from mls.epoch.queue import PendingProposal
from mls.epoch.state import EpochState, GroupState, OwnLeaf
from mls.errors import Code, StorageError
from mls.messages import (
    DEFAULT_PROPOSALS,
    Credential,
    CustomProposal,
    GroupContext,
    Proposal,
    ReInit,
    Sender,
)
from mls.schedule.key_schedule import (
    ConfirmationKey,
    EncryptionSecret,
    EpochSecrets,
    ExporterSecret,
    ExternalSecret,
    InitSecret,
    MembershipKey,
    ResumptionPSK,
    SenderDataSecret,
)
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits
from mls.store.codec import built, pack, unpack
from mls.store.seam import Store
from treekem.index import LeafIndex, NodeIndex
from treekem.secrets import Secret
from treekem.suite import HPKEPrivateKey
from treekem.tree import RatchetTree
from treekem.wire import UInt16, decode, decode_prefix, encode, encode_as

_SECRETS: tuple[tuple[str, type[Secret]], ...] = (
    ("sender_data", SenderDataSecret),
    ("encryption", EncryptionSecret),
    ("exporter", ExporterSecret),
    ("external", ExternalSecret),
    ("confirmation_key", ConfirmationKey),
    ("membership_key", MembershipKey),
    ("resumption_psk", ResumptionPSK),
    ("init_secret", InitSecret),
)


def group_prefix(group_id: bytes) -> str:
    """Return what the keys of all records of a group begin with."""
    return f"group/{group_id.hex()}/"


def epoch_key(group_id: bytes) -> str:
    """Return the key of the record that makes a group exist."""
    return group_prefix(group_id) + "epoch"


def resumption_key(group_id: bytes, epoch: int) -> str:
    """Return the key of the resumption PSK of an epoch."""
    return f"{group_prefix(group_id)}resumption/{epoch:020}"


# Epochs.


def pack_state(state: EpochState, frozen: ReInit | None, *, is_current: bool = True) -> bytes:
    """Write an epoch without its tree.

    The encryption secret is written only while the epoch lies ahead: afterwards the ratchets' records take its place.
    """
    fields = _state_fields(state, is_current=is_current)
    return pack(state.group.tree.n_leaves, *fields, None if frozen is None else encode(frozen))


def _state_fields(state: EpochState, *, is_current: bool) -> tuple[Any, ...]:
    secrets, own, group = state.secrets, state.own, state.group
    absent = {"encryption"} if is_current else set()
    exposed = [None if name in absent else _exposed(getattr(secrets, name)) for name, _ in _SECRETS]
    keys = {int(node): key.expose() for node, key in own.private_keys.items()}
    return (
        encode(group.context),
        group.interim_transcript_hash,
        group.confirmation_tag,
        exposed,
        secrets.epoch_authenticator,
        int(own.index),
        own.signature_key.expose(),
        keys,
    )


def _exposed(secret: Secret) -> bytes | None:
    return None if secret.is_wiped else secret.expose()


def unpack_state(key: str, record: bytes, tree_of: Callable[[int], RatchetTree]) -> tuple[EpochState, ReInit | None]:
    """Read an epoch; `tree_of` returns its tree when it is told the number of leaves. Raises StorageError."""

    def build(  # noqa: PLR0913, PLR0917  (the fields of the record, in its order)
        n_leaves: int,
        context: bytes,
        interim: bytes,
        tag: bytes,
        exposed: list[bytes | None],
        authenticator: bytes,
        index: int,
        signature_key: bytes,
        keys: dict[int, bytes],
        frozen: bytes | None,
    ) -> tuple[EpochState, ReInit | None]:
        group_context = decode(GroupContext, context)
        tree = tree_of(n_leaves)
        group = GroupState(cipher_suite(group_context.cipher_suite), group_context, tree, interim, tag)
        private_keys = {NodeIndex(node): HPKEPrivateKey(key) for node, key in keys.items()}
        own = OwnLeaf(LeafIndex(index), SignaturePrivateKey(signature_key), private_keys)
        state = EpochState(group, _secrets_from(exposed, authenticator), own)
        return state, None if frozen is None else decode(ReInit, frozen)

    return unpack(key, record, build)


def _secrets_from(exposed: list[bytes | None], authenticator: bytes) -> EpochSecrets:
    secrets = {name: _restored(kind, value) for (name, kind), value in zip(_SECRETS, exposed, strict=True)}
    return EpochSecrets(**secrets, epoch_authenticator=authenticator)  # type: ignore[arg-type]  # _SECRETS pairs each name with its type


def _restored(kind: type[Secret], value: bytes | None) -> Secret:
    secret = kind(value or b"")
    if value is None:
        secret.wipe()
    return secret


def stored_epoch(store: Store, group_id: bytes) -> int | None:
    """Return the epoch of a group that a store holds, or None where it holds none. Raises StorageError."""
    key = epoch_key(group_id)
    record = store.read(key)

    def build(_: int, context: bytes, *__: Any) -> int:  # noqa: ANN401  (what CBOR holds)
        return decode(GroupContext, context).epoch

    return None if record is None else unpack(key, record, build)


def is_announced(store: Store, group_id: bytes) -> bool:
    """Whether a group that a store holds is frozen, and its successor is to have this id. Raises StorageError."""

    def build(*fields: Any) -> ReInit | None:  # noqa: ANN401  (what CBOR holds)
        return None if fields[-1] is None else decode(ReInit, fields[-1])

    records = ((name, record) for name, record in store.scan("group/") if name.endswith("/epoch"))
    reinits = (unpack(name, record, build) for name, record in records)
    return any(reinit is not None and reinit.group_id == group_id for reinit in reinits)


def tree_records(prefix: str, tree: RatchetTree) -> dict[str, bytes | None]:
    """Return the records of a whole tree."""
    return {f"{prefix}tree/{number}": block for number, block in tree.blocks()}


def changed_tree_records(prefix: str, tree: RatchetTree, old: RatchetTree) -> dict[str, bytes | None]:
    """Return the records in which a tree differs from an older one."""
    return {f"{prefix}tree/{number}": block for number, block in tree.changed_blocks(old)}


def ratchet_records(prefix: str, epoch: int, records: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """Return records of an epoch's secret tree under their place in the store."""
    return {f"{prefix}ratchet/{epoch:020}/{name}": value for name, value in records.items()}


# Past epochs.


def pack_past(past: PastEpoch) -> bytes:
    """Write what is left of an epoch, without its ratchets."""
    replaced = {int(leaf): encoded for leaf, encoded in past.replaced.items()}
    return pack(encode(past.context), past.keys.sender_data_secret.expose(), past.n_leaves, replaced, past.ended)


def unpack_past(key: str, record: bytes, ratchets: Mapping[str, bytes], limits: SecretTreeLimits) -> PastEpoch:
    """Read what is left of an epoch. Raises StorageError."""

    def build(
        context: bytes, sender_data: bytes, n_leaves: int, replaced: dict[int, bytes | None], ended: int
    ) -> PastEpoch:
        group_context = decode(GroupContext, context)
        tree = SecretTree.restore(cipher_suite(group_context.cipher_suite), n_leaves, ratchets, limits)
        keys = SenderKeys(SenderDataSecret(sender_data), tree)
        leaves = {LeafIndex(leaf): value for leaf, value in replaced.items()}
        return PastEpoch(group_context, keys, n_leaves, leaves, int(ended))

    return unpack(key, record, build)


# Proposals.


def pack_proposal(pending: PendingProposal) -> bytes:
    """Write a proposal that waits for a commit."""
    keys = (None if key is None else key.expose() for key in (pending.update_key, pending.signature_key))
    return pack(*_queued_fields(pending.queued), *keys)


def _queued_fields(queued: QueuedProposal) -> tuple[bytes, bytes, bytes]:
    return encode_as(Proposal, queued.proposal), encode_as(Sender, queued.sender), queued.reference


def unpack_proposal(key: str, record: bytes) -> PendingProposal:
    """Read a proposal that waits for a commit. Raises StorageError."""

    def build(
        proposal: bytes,
        sender: bytes,
        reference: bytes,
        update_key: bytes | None,
        signature_key: bytes | None = None,  # records of before it could change lack it
    ) -> PendingProposal:
        queued = QueuedProposal(_proposal_from(proposal), decode(Sender, sender), reference)
        decrypting = None if update_key is None else HPKEPrivateKey(update_key)
        signing = None if signature_key is None else SignaturePrivateKey(signature_key)
        return PendingProposal(queued, decrypting, signing)

    return unpack(key, record, build)


def _proposal_from(encoded: bytes) -> Proposal:
    """Read a stored proposal; it is stored alone, so that what stands behind an unknown type is its body."""
    kind, offset = decode_prefix(UInt16, encoded)
    if kind not in DEFAULT_PROPOSALS:
        return CustomProposal(kind, encoded[offset:])
    proposal: Proposal = decode(Proposal, encoded)
    return proposal


# Effects, as part of candidates.


def effect_fields(effect: Effect) -> list[Any]:
    """Return an effect as CBOR holds it."""
    members = [_member_fields(effect.committer)] if effect.committer is not None else []
    return [
        effect.epoch,
        members,
        [_member_fields(each) for each in effect.added],
        [_member_fields(each) for each in effect.removed],
        [[_member_fields(old), _member_fields(new)] for old, new in effect.updated],
        [_member_fields(each) for each in effect.new_devices],
        effect.psks,
        effect.extensions_changed,
        None if effect.reinit is None else encode(effect.reinit),
        [[encode_as(Sender, each.sender), encode_as(Proposal, each.proposal)] for each in effect.custom],
    ]


def effect_from(fields: list[Any]) -> Effect:
    """Return the effect of an own commit from what CBOR held. Raises TypeError or ValueError for what is none."""
    return built(_effect_from, fields)


def _effect_from(  # noqa: PLR0913, PLR0917  (the fields of the record, in its order)
    epoch: int,
    committer: list[list[Any]],
    added: list[list[Any]],
    removed: list[list[Any]],
    updated: list[list[list[Any]]],
    new_devices: list[list[Any]],
    psks: int,
    extensions_changed: bool,
    reinit: bytes | None,
    custom: list[list[bytes]] | None = None,  # records of before there were such proposals lack it
) -> Effect:
    return Effect(
        epoch=epoch,
        committer=next(iter(_members(committer)), None),
        added=_members(added),
        removed=_members(removed),
        updated=tuple((_member_from(old), _member_from(new)) for old, new in updated),
        new_devices=_members(new_devices),
        psks=psks,
        extensions_changed=extensions_changed,
        reinit=None if reinit is None else decode(ReInit, reinit),
        custom=tuple(built(_custom_effect, each) for each in custom or ()),
    )


def _custom_effect(sender: bytes, encoded: bytes) -> CustomEffect:
    proposal = _proposal_from(encoded)
    if not isinstance(proposal, CustomProposal):
        raise StorageError("a stored effect names a proposal of another kind", code=Code.CORRUPT)
    return CustomEffect(decode(Sender, sender), proposal)


def _members(fields: Iterable[list[Any]]) -> tuple[Member, ...]:
    return tuple(_member_from(each) for each in fields)


def _member_fields(member: Member) -> list[Any]:
    return [int(member.leaf), member.identity, encode_as(Credential, member.credential), member.signature_key]


def _member_from(fields: list[Any]) -> Member:
    def build(leaf: int, identity: bytes, credential: bytes, signature_key: bytes) -> Member:
        return Member(LeafIndex(leaf), identity, decode(Credential, credential), signature_key)

    return built(build, fields)
