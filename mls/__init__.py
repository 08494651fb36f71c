"""RFC 9420 (MLS) as an embeddable engine: bytes in, bytes out, no sockets.

>>> from mls import AcceptAnyone, Add, Client, Identity, MemoryStore
>>> alice = Client.create(MemoryStore(), Identity.basic(b"alice"), policy=AcceptAnyone())
>>> bob = Client.create(MemoryStore(), Identity.basic(b"bob"), policy=AcceptAnyone())
>>> room = alice.create_group()
>>> commit = room.commit([Add(bob.key_package())])
>>> room.merge(commit)
>>> bobs_room = bob.receive(commit.welcome).accept()
>>> bobs_room.epoch_authenticator == room.epoch_authenticator
True
>>> bob.receive(room.encrypt(b"hello")).data
b'hello'
"""

from mls.client import Client
from mls.epoch.effect import Effect, Member
from mls.errors import MLSError
from mls.events import (
    ApplicationMessage,
    OwnMessage,
    PendingCommit,
    ProposalReceived,
    SentProposal,
    StagedCommit,
)
from mls.group import Group
from mls.identity import AcceptAnyone, CredentialPolicy, Identity, TrustOnFirstUse
from mls.intents import (
    ALL,
    Add,
    GroupContextExtensions,
    NewLeaf,
    PreSharedKey,
    ReInit,
    Remove,
    ResumptionPSK,
    Update,
)
from mls.invitation import Invitation
from mls.joining import ExternalCommit
from mls.messages import Extension
from mls.settings import Settings
from mls.store import MemoryStore, Store

__all__ = [
    "ALL",
    "AcceptAnyone",
    "Add",
    "ApplicationMessage",
    "Client",
    "CredentialPolicy",
    "Effect",
    "Extension",
    "ExternalCommit",
    "Group",
    "GroupContextExtensions",
    "Identity",
    "Invitation",
    "MLSError",
    "Member",
    "MemoryStore",
    "NewLeaf",
    "OwnMessage",
    "PendingCommit",
    "PreSharedKey",
    "ProposalReceived",
    "ReInit",
    "Remove",
    "ResumptionPSK",
    "SentProposal",
    "Settings",
    "StagedCommit",
    "Store",
    "TrustOnFirstUse",
    "Update",
]
