"""The story of `mls demo`: a group's life in acts, each of which says what happened and checks what it claims.

RFC 9420 §11, §12, §14, §15.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mls.cli.gestures import check_heard, count_readable, everybody_speaks, invite
from mls.cli.play import Check, LostMessageError, Play, Player, agreement
from mls.cli.sequel import branch, come_back, join_outside, reinitialize
from mls.errors import Code, MLSError
from mls.intents import Add, PreSharedKey, Remove, Update
from treekem.secrets import ct_eq
from treekem.tree import RatchetTree

_ORDER: Final = (2, 0, 1)  # in which three messages arrive
_PSK_ID: Final = b"code word"


@dataclass(frozen=True, slots=True)
class Step:
    """An act that was played: what went up to the delivery service, how long it took, and what was checked after it."""

    title: str
    what: str
    messages: int
    sent_bytes: int
    seconds: float
    epoch: int
    epoch_authenticator: bytes
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check held."""
        return all(check.passed for check in self.checks)


def perform(play: Play) -> Iterator[Step]:
    """Play the acts one after another, and compare all members after each; an act that cannot go on ends the play."""
    for title, act in ACTS:
        step = _played(play, title, act)
        yield step
        if any(check.name.startswith(_ENDED) for check in step.checks):
            return


_ENDED: Final = "cannot go on: "


def _played(play: Play, title: str, act: Callable[[Play], str]) -> Step:
    messages, octets = play.delivery.messages, play.delivery.bytes
    play.checks = []
    start = time.perf_counter()
    try:
        what = act(play)
    except (MLSError, LostMessageError) as error:
        what = "the play cannot go on"
        play.check(_ENDED + str(error), condition=False)
    seconds = time.perf_counter() - start
    group = play.members[0].group
    try:
        play.check_agreement()
    except MLSError as error:
        play.check(f"the members cannot be compared: {error}", condition=False)
    return Step(
        title,
        what,
        play.delivery.messages - messages,
        play.delivery.bytes - octets,
        seconds,
        group.epoch,
        group.epoch_authenticator,
        tuple(play.checks),
    )


# The acts.


def found(play: Play) -> str:
    """Begin with one member, while the others publish key packages. RFC 9420 §10, §11."""
    founder = play.members[0]
    founder.client.create_group(play.group_id)
    play.delivery.subscribe(founder.name, play.group_id)
    for player in play.waiting:
        play.delivery.publish(player.name, player.client.key_package())
    play.check("epoch 0, one member", founder.group.epoch == 0 and len(founder.group.members) == 1)
    return f"{founder.name} founds the group; {len(play.waiting)} others publish key packages"


def add_everyone(play: Play) -> str:
    """Add everyone by one commit and one Welcome. RFC 9420 §12.4.3.1."""
    founder, guests = play.members[0], list(play.waiting)
    packages = [Add(play.delivery.take_key_package(guest.name)) for guest in guests]
    invite(play, founder, packages, guests, path=None)
    play.waiting.clear()
    everyone = len(play.members)
    play.check("all have joined", all(len(player.group.members) == everyone for player in play.members))
    return f"{founder.name} adds {len(guests)} by one commit and one Welcome"


def talk(play: Play) -> str:
    """Let everybody speak, and everybody else hear."""
    heard = everybody_speaks(play)
    expected = len(play.members) * (len(play.members) - 1)
    play.check("everyone hears everyone else", heard == expected)
    return f"everyone speaks; {heard} of {expected} deliveries are read"


def rekey(play: Play) -> str:
    """Replace every leaf's key: some commit a path, the others propose an Update. RFC 9420 §12.1.2, §12.4."""
    before = _leaf_keys(play)
    proposing, committing = play.members[0:-1:2], [*play.members[1::2]]
    if len(play.members) % 2:
        committing.append(play.members[-1])
    for place, committer in enumerate(committing):
        if place < len(proposing):
            proposal = proposing[place].group.propose(Update())
            play.delivery.post(proposing[place].name, proposal.message)
            play.deliver()
        play.check(f"{committer.name}'s commit is taken", play.commit(committer, committer.group.commit()))
    play.check("every leaf has a new key", not before & _leaf_keys(play) and len(_leaf_keys(play)) == len(before))
    return f"{len(committing)} commit a path, {len(proposing)} propose an Update: all leaf keys are new"


def collide(play: Play) -> str:
    """Let two members commit in one epoch, of which one is taken. RFC 9420 §14."""
    winner, loser = play.member(1), play.member(2)
    first, second = winner.group.commit(), loser.group.commit()
    play.check("the first commit is taken", play.delivery.post(winner.name, first.message))
    play.check("the second is not", not play.delivery.post(loser.name, second.message))
    play.deliver([player for player in play.members if player is not loser])
    seen = agreement(play.suite, {player.name: player.group for player in play.members})
    play.check("the comparison notices who is left behind", not all(check.passed for check in seen))
    loser.group.discard(second)
    play.deliver([loser])
    play.check_refused("a discarded commit cannot be merged", Code.STALE_HANDLE, lambda: loser.group.merge(second))
    play.check("the commit made anew is taken", play.commit(loser, loser.group.commit()))
    return f"{winner.name} and {loser.name} commit at once; {loser.name} follows, then commits anew"


def disorder(play: Play) -> str:
    """Deliver out of order, twice, and damaged. RFC 9420 §15.3."""
    speaker = play.member(1)
    texts = ["one", "two", "three"]
    for text in texts:
        play.say(speaker, text)
    listeners = [player for player in play.members if player is not speaker]
    for player in listeners:
        messages = play.fetch(player, len(texts))
        _try_damaged(play, player, messages[_ORDER[0]])
        for place in _ORDER:
            play.read(player, messages[place])
        in_order = [player.heard[-3 + place].data.decode() for place in (1, 2, 0)]
        play.check(f"{player.name} reads all three", in_order == texts)
        _try_replay(play, player, messages[0])
    play.deliver()
    return f"{speaker.name}'s three messages come as 3, 1, 2, replayed and damaged: each is read once"


def restart(play: Play) -> str:
    """Open a client again with half-used ratchets and a pending commit, as after a crash."""
    speaker, player = play.member(1), play.member(2)
    for text in ("first", "second", "third"):
        play.say(speaker, text)
    messages = play.fetch(player, 3)
    play.read(player, messages[0])
    play.read(player, messages[2])
    player.group.commit()
    before = player.group.fingerprint()
    player.client = play.opened(player.store)
    play.check("the same state, by its fingerprint", player.group.fingerprint() == before)
    play.read(player, messages[1])
    play.check("the message skipped before is read after", player.heard[-1].data == b"second")
    _try_replay(play, player, messages[0])
    play.deliver()
    play.check("the pending commit is still there", len(player.group.pending) == 1)
    play.check("and is taken", play.commit(player, player.group.pending[0]))
    check_heard(play, player, "back again")
    return f"{player.name} restarts from its store amid an epoch, reads on, merges what was pending"


def remove(play: Play) -> str:
    """Remove a member, whose copied store opens nothing of what follows. RFC 9420 §12.1.3."""
    remover, gone = play.members[0], play.members[len(play.members) // 2]
    thief, old_epoch, group = play.thief_of(gone), gone.group.epoch, gone.group
    target = next(member for member in remover.group.members if member.identity == gone.name.encode())
    play.check("the commit is taken", play.commit(remover, remover.group.commit([Remove(target)])))
    play.check("the removed client wipes the group", group.is_retired and not list(gone.store.scan("group/")))
    play.members.remove(gone)
    play.delivery.unsubscribe(gone.name, play.group_id)
    start = len(play.delivery.log)
    everybody_speaks(play)
    later = [posted.message for posted in play.delivery.log[start:] if posted.is_application]
    readable = count_readable(thief, later, old_epoch)
    play.check("it can read nothing more, even from a copy of its former store", readable == 0)
    return f"{remover.name} removes {gone.name}, who can read {readable} of {len(later)} later messages"


def join_late(play: Play) -> str:
    """Add a member, to whom nothing of what was said before is readable. RFC 9420 §12.4.3.1."""
    host, guest = play.member(1), play.new_player("Zoe")
    play.delivery.publish(guest.name, guest.client.key_package())
    said = [posted.message for posted in play.delivery.log if posted.is_application]
    package = Add(play.delivery.take_key_package(guest.name))
    blank = RatchetTree.decode(host.group.ratchet_tree).first_blank_leaf()
    invite(play, host, [package], [guest], path=False)
    play.check("the first blank leaf is used again", blank is None or guest.group.me.leaf == blank)
    readable = count_readable(guest, said, guest.group.epoch)
    play.check("nothing earlier is readable", readable == 0)
    check_heard(play, host, "welcome")
    check_heard(play, guest, "hello")
    return f"{guest.name} joins without a path, and can read {readable} of {len(said)} earlier messages"


def inject_psk(play: Play) -> str:
    """Mix in a key that members were given otherwise. RFC 9420 §8.4."""
    committer, late = play.member(1), play.members[0]
    psk = play.draw(32)
    for player in play.members:
        if player is not late:
            player.client.add_psk(_PSK_ID, psk)
    commit = committer.group.commit([PreSharedKey(_PSK_ID)], path=False)
    play.check("the commit is taken", play.delivery.post(committer.name, commit.message))
    play.check("it injects one key", commit.effect.psks == 1)
    play.deliver([player for player in play.members if player is not late])
    for message in play.delivery.fetch(late.name):
        _follow_with_psk(play, late, message, psk)
    return f"{committer.name} injects a pre-shared key, without which {late.name} cannot follow"


def export(play: Play) -> str:
    """Derive a secret for the application. RFC 9420 §8.5."""
    secrets = [player.group.export_secret("demo", b"call 1", 32) for player in play.members]
    other = play.members[0].group.export_secret("demo", b"call 2", 32)
    play.check("all export the same secret", all(ct_eq(secrets[0], secret) for secret in secrets))
    play.check("another context gives another one", not ct_eq(secrets[0], other))
    return f"all {len(secrets)} export the same secret of {len(secrets[0])} bytes"


ACTS: Final[Sequence[tuple[str, Callable[[Play], str]]]] = (
    ("found", found),
    ("add everyone", add_everyone),
    ("talk", talk),
    ("rekey", rekey),
    ("collide", collide),
    ("disorder", disorder),
    ("restart", restart),
    ("remove", remove),
    ("join late", join_late),
    ("join outside", join_outside),
    ("return", come_back),
    ("inject a PSK", inject_psk),
    ("export", export),
    ("branch", branch),
    ("reinit", reinitialize),
)
"""What is played, in order."""


# What happens within acts.


def _try_damaged(play: Play, player: Player, message: bytes) -> None:
    """Try a message with one bit changed, which must not cost the genuine one its key."""
    damaged = message[:-1] + bytes([message[-1] ^ 1])
    _try_in_vain(play, player, damaged, Code.AEAD_FAILED, "a damaged message")


def _try_replay(play: Play, player: Player, message: bytes) -> None:
    _try_in_vain(play, player, message, Code.KEY_CONSUMED, "a replayed message")


def _try_in_vain(play: Play, player: Player, message: bytes, code: Code, what: str) -> None:
    before = player.group.fingerprint()
    play.check_refused(f"{player.name} refuses {what}", code, lambda: play.read(player, message))
    play.check(f"and {player.name}'s state is as before", player.group.fingerprint() == before)


def _follow_with_psk(play: Play, player: Player, message: bytes, psk: bytes) -> None:
    """Try a commit without its pre-shared key, with another one, and with the right one."""
    play.check_refused("without the key it is refused", Code.PSK_UNKNOWN, lambda: play.read(player, message))
    player.client.add_psk(_PSK_ID, bytes(len(psk)))
    play.check_refused("with another one too", Code.BAD_CONFIRMATION_TAG, lambda: play.read(player, message))
    player.client.add_psk(_PSK_ID, psk)
    play.read(player, message)


def _leaf_keys(play: Play) -> set[bytes]:
    tree = RatchetTree.decode(play.members[0].group.ratchet_tree)
    return {slot.encryption_key for _, slot in tree.leaves()}
