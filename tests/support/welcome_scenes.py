"""Three members, one of whom invites a fourth client and may tell it anything."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mls import Client, Extension, Group
from mls.errors import (
    Code,
    MLSError,
)
from mls.messages import (
    Add,
    ExtensionType,
)
from tests.support.crafting import Forger, package_of
from tests.support.welcomes import Inviter, assert_join_refused
from tests.support.world import World
from treekem.tree import RatchetTree

MISMATCH = Code.PATH_SECRET_MISMATCH


@dataclass(frozen=True)
class Scene:
    """Three members, the second of whom invites a fourth client by a commit with a path."""

    world: World
    groups: list[Group]
    joiner: Client
    inviter: Inviter

    def assert_refused(
        self,
        message: bytes,
        error: type[MLSError],
        rule: str,
        code: str,
        *,
        tree: bytes | None = None,
    ) -> MLSError:
        """Assert that a Welcome is refused, and that the genuine one is good afterwards."""
        refused = assert_join_refused(self.joiner, lambda: self.joiner.join(message, tree), (error, rule, code))
        invitation = self.joiner.join(self.inviter.message())
        assert len(invitation.members) == len(self.groups) + 1
        return refused

    def with_tree(self, tree: RatchetTree) -> bytes:
        """Return a Welcome whose tree and tree hash are others."""
        context = replace(self.inviter.parts.info.group_context, tree_hash=tree.tree_hash(self.inviter.suite))
        extension = Extension(ExtensionType.RATCHET_TREE, tree.encode())
        info = self.inviter.info(group_context=context, extensions=(extension,))
        return self.inviter.message(info=info)


def scene_of(world: World, *, path: bool = True, n: int = 3) -> Scene:
    groups = world.group(n)
    world.commit(groups[0], (), *groups[1:])
    joiner = world.client("joiner")
    forger = Forger(world, groups[1])
    created = forger.order(Add(package_of(joiner.key_package())), path=path)
    return Scene(world, groups, joiner, Inviter(forger, created, joiner))
