"""Acts of the story of `mls demo` in which somebody enters from outside, or a group continues another one.

RFC 9420 §11.2, §11.3, §12.4.3.2.
"""

from __future__ import annotations

from typing import Final

from mls.cli.gestures import check_heard, check_talk, count_readable, welcome
from mls.cli.play import Play, Player
from mls.crypto import SUITES
from mls.errors import Code
from mls.identity import Identity
from mls.intents import ReInit, ResumptionPSK
from mls.joining import ExternalCommit
from mls.messages import GroupInfo, MLSMessage
from mls.settings import Settings
from mls.store import MemoryStore
from treekem.wire import decode

_BRANCH: Final = b"demo, apart"
_SUCCESSOR: Final = b"demo, continued"


def join_outside(play: Play) -> str:
    """Let somebody in whom nobody invited, by a GroupInfo and an external commit. RFC 9420 §12.4.3.2."""
    host, guest = play.members[0], play.new_player("Yves")
    said = [posted.message for posted in play.delivery.log if posted.is_application]
    info = host.group.group_info()
    play.delivery.upload(info)
    commit = guest.client.join_external(info)
    cautious = play.thief_of(host, Settings())
    disabled = Code.EXTERNAL_COMMIT_DISABLED
    play.check_refused("default settings refuse it", disabled, lambda: cautious.client.receive(commit.message))
    _enter(play, guest, commit)
    play.delivery.subscribe(guest.name, guest.group_id)
    play.members.append(guest)
    readable = count_readable(guest, said, guest.group.epoch)
    play.check("nothing earlier is readable", readable == 0)
    check_heard(play, guest, "hello from outside")
    check_heard(play, host, "hello")
    return f"{guest.name} joins by an external commit, and can read {readable} of {len(said)} earlier messages"


def come_back(play: Play) -> str:
    """Let a member that has fallen back to an old backup replace its own leaf. RFC 9420 §12.4.3.2."""
    loser, others = play.member(2), [play.member(0), play.member(1)]
    backup, known, place = dict(loser.store.scan("")), loser.group.epoch, loser.group.me.leaf
    for committer in others:
        play.check("the commit is taken", play.commit(committer, committer.group.commit()))
    loser.store = MemoryStore()
    loser.store.apply(backup)
    loser.client = play.opened(loser.store)
    missed = play.say(others[0], "are you there?")
    play.deliver(player for player in play.members if player is not loser)
    play.check_refused("the backup cannot follow", Code.WRONG_EPOCH, lambda: play.read(loser, missed))
    info = others[0].group.group_info()
    play.delivery.upload(info)
    # Whoever stole nothing but the signature key does not have this.
    shown = ResumptionPSK(known, loser.group_id)
    commit = loser.client.join_external(info, resync=True, psks=[shown])
    _enter(play, loser, commit)
    play.check("it is in its former place", loser.group.me.leaf == place)
    check_heard(play, loser, "back again")
    check_heard(play, others[1], "good")
    return f"{loser.name} falls back to a backup of epoch {known}, and replaces its own leaf from outside"


def branch(play: Play) -> str:
    """Let some of the members form a group of their own, while the group goes on. RFC 9420 §11.3."""
    chosen, before = play.members[::2], play.members[0].group.epoch_authenticator
    creator, guests = chosen[0], chosen[1:]
    new, commit = creator.client.branch(creator.group, _fresh_packages(play, guests), group_id=_BRANCH)
    with play.aside(chosen, _BRANCH):
        play.delivery.subscribe(creator.name, _BRANCH)
        new.merge(commit)
        welcome(play, commit.welcome, guests)
        play.check_agreement()
        check_talk(play)
        play.check("the commit is taken", play.commit(chosen[-1], chosen[-1].group.commit()))
        play.check_agreement()
    uninvited, invitation = play.member(1), commit.welcome or b""
    nobody = Code.NO_MATCHING_KEY_PACKAGE
    play.check_refused("who is not chosen cannot join", nobody, lambda: uninvited.client.receive(invitation))
    play.check("the group is not affected", play.members[0].group.epoch_authenticator == before)
    check_talk(play)
    return f"{len(chosen)} of {len(play.members)} branch off into a group of their own; both talk, apart"


def reinitialize(play: Play) -> str:
    """Freeze the group, and go on in a successor under another cipher suite. RFC 9420 §11.2."""
    proposer, creator, last = play.member(0), play.member(1), play.member(2)
    former, suite = play.suite, play.suite.id % len(SUITES) + 1
    commit = proposer.group.commit([ReInit(_SUCCESSOR, suite)])
    play.check("the commit is taken", play.commit(proposer, commit))
    play.check("the group is frozen for all", all(player.group.is_frozen for player in play.members))
    retired = Code.GROUP_RETIRED
    play.check_refused("nothing more is said in it", retired, lambda: proposer.group.encrypt(b"one more thing"))

    for player in play.members:
        player.client.add_identity(Identity.basic(player.name.encode(), suite))
    guests = [player for player in play.members if player is not creator]
    old = [player.group for player in play.members]
    new, first = creator.client.reinitialize(creator.group, _fresh_packages(play, guests, suite))
    play.move(_SUCCESSOR, suite)
    play.delivery.subscribe(creator.name, _SUCCESSOR)
    new.merge(first)
    welcome(play, first.welcome, guests)
    for group in old:
        group.forget()
    play.check("the successor is of the other suite", all(_suite_of(player) == suite for player in play.members))
    play.check("the old group is forgotten", all(group.is_retired for group in old))
    check_talk(play)
    play.check("a commit in it is taken", play.commit(last, last.group.commit()))
    return f"the group freezes, and all {len(play.members)} go on from suite {former.id} to suite {suite}"


# What these acts share.


def _enter(play: Play, player: Player, commit: ExternalCommit) -> None:
    """Deliver an external commit to those inside, and once it is taken enter the group."""
    play.check("the external commit is taken", play.delivery.post(player.name, commit.message))
    play.deliver(each for each in play.members if each is not player)
    # What waits for one who returns is of the epochs that it replaces, its own commit included.
    play.delivery.fetch(player.name)
    commit.accept()


def _fresh_packages(play: Play, players: list[Player], suite: int | None = None) -> list[bytes]:
    for player in players:
        play.delivery.publish(player.name, player.client.key_package(suite=suite))
    return [play.delivery.take_key_package(player.name) for player in players]


def _suite_of(player: Player) -> int:
    info = decode(MLSMessage, player.group.group_info()).body
    return info.group_context.cipher_suite if isinstance(info, GroupInfo) else 0
