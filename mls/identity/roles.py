"""Roles: who may ask a group for what.

A role policy is consulted about every proposal and every commit, one's own and those of others, also of those who speak
from outside. RFC 9420 leaves it to the application, §12.2, with one condition: members who judge differently part ways.
So a policy decides by nothing but what all members see alike: the actor, the action, its target, and the group as it
is before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from mls.errors import Refused
from mls.messages import Credential, Extension, GroupContext, GroupContextExtensions, Proposal, ReInit
from mls.rules import require
from treekem.index import LeafIndex
from treekem.wire import decode, encode, struct


class Relation(StrEnum):
    """What somebody is to a group."""

    MEMBER = "member"
    EXTERNAL_SENDER = "external sender"
    OUTSIDER = "outsider"


class Action(StrEnum):
    """What somebody wants of a group."""

    ADD = "add"
    REMOVE = "remove"
    UPDATE = "update"
    INJECT_PSK = "inject a PSK into"
    CHANGE_EXTENSIONS = "change the extensions of"
    """By a GroupContextExtensions proposal, or by one of an application's own types, when it is committed."""
    REINITIALIZE = "reinitialize"
    PROPOSE_OTHERWISE = "make another proposal to"
    """A proposal of a type that the RFC does not define."""
    COMMIT = "commit to"
    JOIN = "join"
    """By an external commit."""
    RETURN = "return to"
    """By an external commit that replaces the actor's former leaf."""
    LEAD_INTO = "lead into"
    """One's own way in: the actor signed the Welcome or GroupInfo; the group is the one to be entered."""


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who acts or is acted on; `leaf` is None for those who have none yet."""

    relation: Relation
    identity: bytes
    signature_key: bytes = field(repr=False)
    credential: Credential = field(repr=False)
    leaf: LeafIndex | None = None

    def __str__(self) -> str:
        place = "" if self.leaf is None else f" at leaf {self.leaf}"
        return f"{self.relation} {self.identity[:32]!r}{place}"


@dataclass(frozen=True, slots=True)
class Target:
    """What is acted on: a group as it is before, or a party in it.

    `party` is who is added or removed, or the actor as it will be after its Update, commit or return. `proposal` is
    None for what is none; for a proposal of an application's own type that changes the extensions it is first that one,
    then a GroupContextExtensions with all that it and those before it in the list leave.
    """

    group: GroupContext = field(repr=False)
    party: Party | None = None
    proposal: Proposal | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return "the group" if self.party is None else str(self.party)


class RolePolicy(Protocol):
    """What the engine asks about roles. Policies are values, and the same for all members of a group."""

    @property
    def extension_types(self) -> tuple[int, ...]:
        """The extensions of groups that the policy reads; clients that hold to it list them, and others cannot join."""

    def founding_extensions(self, founder: bytes) -> tuple[Extension, ...]:
        """Return what a new group says of roles; `founder` is the identity of its creator."""

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        """Return if `actor` may do this. Raises Refused; what else it raises passes through, and changes nothing."""


@dataclass(frozen=True, slots=True)
class AllowEverything:
    """Lets everybody do what RFC 9420 and the settings allow: the default, for groups whose members are equals."""

    extension_types: tuple[int, ...] = ()

    def founding_extensions(self, founder: bytes) -> tuple[Extension, ...]:
        """Return nothing."""
        del founder
        return ()

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        """Allow."""


EVERYTHING_ALLOWED: Final = AllowEverything()

ADMINISTRATORS: Final = 0xF0AD
"""The type of the group context extension that names administrators, of those for private use. RFC 9420 §17.3."""


@struct
class AdministratorList:
    """The body of that extension: the identities of administrators, as the credential policy tells them."""

    identities: tuple[bytes, ...]


def administrators(*identities: bytes) -> Extension:
    """Return the extension that names a group's administrators."""
    return Extension(ADMINISTRATORS, encode(AdministratorList(identities)))


def administrators_of(extensions: Iterable[Extension]) -> frozenset[bytes]:
    """Return the identities of administrators that a group names, nobody where it names none.

    Raises MalformedMessage.
    """
    data = next((each.extension_data for each in extensions if each.extension_type == ADMINISTRATORS), None)
    return frozenset() if data is None else frozenset(decode(AdministratorList, data).identities)


@dataclass(frozen=True, slots=True)
class Administrators:
    """Lets administrators decide who is in a group and what it is; its creator is the first one.

    They are named by a group context extension, which founders write and administrators alone may replace: so members
    agree on it, joiners learn it with the group, and no leaf index has to be remembered. An administrator is whoever
    holds a credential of a named identity, so the policy for credentials decides what that is worth.

    Administrators, and external senders of such an identity, add, remove, change extensions and reinitialize. Everybody
    commits, updates its own leaf, injects PSKs and asks to be removed. Clients may join from outside only where
    `outsiders_may_join`, and never as administrators; who returns to its own leaf is welcome. What the settings shut
    out stays out.
    """

    outsiders_may_join: bool = False

    @property
    def extension_types(self) -> tuple[int, ...]:
        """The type of the list."""
        return (ADMINISTRATORS,)

    def founding_extensions(self, founder: bytes) -> tuple[Extension, ...]:
        """Return a list of one, the founder."""
        return (administrators(founder),)

    def authorize(self, actor: Party, action: Action, target: Target) -> None:
        """Refuse what is for administrators alone, and whatever would leave a group without a list of them."""
        listed = administrators_of(target.group.extensions)
        _verify_list_stays(target)
        match action:
            case Action.LEAD_INTO:
                require(bool(listed), Refused, "N-R02", "the group names no administrators")
            case Action.UPDATE | Action.COMMIT | Action.RETURN:
                _verify_not_promoted(actor, target, listed)
            case Action.INJECT_PSK:
                pass
            case Action.JOIN | Action.ADD if actor.relation is Relation.OUTSIDER:
                self._verify_outsider(actor, listed)
            case Action.REMOVE if target.party is not None and target.party.identity == actor.identity:
                # Only members name a leaf as their own: who is outside could take any name.
                _verify_administrator(actor, listed, or_else=actor.relation is Relation.MEMBER)
            case _:
                _verify_administrator(actor, listed)

    def _verify_outsider(self, actor: Party, listed: frozenset[bytes]) -> None:
        text = "administrators let nobody in from outside"
        require(self.outsiders_may_join, Refused, "S-outsiders_may_join", text)
        require(actor.identity not in listed, Refused, "N-R03", "nobody joins from outside as an administrator")


def _verify_administrator(actor: Party, listed: frozenset[bytes], *, or_else: bool = False) -> None:
    require(or_else or actor.identity in listed, Refused, "N-R01", "that is for administrators")


def _verify_not_promoted(actor: Party, target: Target, listed: frozenset[bytes]) -> None:
    """Refuse a leaf whose credential changes into that of an administrator."""
    new = actor if target.party is None else target.party
    is_same = new.identity == actor.identity
    require(is_same or new.identity not in listed, Refused, "N-R03", "nobody becomes an administrator by a new name")


def _verify_list_stays(target: Target) -> None:
    if isinstance(target.proposal, GroupContextExtensions | ReInit):
        is_named = bool(administrators_of(target.proposal.extensions))
        require(is_named, Refused, "N-R02", "the new extensions name no administrators")
