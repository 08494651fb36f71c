"""Where ts-mls strays from the RFC: each test says what it does, and which clause says otherwise.

The other stories go around these places. A test that fails here tells that the library was mended.
"""

from __future__ import annotations

import pytest

from mls import Add, Extension, GroupContextExtensions, MLSError, Remove
from mls.errors import InvalidCommit, InvalidKey, InvalidTag
from mls.messages import GroupInfo, MLSMessage
from tests.interop.members import Ours, Table, Theirs
from tests.interop.peer import Peer, PeerRefusedError
from tests.support.world import World
from treekem.wire import decode


def pair(peer: Peer, *, suite: int = 1) -> tuple[Table, Ours, Theirs]:
    """Return a group that we founded and they joined."""
    world = World(suite)
    ours, theirs = Ours(world, "ours"), Theirs(peer, suite, "theirs")
    table = Table(ours)
    table.add(ours, theirs)
    return table, ours, theirs


@pytest.mark.parametrize("suite", [2, 5, 7])
@pytest.mark.rfc("R-5.1.1-04")
def test_they_compress_ecdsa_keys(peer: Peer, suite: int) -> None:
    """§5.1.1: "the public key is represented as an encoded UncompressedPointRepresentation struct"."""
    ours = Ours(World(suite), "ours")
    ours.create(b"group")
    before = ours.group.fingerprint()
    stray = Theirs(peer, suite, "stray", unmended=True)
    with pytest.raises(InvalidKey) as refused:
        ours.commit(Add(stray.key_package()))
    assert refused.value.rule == "R-5.1.1-04"
    assert ours.group.fingerprint() == before
    ours.commit(Add(Theirs(peer, suite, "mended").key_package()))


def test_they_write_external_pub_without_its_length(peer: Peer) -> None:
    """§12.4.3.2: the extension holds an `HPKEPublicKey`, which §5.1.1 declares as `opaque HPKEPublicKey<V>`."""
    stray, ours = Theirs(peer, 1, "stray", unmended=True), Ours(World(), "ours")
    stray.create(b"group")
    message, _ = stray.group_info(inside=True)
    info = decode(MLSMessage, message).body
    assert isinstance(info, GroupInfo)
    assert [len(each.extension_data) for each in info.extensions if each.extension_type == 4] == [32]
    with pytest.raises(MLSError):
        ours.enter(message, None, resync=False)

    ours.create(b"another group")
    with pytest.raises(PeerRefusedError):
        stray.enter(*ours.group_info(inside=True), resync=False)


def test_they_change_extensions_without_a_path(peer: Peer) -> None:
    """§12.4: a path is required of all commits but those whose proposals are of the types add, psk and reinit."""
    table, ours, theirs = pair(peer)
    before = ours.group.fingerprint()
    made = theirs.commit(GroupContextExtensions(()))
    with pytest.raises(InvalidCommit) as refused:
        ours.receive(made.message)
    assert refused.value.rule == "R-12.4-08"
    assert ours.group.fingerprint() == before
    table.rekey(ours)


def test_they_cannot_take_all_extensions_away(peer: Peer) -> None:
    """§12.1.7: "a wholesale replacement, not a merge"; by an empty list too, for which they keep the old one."""
    table, ours, _ = pair(peer)
    table.commit(ours, GroupContextExtensions((Extension(3, bytes(3)),)))
    table.agree()
    made = ours.commit(GroupContextExtensions(()))
    with pytest.raises(PeerRefusedError):
        table.members[1].receive(made.message)


def test_they_do_not_see_their_removal_where_the_leaf_is_filled_again(peer: Peer) -> None:
    """§12.3: the members removed are those that Remove proposals name; an Add of the same commit may take the leaf."""
    table, ours, theirs = pair(peer)
    newcomer = Theirs(peer, 1, "newcomer")
    made = ours.commit(Remove(table.leaf_of(theirs)), Add(newcomer.key_package()))
    with pytest.raises(PeerRefusedError, match="No overlap"):
        theirs.receive(made.message)
    assert not theirs.is_out()
    ours.merge()
    table.members.remove(theirs)
    table.seat(made, newcomer)


def test_they_want_all_parents_to_list_the_same_unmerged_leaves(peer: Peer) -> None:
    """§12.4.3.1: nodes between a leaf and a parent that lists it must list it too; nothing asks for equal lists."""
    world = World()
    members = [Ours(world, f"ours-{i}") for i in range(6)]
    table = Table(members[0])
    table.add(members[0], *members[1:])
    table.remove(members[0], members[3])
    table.remove(members[0], members[5])

    # Leaf 3 becomes unmerged at the root and below, leaf 5 at the root alone: a tree that the clause allows.
    newcomers, theirs = [Ours(world, "third"), Ours(world, "fifth")], Theirs(peer, 1, "theirs")
    adds = [*(Add(each.key_package()) for each in newcomers), Add(theirs.key_package())]
    made = members[0].commit(*adds, path=False)
    with pytest.raises(PeerRefusedError, match="unmerged_leaves"):
        theirs.join(made.welcome or b"", made.tree)
    for each in newcomers:
        each.join(made.welcome or b"", made.tree)


@pytest.mark.rfc("R-6.1-15")
def test_they_derive_a_secret_too_many_where_the_root_is_not_on_the_path(peer: Peer) -> None:
    """§7.4: path secrets belong to the filtered direct path; the commit secret follows the last one (§12.4.2).

    Once the left half of the tree is blank, the root is no part of that path; they derive a secret for it nevertheless.
    """
    world = World()
    first, second, fourth = (Ours(world, name) for name in ("first", "second", "fourth"))
    theirs = Theirs(peer, 1, "theirs")
    table = Table(first)
    table.add(first, second, theirs, fourth)
    table.remove(fourth, first)

    before = fourth.group.fingerprint()
    made = theirs.commit(Remove(table.leaf_of(second)))
    with pytest.raises(InvalidTag) as refused:
        fourth.receive(made.message)
    assert refused.value.rule == "R-6.1-15"
    assert fourth.group.fingerprint() == before

    made = fourth.commit(Remove(table.leaf_of(second)))
    with pytest.raises(PeerRefusedError, match="confirmation tag"):
        theirs.receive(made.message)
