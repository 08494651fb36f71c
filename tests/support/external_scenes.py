"""A group, and clients that join it from outside, by the book or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mls import AcceptAnyone, Client, CredentialPolicy, Group
from mls.crypto import SignatureKeyPair
from mls.epoch.create_commit import LeafContent
from mls.epoch.framing import sign_content
from mls.epoch.join import ExternalJoin, join_by_external_commit
from mls.errors import (
    Code,
    MLSError,
)
from mls.key_packages import own_capabilities
from mls.messages import (
    BasicCredential,
    Commit,
    FramedContentAuthData,
    GroupInfo,
    InlineProposal,
    LeafPosition,
    Proposal,
    ProposalRef,
    PublicMessage,
    WireFormat,
)
from tests.adversarial.insider import assert_refused, public_message, wrapped
from tests.support.crafting import (
    Forger,
    signed_leaf,
)
from tests.support.scenes import staged
from tests.support.welcomes import group_info_of
from tests.support.world import World
from treekem.index import LeafIndex
from treekem.wire import encode

BAD_LIST = Code.BAD_PROPOSAL_LIST


@dataclass(frozen=True)
class Outsider:
    """A client that joins a group from outside; it can change what it sends and sign it again."""

    client: Client
    name: bytes
    keys: SignatureKeyPair
    info: GroupInfo

    def leaf(self, **changes: object) -> LeafContent:
        listed = own_capabilities(self.client._roles.extension_types)
        content = LeafContent(BasicCredential(self.name), self.keys, listed)
        return replace(content, **changes)  # type: ignore[arg-type]  # fields of a leaf's content

    def join(self, *, replaces: int | None = None, leaf: LeafContent | None = None, **options: object) -> ExternalJoin:
        content = self.leaf() if leaf is None else leaf
        place = None if replaces is None else LeafIndex(replaces)
        return join_by_external_commit(
            self.info,
            None,
            content,
            self.client._environment(),
            replaces=place,
            **options,  # type: ignore[arg-type]  # options of an external join
        )

    def message(self, **options: object) -> bytes:
        return encode(self.join(**options).message)  # type: ignore[arg-type]  # likewise

    def changed(
        self, message: bytes, *entries: Proposal | bytes, keys: SignatureKeyPair | None = None, **commit: object
    ) -> bytes:
        """Return an external commit of other proposals, where some are given, and other parts, signed again."""
        body = public_message(message)
        content = body.content.content
        assert isinstance(content, Commit)
        said = tuple(ProposalRef(each) if isinstance(each, bytes) else InlineProposal(each) for each in entries)
        changed = replace(content, **{"proposals": said or content.proposals, **commit})  # type: ignore[arg-type]  # likewise
        framed = replace(body.content, content=changed)
        key = (self.keys if keys is None else keys).private
        suite, context = self.client._suite, self.info.group_context
        signature = sign_content(suite, key, framed, WireFormat.PUBLIC_MESSAGE, context)
        return wrapped(PublicMessage(framed, FramedContentAuthData(signature, body.auth.confirmation_tag), None))

    def enter(self, joined: ExternalJoin) -> Group:
        return self.client._founded(joined.state, {})


@dataclass(frozen=True)
class Scene:
    """Three members, and a client outside."""

    world: World
    groups: list[Group]

    def outsider(self, name: str = "outsider", policy: CredentialPolicy | None = None) -> Outsider:
        client = self.world.client(name, policy=AcceptAnyone() if policy is None else policy)
        return Outsider(client, name.encode(), client._signature_keys, group_info_of(self.groups[0]))

    def returning(self, member: int, *, same_key: bool = True) -> Outsider:
        """Return a member that has lost its state, but not its signature key unless it makes a new one."""
        forger = Forger(self.world, self.groups[member])
        keys = forger.content().signature_keys if same_key else forger.new_signature_keys()
        name = self.groups[member].me.identity
        client = self.world.client(f"{name.decode()}, back {len(self.world.clients)}")
        return Outsider(client, name, keys, group_info_of(self.groups[0]))

    def assert_refused(
        self, message: bytes, error: type[MLSError], rule: str, code: str, groups: Sequence[Group] | None = None
    ) -> MLSError:
        return assert_refused(self.groups if groups is None else groups, message, error, rule, code)

    def assert_taken(self, message: bytes) -> None:
        for group in self.groups:
            staged(group, message)


def replaced_leaf(outsider: Outsider, message: bytes, index: int, **fields: object) -> bytes:
    """Return an external commit whose leaf has other fields, and is signed for leaf `index`."""
    content = public_message(message).content.content
    assert isinstance(content, Commit)
    assert content.path is not None
    unsigned = replace(content.path.leaf_node, **fields)  # type: ignore[arg-type]  # fields of a leaf
    place = LeafPosition(outsider.info.group_context.group_id, LeafIndex(index))
    leaf = signed_leaf(outsider.client._suite.id, unsigned, place, outsider.keys.private)
    return outsider.changed(message, path=replace(content.path, leaf_node=leaf))
