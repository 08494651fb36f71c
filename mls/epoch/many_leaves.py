"""Many leaves of one group at once, as a joiner meets them, and many key packages. RFC 9420 §7.3, §10.1, §12.4.3.1.

Keys, signature and lifetime are a leaf's own, and are checked of each. What a leaf says it supports, and its
extensions, many members say in the same octets: once a leaf that says so was found valid, those octets are known to be
good. Leaves are read in parts, as they are encoded; whatever does not pass here is judged by itself, in
`mls.epoch.leaves`, which words the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mls.crypto import CipherSuite
from mls.crypto.labels import labelled
from mls.epoch.environment import Environment
from mls.epoch.leaves import Demands, decode_leaf_node, verify_key_package, verify_leaf_node, verify_lifetime
from mls.errors import MLSError
from mls.messages import KeyPackage, LeafPosition, Lifetime
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

    def passes(entry: tuple[int, KeyPackage, bool]) -> bool:
        try:
            verify_key_package(entry[1], demands, env, strict=entry[2])
        except MLSError:
            return False
        return True

    verdicts = zip(offered, env.verdicts(passes, offered), strict=True)
    return frozenset(number for (number, _, _), is_valid in verdicts if is_valid)


class LeafExaminer:
    """Says which leaves of a group are valid for sure; threads may share it.

    It holds for one group, whose demands and settings do not change meanwhile. RFC 9420 §7.3.
    """

    def __init__(self, suite: CipherSuite, group_id: bytes, demands: Demands, env: Environment) -> None:
        self._suite = suite
        self._group_id = group_id
        self._before_index = encode(LeafPosition(group_id, LeafIndex(0)))[:-_INDEX]
        self._demands = demands
        self._env = env
        self._known: set[bytes] = set()

    def passes(self, entry: tuple[LeafIndex, bytes]) -> bool:
        """Whether the encoded leaf at an index is valid there; if not, `verify_leaf_node` has the last word."""
        index, encoded = entry
        sections = leaf_sections(encoded)
        try:
            if sections.statement in self._known:
                self._verify_own(sections, index)
            else:
                position = LeafPosition(self._group_id, index)
                verify_leaf_node(decode_leaf_node(encoded), position, self._demands, self._env)
                self._remember(sections.statement)
        except MLSError:
            return False
        return True

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
