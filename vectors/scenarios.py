"""The three passive kinds, generated: stories of real clients, told to one that only listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mls import Extension, GroupContextExtensions, PreSharedKey, ReInit, Remove, ResumptionPSK, Update
from mls.intents import Intent
from mls.messages import CredentialType, ExtensionType, RequiredCapabilities
from mls.messages import GroupContextExtensions as GroupContextExtensionsProposal
from mls.messages import Remove as RemoveProposal
from treekem.wire import encode
from vectors.case import Case, Kind, Recipe
from vectors.passive import PASSIVE_FIELDS, verify_passive_client
from vectors.scene import PSK_ID, Scene

Act = Callable[[Scene], None]
"""Something that happens in a group, one or more epochs long."""

_REQUIRED: Final = Extension(
    ExtensionType.REQUIRED_CAPABILITIES, encode(RequiredCapabilities((), (), (CredentialType.BASIC,)))
)


def generate_passive_welcome(recipe: Recipe) -> Iterator[Case]:
    """Yield Welcomes with and without a path secret, a pre-shared key, and the tree."""
    ways = [(path, psk, tree) for path in (False, True) for psk in (False, True) for tree in ("inside", "beside")]
    for number, (path, psk, tree) in enumerate((ways[0], ways[-1]) if recipe.small else ways):
        scene = Scene(recipe, 3, private=number % 2 == 0)
        scene.invite([PreSharedKey(PSK_ID)] if psk else [], path=path, tree=tree)
        yield scene.case()


# One thing after another.


def add_without_path(scene: Scene) -> None:
    """Add somebody, and leave the path out."""
    scene.commit(1, [scene.newcomer()], path=False)


def add_with_path(scene: Scene) -> None:
    """Add two, and refresh the path."""
    scene.commit(0, [scene.newcomer(), scene.newcomer()], path=True)


def remove(scene: Scene) -> None:
    """Remove a member by value, then another by reference."""
    scene.commit(0, [Remove(scene.rooms[1].me)])
    scene.propose(0, Remove(scene.rooms[-1].me))
    scene.commit(1)


def update(scene: Scene) -> None:
    """Let two members update, and a third one commit that."""
    scene.propose(0, Update())
    scene.propose(2, Update())
    scene.commit(1)


def refresh(scene: Scene) -> None:
    """Commit nothing but a path."""
    scene.commit(2)


def inject_external_psk(scene: Scene) -> None:
    """Inject the pre-shared key, without a path by value, with one by reference."""
    scene.commit(0, [PreSharedKey(PSK_ID)], path=False)
    scene.propose(1, PreSharedKey(PSK_ID))
    scene.commit(2)


def inject_resumption_psk(scene: Scene) -> None:
    """Inject the resumption secret of this epoch, and then that of the one before, together with the external key."""
    scene.commit(0, [ResumptionPSK(scene.rooms[0].epoch)], path=False)
    scene.commit(1, [ResumptionPSK(scene.rooms[1].epoch - 1), PreSharedKey(PSK_ID)])


def change_extensions(scene: Scene) -> None:
    """Set the group's extensions, then take them away."""
    scene.commit(0, [GroupContextExtensions((_REQUIRED,))])
    scene.propose(1, GroupContextExtensions(()))
    scene.commit(0)


def everything_at_once(scene: Scene) -> None:
    """Commit an addition, a removal, an update and a key that were proposed, and a further addition."""
    scene.propose(1, scene.newcomer())
    scene.propose(2, Remove(scene.rooms[-1].me))
    scene.propose(2, Update())
    scene.propose(0, PreSharedKey(PSK_ID))
    scene.commit(1, [scene.newcomer()])


def external_join(scene: Scene) -> None:
    """Let somebody join by an external commit, and somebody else remove it again."""
    scene.join_from_outside()
    scene.commit(1, [Remove(scene.silent.pop())])


def external_join_with_psk(scene: Scene) -> None:
    """Let somebody join by an external commit that injects the pre-shared key."""
    scene.join_from_outside(psk=True)


def resynchronize(scene: Scene) -> None:
    """Let a member replace itself by an external commit."""
    scene.join_from_outside(replaces=1)


def external_proposals(scene: Scene) -> None:
    """Admit an external sender, who proposes a removal and an addition, and then that it be dismissed."""
    outsider, admission = scene.external_sender()
    scene.commit(0, [admission])
    scene.propose_from_outside(outsider, RemoveProposal(scene.rooms[-1].me.leaf))
    scene.propose_addition_from_outside(outsider)
    scene.commit(1)
    scene.propose_from_outside(outsider, GroupContextExtensionsProposal(()))
    scene.commit(2)


def new_member_proposal(scene: Scene) -> None:
    """Let somebody propose its own addition."""
    scene.ask_to_be_added()
    scene.commit(1)


def reinitialize(scene: Scene) -> None:
    """End the group by a ReInit."""
    scene.propose(1, ReInit(scene.entropy(16), scene.suite.id))
    scene.commit(0, path=False)


_INSIDE: Final[tuple[Act, ...]] = (
    add_without_path,
    add_with_path,
    remove,
    update,
    refresh,
    inject_external_psk,
    inject_resumption_psk,
    change_extensions,
    everything_at_once,
    reinitialize,
)
_OUTSIDE: Final[tuple[Act, ...]] = (
    external_join,
    external_join_with_psk,
    resynchronize,
    external_proposals,
    new_member_proposal,
)


def generate_handling_commit(recipe: Recipe) -> Iterator[Case]:
    """Yield each act by itself, in the clear and encrypted; small sets tell two stories of several acts."""
    if recipe.small:
        yield _told(recipe, (add_without_path, update, inject_resumption_psk, everything_at_once), private=True)
        yield _told(recipe, (external_proposals, external_join), private=False)
        return
    for act in (*_INSIDE, *_OUTSIDE):
        for private in (False, True):
            yield _told(recipe, (act,), private=private)


def _told(recipe: Recipe, acts: Sequence[Act], *, private: bool) -> Case:
    scene = Scene(recipe, 4, private=private)
    scene.invite()
    for act in acts:
        act(scene)
    return scene.case()


# At random.


def generate_random(recipe: Recipe) -> Iterator[Case]:
    """Yield one story of 30 epochs, or of four, told by dice; some members encrypt their handshakes, others do not."""
    scene = Scene(recipe, 4)
    scene.invite(path=_chance(scene, 2))
    for _ in range(4 if recipe.small else 30):
        if _chance(scene, 6):
            scene.join_from_outside(psk=_chance(scene, 2))
        growing = scene.size < (6 if recipe.small else 12) and _chance(scene, 2)
        if growing and _chance(scene, 3):
            scene.ask_to_be_added()
        _random_epoch(scene, growing=growing)
    yield scene.case()


def _random_epoch(scene: Scene, *, growing: bool) -> None:
    """Let members propose something each, and one of them commit that, and more.

    A growing group names no past epoch: its new members would not hold the key that this leaves behind.
    """
    author = _dice(scene, scene.size)
    others = [index for index in range(scene.size) if index != author]
    doomed = others.pop(_dice(scene, len(others))) if scene.size > _SMALLEST and _chance(scene, 2) else None
    for index in others:
        if _chance(scene, 2):
            scene.propose(index, _random_intent(scene, growing=growing))
    intents: list[Intent] = [] if doomed is None else [Remove(scene.rooms[doomed].me)]
    if scene.silent and _chance(scene, 2):
        intents.append(Remove(scene.silent.pop()))
    if _chance(scene, 2):
        intents.append(PreSharedKey(PSK_ID))
    scene.commit(author, intents)


def _random_intent(scene: Scene, *, growing: bool) -> Intent:
    if _chance(scene, 3):
        return scene.newcomer() if growing else ResumptionPSK(scene.rooms[0].epoch)
    return PreSharedKey(PSK_ID) if _chance(scene, 3) else Update()


def _dice(scene: Scene, sides: int) -> int:
    return int.from_bytes(scene.entropy(8), "big") % sides


def _chance(scene: Scene, sides: int) -> bool:
    return _dice(scene, sides) == 0


_SMALLEST: Final = 3

KINDS = (
    Kind("passive-client-welcome", PASSIVE_FIELDS, verify_passive_client, generate_passive_welcome),
    Kind("passive-client-handling-commit", PASSIVE_FIELDS, verify_passive_client, generate_handling_commit),
    Kind("passive-client-random", PASSIVE_FIELDS, verify_passive_client, generate_random),
)
