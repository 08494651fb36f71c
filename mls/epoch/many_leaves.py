"""Many leaves of one group at once, as a joiner meets them, and many key packages. RFC 9420 §7.3, §10.1, §12.4.3.1.

Keys, signature and lifetime are a leaf's own, and are checked of each. What a leaf says it supports, and its
extensions, many members say in the same octets, which are judged once. Leaves are read in parts, as they are encoded;
whatever does not pass here is judged by itself, in `mls.epoch.leaves`, which words the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from mls.crypto import CipherSuite
from mls.crypto.labels import labelled
from mls.epoch.environment import Environment
from mls.epoch.leaves import Demands, verify_key_package, verify_lifetime, verify_statement
from mls.errors import MLSError
from mls.messages import Credential, KeyPackage, LeafNode, LeafPosition, Lifetime
from treekem.index import LeafIndex
from treekem.leaf_node import LeafSections, leaf_sections
from treekem.wire import decode, encode

_MOST_KNOWN: Final = 1024  # Members choose what they say, so that no more of it is remembered.
_INDEX: Final = 4  # The bytes of a leaf index, which ends LeafPosition.


def vetted_key_packages(
    offered: Sequence[tuple[int, KeyPackage, bool]], demands: Demands, env: Environment
) -> frozenset[int]:
    """Return the numbers of those key packages that were found valid, where there are many of them.

    Each comes with its number, and with whether it is about to be sent. RFC 9420 §10.1.
    """

    def examine(entry: tuple[int, KeyPackage, bool]) -> int | None:
        number, key_package, is_own = entry
        try:
            verify_key_package(key_package, demands, env, strict=is_own)
        except MLSError:
            return None
        return number

    return frozenset(number for number in env.findings(examine, offered) if number is not None)


class Speaker(NamedTuple):
    """Whom a leaf speaks for."""

    credential: Credential
    signature_key: bytes


class LeafExaminer:
    """Finds which leaves of a group are valid for sure; threads may share it.

    It holds for one group, whose demands and settings do not change meanwhile. RFC 9420 §7.3.
    """

    def __init__(self, suite: CipherSuite, group_id: bytes, demands: Demands, env: Environment) -> None:
        self._suite = suite
        self._group_id = group_id
        self._before_index = encode(LeafPosition(group_id, LeafIndex(0)))[:-_INDEX]
        self._demands = demands
        self._env = env
        self._known: set[bytes] = set()

    def examine(self, entry: tuple[LeafIndex, bytes]) -> Speaker | None:
        """Return who speaks by the encoded leaf at an index if it is valid there; else `verify_leaf_node` judges."""
        index, encoded = entry
        sections = leaf_sections(encoded)
        try:
            self._verify_own(sections, index)
            if sections.statement not in self._known:
                verify_statement(decode(LeafNode, encoded), index, self._demands, self._env)
                self._remember(sections.statement)
            return Speaker(decode(Credential, sections.credential), sections.signature_key)
        except MLSError:
            return None

    def _verify_own(self, sections: LeafSections, index: LeafIndex) -> None:
        """Check what is a leaf's own. Raises InvalidLeafNode, InvalidSignature or InvalidKey."""
        suite = self._suite
        suite.verify_hpke_key(sections.encryption_key)
        key = suite.verification_key(sections.signature_key)
        if sections.lifetime:
            verify_lifetime(decode(Lifetime, sections.lifetime), self._env, index)
            tbs = sections.unsigned
        else:
            tbs = sections.unsigned + self._before_index + index.to_bytes(_INDEX, "big")
        key.verify(labelled(b"LeafNodeTBS", tbs), sections.signature)

    def _remember(self, statement: bytes) -> None:
        if len(self._known) < _MOST_KNOWN:
            self._known.add(statement)
