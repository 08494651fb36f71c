"""A group of four in which one forges and the others receive, and proposals to try on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mls import Group, intents
from mls.epoch.queue import PendingProposal
from mls.errors import (
    Code,
    MLSError,
)
from mls.events import StagedCommit
from mls.messages import (
    Add,
    ExternalPSK,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    ResumptionPSK,
    ResumptionPSKUsage,
)
from tests.support.crafting import (
    Forger,
    Sent,
    assert_both_refuse,
    package_of,
)
from tests.support.world import World

BAD_LIST = Code.BAD_PROPOSAL_LIST
REINIT = ReInit(b"new group", 1, 1, ())
NO_EXTENSIONS = GroupContextExtensions(())


@dataclass(frozen=True)
class Scene:
    """Four members; the second forges, the others receive."""

    world: World
    groups: list[Group]
    forger: Forger

    @property
    def receivers(self) -> list[Group]:
        return [group for group in self.groups if group.me.leaf != 1]

    def add(self, name: str = "outsider") -> Add:
        return Add(package_of(self.world.client(f"{name} {len(self.world.clients)}").key_package()))

    def by(self, member: int) -> Forger:
        return Forger(self.world, self.groups[member])

    def sent(self, member: int, proposal: Proposal) -> Sent:
        """Let a member propose what it likes; all record it, the member too."""
        sent = self.by(member).send(proposal)
        for group in self.groups:
            group.receive(sent.message)
        sender, pending = self.groups[member], PendingProposal(sent.queued)
        sender._store.apply(sender._standing.proposal_batch(pending))
        sender._standing.proposals[sent.reference] = pending
        return sent

    def update(self, member: int) -> Sent:
        """Let a member propose an Update, in earnest."""
        sender = self.groups[member]
        sent = sender.propose(intents.Update())
        self.world.deliver(sent.message, *(group for group in self.groups if group is not sender))
        return Sent(sent.message, sent.ref, sender._standing.proposals[sent.ref].queued)

    def assert_both_refuse(
        self, proposals: Sequence[Proposal | Sent], error: type[MLSError], rule: str, code: str = BAD_LIST
    ) -> None:
        assert_both_refuse(self.by(1), self.receivers, proposals, (error, rule, code))

    def assert_taken(self, *proposals: Proposal | Sent) -> StagedCommit:
        staged = [group.receive(self.by(1).honest(*proposals)) for group in self.receivers]
        assert all(isinstance(each, StagedCommit) for each in staged)
        first = staged[0]
        assert isinstance(first, StagedCommit)
        return first


def psk(name: bytes = b"psk", nonce: bytes = bytes(32)) -> PreSharedKey:
    return PreSharedKey(PreSharedKeyID(ExternalPSK(name), nonce))


def resumption(usage: ResumptionPSKUsage, group_id: bytes = b"group") -> PreSharedKey:
    return PreSharedKey(PreSharedKeyID(ResumptionPSK(usage, group_id, 1), bytes(32)))


def staged(group: Group, message: bytes) -> StagedCommit:
    staged = group.receive(message)
    assert isinstance(staged, StagedCommit)
    return staged
