"""What several acts of the story of `mls demo` do: inviting, talking, and trying to read what one should not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mls.cli.play import Play, Player
from mls.errors import MLSError
from mls.intents import Add
from mls.messages import MLSMessage, PrivateMessage, ProtocolVersion
from treekem.wire import decode, encode


def invite(play: Play, host: Player, packages: list[Add], guests: list[Player], *, path: bool | None) -> None:
    """Commit the key packages, and once the commit is taken, hand the Welcome to the guests."""
    commit = host.group.commit(packages, path=path)
    play.check("the commit is taken", play.commit(host, commit))
    play.members.extend(guests)
    welcome(play, commit.welcome, guests)


def welcome(play: Play, message: bytes | None, guests: Sequence[Player]) -> None:
    """Hand a Welcome to those whom it invites, who join at once."""
    if message is None:
        play.check("there is a Welcome", condition=False)
        return
    play.delivery.upload(message)
    for guest in guests:
        play.delivery.subscribe(guest.name, guest.group_id)
        play.delivery.invite(guest.name, message)
    play.deliver(guests)


def check_talk(play: Play) -> None:
    """Let everybody speak, and note whether everybody else hears."""
    expected = len(play.members) * (len(play.members) - 1)
    play.check("everyone hears everyone else", everybody_speaks(play) == expected)


def everybody_speaks(play: Play) -> int:
    """Let every member say something, and return how many deliveries were read as they were said."""
    for player in play.members:
        play.say(player, f"{player.name} in epoch {player.group.epoch}")
    heard = 0
    for player in play.members:
        start = len(player.heard)
        play.deliver([player])
        said = player.heard[start:]
        heard += sum(each.data == each.sender.identity + b" in epoch %d" % each.epoch for each in said)
    return heard


def check_heard(play: Play, speaker: Player, text: str) -> None:
    """Let one member speak, and note whether everybody else hears it."""
    play.say(speaker, text)
    play.deliver()
    listeners = [player for player in play.members if player is not speaker]
    heard = all(player.heard and player.heard[-1].data == text.encode() for player in listeners)
    play.check(f"all hear {speaker.name}", heard)


def count_readable(player: Player, messages: Sequence[bytes], epoch: int) -> int:
    """Return how many messages a client can read, as they are or when they claim to be of an epoch it has keys for."""
    return sum(_is_readable(player, each) or _is_readable(player, _claiming(each, epoch)) for each in messages)


def _is_readable(player: Player, message: bytes) -> bool:
    try:
        player.client.receive(message)
    except MLSError:
        return False
    return True


def _claiming(message: bytes, epoch: int) -> bytes:
    body = decode(MLSMessage, message).body
    if not isinstance(body, PrivateMessage):
        return message
    return encode(MLSMessage(ProtocolVersion.MLS10, replace(body, epoch=epoch)))
