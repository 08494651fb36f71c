"""A group of three in which one brings strange leaves, and the places that they may come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mls import Client, Extension, Group
from mls.errors import (
    Code,
    MLSError,
)
from mls.messages import (
    Add,
    ExtensionType,
    RequiredCapabilities,
    Update,
)
from tests.adversarial.insider import assert_refused
from tests.support.crafting import (
    UPDATE,
    Forger,
    crafted_package,
)
from tests.support.world import World
from treekem.wire import encode

UNSUPPORTED = Code.UNSUPPORTED_CAPABILITY
PLACES = ("add", "update", "path")


@dataclass(frozen=True)
class LeafScene:
    """A group of three. The second member forges; the first and the third receive; a fourth client stands outside."""

    world: World
    groups: Sequence[Group]
    forger: Forger
    outsider: Client

    @property
    def receivers(self) -> list[Group]:
        return [self.groups[0], self.groups[2]]

    def leaf_at(self, place: str, **fields: Any) -> bytes:  # noqa: ANN401  (fields of LeafNode)
        """Return a message that brings a leaf with these fields to a place."""
        match place:
            case "add":
                return self.forger.commit(Add(crafted_package(self.outsider, leaf=fields)), path=self.forger.path())
            case "update":
                return self.forger.send(Update(self.forger.leaf_node(UPDATE, **fields))).message
            case _:
                return self.forger.commit(path=self.forger.path(**fields))

    def assert_refused_everywhere(
        self,
        error: type[MLSError],
        rule: str,
        code: str,
        places: Sequence[str] = PLACES,
        **fields: Any,  # noqa: ANN401  (whatever fields a leaf has)
    ) -> None:
        for place in places:
            message = self.leaf_at(place, **fields)
            refused = assert_refused(self.receivers, message, error, rule, code)
            assert refused.authenticated


def scene_of(groups: Sequence[Group], world: World) -> LeafScene:
    return LeafScene(world, groups, Forger(world, groups[1]), world.client("outsider"))


def requirement(
    extensions: tuple[int, ...] = (), proposals: tuple[int, ...] = (), credentials: tuple[int, ...] = ()
) -> Extension:
    body = encode(RequiredCapabilities(extensions, proposals, credentials))
    return Extension(ExtensionType.REQUIRED_CAPABILITIES, body)
