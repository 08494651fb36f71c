"""Processing a commit that another member or an external joiner sent. RFC 9420 §12.4.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mls.crypto import SignaturePrivateKey
from mls.epoch.environment import Environment
from mls.epoch.proposals import QueuedProposal, psks_of, verify_own_support
from mls.epoch.public_commit import PublicCommit, stage_public_commit
from mls.epoch.state import EpochState, OwnLeaf
from mls.epoch.transition import Transition, derive_next_epoch, provisional_context
from mls.errors import InvalidCiphertext, InvalidKey, InvalidProposal, UnavailableSecret
from mls.messages import AuthenticatedContent, ExternalInit, LeafNode
from mls.rules import refuse, require_present
from mls.schedule.key_schedule import InitSecret, external_init_secret, external_key_pair, zero_commit_secret
from mls.schedule.transcript import verify_confirmation_tag
from treekem.index import NodeIndex, node_of
from treekem.path import open_path, surviving_keys
from treekem.suite import CommitSecret, HPKEPrivateKey
from treekem.wire import encode


@dataclass(frozen=True, slots=True)
class Known:
    """What a member holds while an epoch lasts.

    Proposals stand under their references, the private keys of its own Updates under the public ones: those that
    decrypt, and those that sign where an Update changes the signature key.
    """

    proposals: Mapping[bytes, QueuedProposal]
    own_updates: Mapping[bytes, HPKEPrivateKey]
    own_signature_keys: Mapping[bytes, SignaturePrivateKey]


def stage_commit(state: EpochState, content: AuthenticatedContent, known: Known, env: Environment) -> Transition:
    """Check a commit whose signature has verified, and compute the state after it; nothing is changed.

    Raises a subclass of InvalidMessage, UnavailableSecret, WrongEpoch or Refused. RFC 9420 §12.4.2.
    """
    group, suite = state.group, state.suite
    seen = stage_public_commit(group, content, known.proposals, env)
    if state.own.index in seen.applied.removed:
        return Transition(seen.effect(group, None, env, removed_me=True), None, frozenset())
    verify_own_support(seen.applied, state.own.index)
    psks = psks_of(seen.applied.psks, env)
    provisional = provisional_context(group, seen.tree, seen.applied)
    signature_key = _own_signature_key(state, seen, known)
    own_keys, commit_secret = _open_path(state, seen, known, encode(provisional))
    init_secret = state.secrets.init_secret
    if seen.applied.external_init is not None:
        init_secret = _external_init_secret(state, seen.applied.external_init)
    following = derive_next_epoch(group, seen.tree, provisional, content, init_secret, commit_secret, psks)
    following.wipe_passing()
    if init_secret is not state.secrets.init_secret:
        init_secret.wipe()
    after, tag = following.group, content.auth.confirmation_tag or b""
    verify_confirmation_tag(suite, following.secrets.confirmation_key, after.context.confirmed_transcript_hash, tag)
    own = OwnLeaf(state.own.index, signature_key, own_keys)
    return Transition(seen.effect(group, after, env), EpochState(after, following.secrets, own), seen.changed)


def _open_path(
    state: EpochState, seen: PublicCommit, known: Known, context: bytes
) -> tuple[dict[NodeIndex, HPKEPrivateKey], CommitSecret]:
    suite, applied = state.suite, seen.applied
    keys = surviving_keys(state.group.tree, applied.tree, state.own.private_keys)
    for index, leaf in applied.updated:
        if index == state.own.index:
            keys[node_of(index)] = _own_update_key(leaf, known)
    if seen.path is None:
        return keys, zero_commit_secret(suite)
    opened = open_path(
        seen.tree,
        seen.committer,
        state.own.index,
        seen.path,
        suite,
        keys,
        context,
        applied.new_leaves,
    )
    opened.path_secret.wipe()
    kept = surviving_keys(applied.tree, seen.tree, keys)
    return {**kept, **opened.private_keys}, opened.commit_secret


def _own_signature_key(state: EpochState, seen: PublicCommit, known: Known) -> SignaturePrivateKey:
    """§12.1.2: a commit that covers our Update is what makes its signature key ours."""
    own, present = state.own, state.group.leaf_node(state.own.index)
    updated = next((leaf for index, leaf in seen.applied.updated if index == own.index), present)
    if updated is None or present is None or updated.signature_key == present.signature_key:
        return own.signature_key
    key, message = known.own_signature_keys.get(updated.signature_key), "the signature key of an own Update is gone"
    return require_present(key, UnavailableSecret, "R-12.4.2-22", message)


def _external_init_secret(state: EpochState, init: ExternalInit) -> InitSecret:
    pair = external_key_pair(state.suite, state.secrets.external)
    try:
        return external_init_secret(state.suite, pair.private, init.kem_output)
    except (InvalidKey, InvalidCiphertext) as error:
        refuse(InvalidProposal, "R-8.3-04", f"kem_output: {error.message}", code=error.code)
        raise
    finally:
        pair.private.wipe()


def _own_update_key(leaf: LeafNode, known: Known) -> HPKEPrivateKey:
    """§12.1.2: a commit that covers our Update seals its path to the Update's key."""
    key, message = known.own_updates.get(leaf.encryption_key), "the private key of an own Update is gone"
    return require_present(key, UnavailableSecret, "R-12.4.2-22", message)
