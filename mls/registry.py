"""What an application adds to the protocol: extension types and proposal types of its own.

A registry is a value that is handed to `Client.create`, `Client.open` and `PublicGroup.follow`. What it holds is listed
in the capabilities of one's own leaves, and used in a group once all members list it.

>>> from mls import AcceptAnyone, Client, Identity, MemoryStore
>>> from treekem.wire import struct
>>> @struct
... class Poll:
...     question: bytes
>>> POLL = ProposalDefinition(0xF100, Poll, needs_path=False, external=False)
>>> registry = Registry(proposals=(POLL,))
>>> alice = Client.create(MemoryStore(), Identity.basic(b"alice"), policy=AcceptAnyone(), registry=registry)
>>> room = alice.create_group()
>>> commit = room.commit([POLL.proposal(Poll(b"pizza?"))])
>>> [POLL.value(each.proposal).question for each in commit.effect.custom]
[b'pizza?']

RFC 9420 §13.2, §13.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from mls.errors import MalformedMessage, MLSError, UsageError
from mls.messages import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    GREASE,
    CustomProposal,
    Extension,
    GroupContext,
    Proposal,
    Sender,
)
from mls.rules import refuse, require
from treekem.tree import RatchetTree
from treekem.wire import Bodies, decode, encode_as
from treekem.wire.extended import verify_body

T = TypeVar("T")

LEAF_NODE: Final = "leaf node"
KEY_PACKAGE: Final = "key package"
GROUP_CONTEXT: Final = "group context"
GROUP_INFO: Final = "GroupInfo"
PLACES: Final = frozenset((LEAF_NODE, KEY_PACKAGE, GROUP_CONTEXT, GROUP_INFO))
"""Where extensions stand. RFC 9420 §13."""

_LARGEST_TYPE: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Others:
    """The entries of a list but one; a view, for a copy beside each proposal would cost the square of their number."""

    entries: Sequence[tuple[Sender, Proposal]]
    left_out: int

    def __iter__(self) -> Iterator[tuple[Sender, Proposal]]:
        """Tell them in the order of the list."""
        return (each for index, each in enumerate(self.entries) if index != self.left_out)


@dataclass(frozen=True, slots=True)
class Proposed(Generic[T]):
    """A custom proposal where it is judged: who sends it, beside which others, to which group.

    `others` are the other proposals of a commit, each with its sender; there are none while it stands alone. A rule
    that reads them all costs the square of their number, which `Settings.max_commit_proposals` bounds.
    """

    value: T
    sender: Sender
    others: Iterable[tuple[Sender, Proposal]]
    context: GroupContext
    tree: RatchetTree


def asked(hook: Callable[[], T], error: type[MLSError], what: str) -> T:
    """Return what a function of the application answers. Raises what that refuses with, and `error` where it fails.

    It is asked about what others sent, and whatever it stumbles over there must not end the application's own loop.
    """
    try:
        return hook()
    except MLSError:
        raise
    except Exception as failure:
        refuse(error, "S-registry", f"{what}: what is registered for it fails with {type(failure).__name__}")
        raise


def accept_extension(value: object, place: str) -> None:
    """Accept every body that decodes."""
    del value, place


def accept_proposal(proposed: Proposed[Any]) -> None:
    """Accept every body that decodes."""
    del proposed


def keep_extensions(value: object, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Change nothing of the group context."""
    del value
    return extensions


@dataclass(frozen=True, slots=True)
class ExtensionDefinition(Generic[T]):
    """A type of extensions: its number, what its data is, and where it may stand.

    `body` is a struct of the presentation language, or `bytes`. `verify` is called with the decoded body and the place
    of every extension of the type, own and received; it raises Refused, or another MLSError, for one that is not to be.
    Where it raises anything else, what it was asked about is refused too. RFC 9420 §13.4.
    """

    extension_type: int
    body: type[T]
    places: frozenset[str] = frozenset((GROUP_CONTEXT,))
    verify: Callable[[T, str], None] = accept_extension

    def __post_init__(self) -> None:
        _verify_type(self.extension_type, DEFAULT_EXTENSIONS, "an extension")
        verify_body(self.body)
        if not self.places or not PLACES.issuperset(self.places):
            raise UsageError(f"an extension stands in some of {sorted(PLACES)}")

    def extension(self, value: T) -> Extension:
        """Return an extension of this type, to be handed to `create_group` and its like. Raises UsageError."""
        return Extension(self.extension_type, encode_as(self.body, value))

    def value(self, extensions: Iterable[Extension]) -> T | None:
        """Return what the extension of this type in a list says, or None where there is none.

        Raises MalformedMessage.
        """
        data = next((each.extension_data for each in extensions if each.extension_type == self.extension_type), None)
        return None if data is None else self.read(data)

    def read(self, data: bytes) -> T:
        """Return what the data of such an extension says. Raises MalformedMessage."""
        return asked(lambda: decode(self.body, data), MalformedMessage, self.name)

    @property
    def name(self) -> str:
        """The type, for people."""
        return f"extension type {self.extension_type:#06x}"


@dataclass(frozen=True, slots=True)
class ProposalDefinition(Generic[T]):
    """A type of proposals: its number, what its body is, and what it means in a commit.

    `body` is a struct of the presentation language, or `bytes`. `needs_path`: whether a commit that covers it must
    carry a path. `external`: whether external senders may propose it. `verify` raises Refused, or another MLSError, for
    one that is not to be; it judges the same for every member, and is called again where the proposal is committed.
    Where it or `apply` raises anything else, the proposal is an InvalidProposal.
    `apply` returns the group context's extensions after the commit, in the order of the list, behind a
    GroupContextExtensions. Where it changes them, the role policy is asked as though the sender had proposed the new
    ones. What is done besides, the application does when it sees it in `Effect.custom`.
    RFC 9420 §12.1.8, §13.2, §17.4.
    """

    proposal_type: int
    body: type[T]
    needs_path: bool
    external: bool
    verify: Callable[[Proposed[T]], None] = accept_proposal
    apply: Callable[[T, tuple[Extension, ...]], tuple[Extension, ...]] = keep_extensions

    def __post_init__(self) -> None:
        _verify_type(self.proposal_type, DEFAULT_PROPOSALS, "a proposal")
        verify_body(self.body)

    def proposal(self, value: T) -> CustomProposal:
        """Return a proposal of this type, to be handed to `Group.propose` and `Group.commit`. Raises UsageError."""
        return CustomProposal(self.proposal_type, encode_as(self.body, value))

    def value(self, proposal: CustomProposal) -> T:
        """Return what a proposal of this type says. Raises MalformedMessage, or UsageError for another type."""
        if proposal.proposal_type != self.proposal_type:
            raise UsageError(f"a proposal of type {proposal.proposal_type}, not {self.proposal_type}")
        return asked(lambda: decode(self.body, proposal.body), MalformedMessage, self.name)

    @property
    def name(self) -> str:
        """The type, for people."""
        return f"proposal type {self.proposal_type:#06x}"


@dataclass(frozen=True, slots=True)
class Registry:
    """The types that an application adds to those of RFC 9420, each once. Raises UsageError. RFC 9420 §13."""

    extensions: tuple[ExtensionDefinition[Any], ...] = ()
    proposals: tuple[ProposalDefinition[Any], ...] = ()

    def __post_init__(self) -> None:
        for types in (self.extension_types, self.proposal_types):
            if len(set(types)) < len(types):
                raise UsageError(f"a type is registered twice among {types}")

    @property
    def extension_types(self) -> tuple[int, ...]:
        """The types of extensions, as capabilities list them."""
        return tuple(sorted(each.extension_type for each in self.extensions))

    @property
    def proposal_types(self) -> tuple[int, ...]:
        """The types of proposals, as capabilities list them."""
        return tuple(sorted(each.proposal_type for each in self.proposals))

    @property
    def bodies(self) -> Bodies:
        """What stands behind each type of proposals, for the decoder."""
        return tuple((each.proposal_type, each.body) for each in self.proposals)

    def extension(self, extension_type: int) -> ExtensionDefinition[Any] | None:
        """Return the definition of a type of extensions, or None."""
        return next((each for each in self.extensions if each.extension_type == extension_type), None)

    def proposal(self, proposal_type: int) -> ProposalDefinition[Any] | None:
        """Return the definition of a type of proposals, or None."""
        return next((each for each in self.proposals if each.proposal_type == proposal_type), None)


NO_REGISTRY: Final = Registry()
"""Nothing beyond RFC 9420."""


def _verify_type(number: int, default: frozenset[int], what: str) -> None:
    free = 0 < number <= _LARGEST_TYPE and number not in default and number not in GREASE
    require(free, UsageError, "R-17.3-02", f"{number!r} is no type for {what} of an application")
