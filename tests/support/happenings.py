"""What may happen in a room. Each returns whether it succeeded; where there is nobody for it, it does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mls import (
    Add,
    ApplicationMessage,
    Identity,
    MLSError,
    NewLeaf,
    PreSharedKey,
    ReInit,
    Remove,
    ResumptionPSK,
    StagedCommit,
    Update,
)
from mls.errors import Code, Refused, UsageError, WrongEpoch
from mls.intents import Intent
from tests.adversarial.insider import refusal
from tests.support.extending import LUNCH, POLL
from tests.support.rooms import KEPT, PSKS, SMALLEST, Room, Seat, refused
from tests.support.world import join, records


@dataclass(frozen=True)
class Chance:
    """Three numbers that choose who acts, on whom or what, and which seats hear of it late: those whose bit is set."""

    who: int
    what: int
    late: int


Happening = Callable[[Room, Chance], bool]


def commit(room: Room, seat: Seat, intents: Sequence[Intent], late: int) -> bool:
    """Have somebody who has heard everything commit."""
    room.post_commit(seat, seat.group.commit(intents), late)
    return True


def is_guest(seat: Seat) -> bool:
    return seat.name.startswith("guest")


# Who is in.


def add(room: Room, chance: Chance) -> bool:
    seat = room.present(chance.who)
    return room.has_space(seat) and commit(room, seat, [room.newcomer()], chance.late)


def remove(room: Room, chance: Chance) -> bool:
    seat = room.present(chance.who)
    leaver = room.another(seat, chance.what)
    if leaver is None or is_guest(seat) or not room.has_spare(seat):
        return False
    return commit(room, seat, [Remove(leaver.group.me)], chance.late)


def swap(room: Room, chance: Chance) -> bool:
    seat = room.present(chance.who)
    leaver = room.another(seat, chance.what)
    if leaver is None or is_guest(seat) or not room.has_space(seat):
        return False
    return commit(room, seat, [room.newcomer(), Remove(leaver.group.me)], chance.late)


def update(room: Room, chance: Chance) -> bool:
    """Renew one's own leaf by a commit, its signature key too in one case of three."""
    seat = room.present(chance.who)
    leaf = None if chance.what % 3 else NewLeaf(rotate_signature_key=True)
    room.post_commit(seat, seat.group.commit(leaf=leaf), chance.late)
    return True


def overstep(room: Room, chance: Chance) -> bool:
    """Have a guest ask for what its role does not allow."""
    guests = [seat for seat in room.members if is_guest(seat)]
    if not guests:
        return False
    seat = guests[chance.who % len(guests)]
    room.catch_up(seat)
    victim = room.another(seat, chance.what)
    if victim is None:
        return False
    with refused(room, seat, Refused):
        seat.group.commit([Remove(victim.group.me)]) if chance.what % 2 else seat.group.propose(Remove(victim.group.me))
    return True


# What is proposed, and committed by reference.


def propose(room: Room, seat: Seat, intent: Intent, late: int) -> bool:
    sent = seat.group.propose(intent)
    room.post(sent.message, seat)
    room.spread(late)
    return True


def propose_update(room: Room, chance: Chance) -> bool:
    leaf = NewLeaf(rotate_signature_key=True) if chance.what % 2 else None
    return _has_room_for_proposals(room) and propose(room, room.present(chance.who), Update(leaf), chance.late)


def propose_remove(room: Room, chance: Chance) -> bool:
    seat = room.present(chance.who)
    victim = room.another(seat, chance.what)
    if victim is None or is_guest(seat) or not room.has_spare(seat) or not _has_room_for_proposals(room):
        return False
    return propose(room, seat, Remove(victim.group.me), chance.late)


def propose_add(room: Room, chance: Chance) -> bool:
    seat = room.present(chance.who)
    if not room.has_space(seat) or not _has_room_for_proposals(room):
        return False
    return propose(room, seat, Add(room.simulation.newcomer(room.suite).key_package(suite=room.suite)), chance.late)


def propose_poll(room: Room, chance: Chance) -> bool:
    """Propose what an application adds to the protocol."""
    return _has_room_for_proposals(room) and propose(room, room.present(chance.who), POLL.proposal(LUNCH), chance.late)


def propose_psk(room: Room, chance: Chance) -> bool:
    return _has_room_for_proposals(room) and propose(
        room, room.present(chance.who), PreSharedKey(PSKS[chance.what % len(PSKS)]), chance.late
    )


def knock(room: Room, chance: Chance) -> bool:
    """Have a client propose itself from outside."""
    if room.suite != 1 or not room.has_space(room.present(chance.who)) or not _has_room_for_proposals(room):
        return False
    client = room.simulation.newcomer()
    room.post(client.propose_external_add(room.present(chance.who).group.group_id, room.epoch))
    room.spread(chance.late)
    return True


def commit_by_reference(room: Room, chance: Chance) -> bool:
    """Commit what is proposed."""
    seat = room.present(chance.who)
    n_proposed = len(seat.group.proposals)
    if not n_proposed:
        return False
    pending = seat.group.commit()
    room.post_commit(seat, pending, chance.late)
    return len(pending.left_out) < n_proposed


def _has_room_for_proposals(room: Room) -> bool:
    """Whether few enough wait that nobody is kept from talking for long."""
    return len(room.present(0).group.proposals) < 3


# Pre-shared keys, successors and branches.


def inject_psk(room: Room, chance: Chance) -> bool:
    return commit(room, room.present(chance.who), [PreSharedKey(PSKS[chance.what % len(PSKS)])], chance.late)


def inject_resumption_psk(room: Room, chance: Chance) -> bool:
    """Inject the key of an epoch that all have been in, where nobody joins who has not."""
    seat = room.present(chance.who)
    epoch = room.epoch - chance.what % 3
    if any(each.since > epoch for each in room.members) or epoch < 1:
        return False
    pending = seat.group.commit([ResumptionPSK(epoch)], include=())
    room.post_commit(seat, pending, chance.late)
    return True


def reinitialize(room: Room, chance: Chance) -> bool:
    """Freeze a group and go on in its successor, under another cipher suite in one case of two."""
    if chance.who % 2:
        return False
    _gather(room)
    seat, suite = room.present(chance.who), 3 if chance.what % 2 else 1
    room.simulation.counter += 1
    intent = ReInit(b"successor %d" % room.simulation.counter, suite)
    pending = seat.group.commit([intent], include=())
    room.post_commit(seat, pending, 0)
    _equip(room, suite)
    creator = room.present(chance.late)
    others = [each for each in room.members if each is not creator]
    packages = [room.client(each).key_package(suite=suite) for each in others]
    with refused(room, creator, UsageError):
        creator.group.encrypt(b"in a frozen group")
    new, first = room.client(creator).reinitialize(creator.group, packages)
    new.merge(first)
    groups = [new, *(join(room.client(each), first) for each in others)]
    for each in room.seats:
        each.group.forget()
    rooms = room.simulation.rooms
    rooms[rooms.index(room)] = Room(room.simulation, groups, suite)
    return True


def branch(room: Room, chance: Chance) -> bool:
    """Have some members begin a group of their own, in the place of one that began so before."""
    _gather(room)
    creator = room.present(chance.who)
    chosen = [each for number, each in enumerate(room.members) if each is not creator and chance.what >> number & 1]
    if len(chosen) + 1 < SMALLEST:
        return False
    rooms = room.simulation.rooms
    for former in rooms[1:]:
        if former is not room:
            for seat in former.seats:
                seat.group.forget()
    packages = [room.client(each).key_package(suite=room.suite) for each in chosen]
    new, first = room.client(creator).branch(creator.group, packages)
    new.merge(first)
    groups = [new, *(join(room.client(each), first) for each in chosen)]
    room.simulation.rooms = [room, Room(room.simulation, groups, room.suite)]
    return True


def _gather(room: Room) -> None:
    room.spread(0)


def _equip(room: Room, suite: int) -> None:
    """See to it that everybody has an identity for a cipher suite."""
    for each in room.members:
        store = room.world.stores[each.name]
        if suite != 1 and f"identity/{suite:05}" not in records(store):
            room.client(each).add_identity(Identity.basic(each.name.encode(), suite))


# Coming in from outside.


def join_externally(room: Room, chance: Chance) -> bool:
    helper = room.present(chance.who)
    if not room.has_space(helper):
        return False
    client = room.simulation.newcomer(room.suite)
    beside = bool(chance.what % 2)
    info = helper.group.group_info(ratchet_tree=not beside)
    psks = [PreSharedKey(PSKS[chance.what % len(PSKS)])] if chance.what % 3 == 0 else []
    entry = client.join_external(info, helper.group.ratchet_tree if beside else None, psks=psks)
    room.post(entry.message)
    room.epoch += 1
    group = entry.accept()
    room.enter(client.identity.decode(), group)
    room.spread(chance.late)
    return True


def resync(room: Room, chance: Chance) -> bool:
    """Have a member return to its leaf, however far behind it is; what was said before is lost on it."""
    seat = room.members[chance.who % len(room.members)]
    helper = room.another(seat, chance.what)
    if helper is None:
        return False
    held = seat.group.epoch
    is_known = held > room.epoch - KEPT and all(each.since <= held for each in room.members)
    psks = [ResumptionPSK(held)] if is_known else []
    entry = room.client(seat).join_external(helper.group.group_info(), resync=True, psks=psks)
    room.post(entry.message, seat)
    room.epoch += 1
    group = entry.accept()
    assert seat.group.is_retired
    flights = seat.flights
    seat.group, seat.since, seat.flights = group, group.epoch, []
    for flight in flights:
        refusal(seat.group, flight.message)
    room.spread(chance.late)
    return True


# Commits that lose, and that come back.


def lose(room: Room, chance: Chance) -> bool:
    """Have two commit at once, one of them twice: one is discarded, one loses."""
    loser = room.present(chance.who)
    winner = room.another(loser, chance.what)
    if winner is None:
        return False
    before = loser.group.epoch, loser.group.epoch_authenticator
    discarded, lost = loser.group.commit(), loser.group.commit()
    loser.group.discard(discarded)
    assert (loser.group.epoch, loser.group.epoch_authenticator) == before
    commit(room, winner, [], chance.late)
    assert isinstance(refusal(winner.group, lost.message), WrongEpoch)
    room.catch_up(loser)
    if not loser.group.is_retired:
        assert loser.group.pending == ()
        with refused(room, loser, UsageError):
            loser.group.merge(lost)
    return True


def lose_late(room: Room, chance: Chance) -> bool:
    """Have somebody commit to an epoch that the others have left."""
    behind = [seat for seat in room.seats if seat.group.epoch < room.epoch]
    if not behind:
        return False
    seat = behind[chance.who % len(behind)]
    pending = seat.group.commit()
    current = room.another(seat, chance.what)
    if current is not None:
        assert isinstance(refusal(current.group, pending.message), WrongEpoch)
    if chance.what % 2:
        seat.group.discard(pending)
    room.catch_up(seat)
    return True


def echo(room: Room, chance: Chance) -> bool:
    """Have a commit come back to its sender, who was restarted or not."""
    seat = room.present(chance.who)
    pending = seat.group.commit()
    if chance.what % 2:
        room.simulation.restart(seat.name)
    read = seat.read
    room.post_commit(seat, pending, chance.late, echo=True)
    room.catch_up(seat)
    return seat.read > read


# What is said.


def talk(room: Room, chance: Chance) -> bool:
    """Have somebody speak, up to date or not."""
    seat = room.seat(chance.who)
    if seat.group.proposals:
        with refused(room, seat, UsageError):
            seat.group.encrypt(b"too early")
        return False
    for _ in range(1 + chance.what % 3):
        room.simulation.counter += 1
        room.say(seat, b"%d" % room.simulation.counter)
    return True


def deliver(room: Room, chance: Chance) -> bool:
    """Have somebody hear a message, in any order; late, as one it must refuse, or twice."""
    seats = [seat for seat in room.seats if seat.flights]
    if not seats:
        return False
    seat = seats[chance.who % len(seats)]
    place = chance.what % len(seat.flights)
    flight = seat.flights[place]
    if flight.epoch > seat.group.epoch:
        assert refusal(seat.group, flight.message).code == Code.WRONG_EPOCH
        return False
    del seat.flights[place]
    if flight.epoch < seat.group.epoch - KEPT:
        assert refusal(seat.group, flight.message).code == Code.TOO_OLD
        return False
    event = seat.group.receive(flight.message)
    assert isinstance(event, ApplicationMessage)
    assert (event.data, event.sender.identity, event.epoch) == (flight.data, flight.sender, flight.epoch)
    assert flight.data not in seat.delivered
    seat.delivered.add(flight.data)
    assert refusal(seat.group, flight.message).code == Code.KEY_CONSUMED
    return True


def lose_message(room: Room, chance: Chance) -> bool:
    """Have a message never arrive."""
    seats = [seat for seat in room.seats if seat.flights]
    if seats:
        flights = seats[chance.who % len(seats)].flights
        del flights[chance.what % len(flights)]
    return bool(seats)


def damage(room: Room, chance: Chance) -> bool:
    """Have a bit of something change that is on its way; the genuine message is none the worse."""
    waiting = [(seat, flight.message) for seat in room.seats for flight in seat.flights]
    waiting += [(seat, room.log[seat.read].message) for seat in room.seats if seat.read < len(room.log)]
    if not waiting:
        return False
    seat, genuine = waiting[chance.who % len(waiting)]
    message = bytearray(genuine)
    message[chance.what % len(message)] ^= 1 << chance.what % 8
    refusal(seat.group, bytes(message))
    return True


def replay(room: Room, chance: Chance) -> bool:
    """Have a handshake come again to one that has heard it."""
    seat = room.seat(chance.who)
    heard = room.log[max(0, seat.read - 4) : seat.read]
    if not heard:
        return False
    message = heard[chance.what % len(heard)].message
    before, stored = seat.group.fingerprint(), records(seat.group._store)
    with suppress(MLSError):
        assert not isinstance(seat.group.receive(message), StagedCommit)
    assert (seat.group.fingerprint(), records(seat.group._store)) == (before, stored)
    return True


def hear_early(room: Room, chance: Chance) -> bool:
    """Have a handshake of a later epoch come before the commit that leads there."""
    slow = room.present(chance.who)
    author = room.another(slow, chance.what)
    if author is None:
        return False
    first = author.group.commit(include=())
    room.post_commit(author, first, _all_but_one_hear(room, slow))
    second = author.group.commit()
    room.post_commit(author, second, chance.late | _all_but_one_hear(room, slow))
    assert isinstance(refusal(slow.group, second.message), WrongEpoch)
    return True


def _all_but_one_hear(room: Room, slow: Seat) -> int:
    return 1 << next(number for number, seat in enumerate(room.seats) if seat is slow)


def hear(room: Room, chance: Chance) -> bool:
    """Have somebody who is behind hear one handshake more."""
    behind = [seat for seat in room.seats if seat.read < len(room.log)]
    if behind:
        room.hear(behind[chance.who % len(behind)])
    return bool(behind)


# What happens to a client by itself.


def restart(room: Room, chance: Chance) -> bool:
    room.simulation.restart(room.seat(chance.who).name)
    return True


def mistake(room: Room, chance: Chance) -> bool:
    """Have an application ask for what cannot be."""
    seat = room.present(chance.who)
    group, client = seat.group, room.client(seat)
    mistakes: tuple[Callable[[], object], ...] = (
        lambda: group.commit([Remove(63)]),
        lambda: group.commit([Remove(group.me)]),
        lambda: group.propose(Add(b"no key package")),
        lambda: group.commit([Add(client.key_package)]),  # type: ignore[arg-type]  # the mistake is to forget the call
        lambda: group.commit([PreSharedKey(b"never heard of")]),
        lambda: group.commit([ResumptionPSK(room.epoch + 1)]),
        lambda: group.commit([ReInit(b"another", 1), PreSharedKey(PSKS[0])]),
        lambda: group.commit(include=[b"no reference"]),
        lambda: client.reinitialize(group, []),
        lambda: client.create_group(group.group_id),
        lambda: client.join_external(group.group_info()),
        lambda: client.join(group.group_info()),
    )
    with refused(room, seat):
        mistakes[chance.what % len(mistakes)]()
    return True


HAPPENINGS: tuple[Happening, ...] = (
    *(add, remove, swap, update, overstep, commit_by_reference, commit_by_reference, commit_by_reference),
    *(propose_update, propose_remove, propose_add, propose_poll, propose_psk, knock),
    *(inject_psk, inject_resumption_psk, reinitialize, branch, join_externally, resync),
    *(lose, lose_late, lose_late, echo, talk, talk, talk, deliver, deliver, deliver, deliver),
    *(lose_message, lose_message, damage, damage, replay, hear_early, hear, hear, hear, restart, mistake),
)
"""What may happen, the likelier the more often it stands here."""
