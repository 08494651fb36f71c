"""`python -m bench synthetic`: large groups that no sequence of commits could make in reasonable time.

A tree is built from chains. A chain leads from a node down through one chosen child after the other to the leaf whose
commit set all of them; a node that was not chosen begins a chain of its own, with a parent hash that has been overtaken
since. Each parent hash on a chain covers the sibling's tree hash, so that the subtrees beside a chain are completed
first, and the leaf at its lower end is signed last. Everything follows from a seed; trees are kept on disk.
RFC 9420 §7.9, §12.4.3.1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Final

import typer

from mls import AcceptAnyone, Client, Group, Identity, MemoryStore, Settings
from mls.crypto import CipherSuite, SignatureKeyPair, SignaturePrivateKey, cipher_suite
from mls.crypto.curves import MontgomeryCurve
from mls.epoch.environment import Environment
from mls.epoch.join import verify_joined_tree
from mls.epoch.state import EpochState, GroupState, OwnLeaf
from mls.messages import (
    BasicCredential,
    Capabilities,
    CommitSource,
    GroupContext,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    ProtocolVersion,
    leaf_node_tbs,
)
from mls.schedule.key_schedule import EpochSecret, epoch_secrets_of
from mls.schedule.secret_tree import SecretTree
from mls.schedule.transcript import confirmation_tag, interim_transcript_hash
from mls.store.client_records import CLIENT_KEY, pack_identity
from mls.store.seam import Store
from mls.store.standing import Standing, limits_of
from treekem.hashing import parent_hash
from treekem.index import LeafIndex, NodeIndex, direct_path, is_leaf, leaf_of, left, level, node_of, right, root
from treekem.nodes import LeafNodeHashInput, ParentNode, TreeHashInput
from treekem.secrets import Secret
from treekem.suite import Entropy, HPKEKeyPair
from treekem.tree import RatchetTree
from treekem.wire import encode, encode_as, encode_varint

LEAF_BYTES: Final = 190
EPOCH: Final = 7
NOW: Final = 1_700_000_000
_FORMAT: Final = 1
_LOG_PIECES: Final = 6
_LARGE: Final = 1 << 14
_CAPABILITIES: Final = Capabilities((1,), (1,), (), (), (1,))


Progress = Callable[[int], object]
"""Is told how many members more are there."""


def nothing(_: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a synthetic group is to be: its members from the left, every parent filled (`warm`) or all of them blank.

    A parent with nobody on its right is blank in either case, as no path has it.
    """

    n_members: int
    suite_id: int = 1
    warm: bool = True
    seed: int = 0

    @property
    def suite(self) -> CipherSuite:
        """The group's cipher suite."""
        return cipher_suite(self.suite_id)

    @property
    def n_leaves(self) -> int:
        """The width of the tree, a power of two."""
        return 1 << (self.n_members - 1).bit_length()

    @property
    def kept(self) -> tuple[LeafIndex, ...]:
        """The members whose keys are known: the first, its sibling, and the first of the far half."""
        return tuple(LeafIndex(leaf) for leaf in sorted({0, 1, self.n_leaves // 2}) if leaf < self.n_members)

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.octets("group", 0)[:16]

    def octets(self, purpose: str, number: int) -> bytes:
        """Return Nh bytes for a purpose, equal for equal plans."""
        text = f"synthetic {self.suite_id} {self.n_members} {self.warm} {self.seed} {purpose} {number}"
        return self.suite.hash(text.encode())

    def signature_keys(self, leaf: LeafIndex) -> SignatureKeyPair:
        """Return the keys that a member signs with."""
        return self.suite.generate_signature_key_pair(_Stream(self, f"sign {leaf}"))

    def key_pair(self, x: NodeIndex) -> HPKEKeyPair:
        """Return the key pair of a node, as those below it would know it."""
        return self.suite.derive_key_pair(Secret(self.octets("node", x)))

    def open(self, store: Store, settings: Settings) -> Group:
        """Return the group from the records of a member, who starts the program again."""
        return Client.open(store, policy=AcceptAnyone(), settings=settings, clock=lambda: NOW).group(self.group_id)


def stream(plan: Plan, purpose: str) -> Entropy:
    """Return entropy that follows from a plan and a purpose."""
    return _Stream(plan, purpose)


class _Stream:
    """Entropy that follows from a plan."""

    def __init__(self, plan: Plan, purpose: str) -> None:
        self._plan, self._purpose, self._drawn = plan, purpose, 0

    def __call__(self, length: int) -> bytes:
        """Return so many bytes, others at each call."""
        drawn = b""
        while len(drawn) < length:
            drawn += self._plan.octets(self._purpose, self._drawn)
            self._drawn += 1
        return drawn[:length]


@dataclass(frozen=True, slots=True)
class _Piece:
    """The nodes and tree hashes below a node of some height, that node included, but for the chain through it."""

    start: int
    nodes: list[bytes]
    hashes: list[bytes]


class _Builder:
    """The nodes and tree hashes of a tree that is being built."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._suite = plan.suite
        self._known = frozenset(x for leaf in plan.kept for x in (node_of(leaf), *_above(leaf, plan)))
        self._nodes = [b""] * (2 * plan.n_leaves - 1)
        self._hashes = [b""] * (2 * plan.n_leaves - 1)

    def build(self, pieces: Iterable[_Piece], height: int) -> bytes:
        """Return the ratchet_tree vector, made of pieces of some height."""
        for piece in pieces:
            places = slice(piece.start, piece.start + len(piece.nodes))
            self._nodes[places], self._hashes[places] = piece.nodes, piece.hashes
        if self._plan.warm:
            top = root(self._plan.n_leaves)
            self._fill(range(height, level(top)), range(len(self._nodes)))
            self._chain(top, b"")
        kinds = (b"\1\1", b"\1\2")
        present = self._nodes[: 2 * self._plan.n_members - 1]
        body = b"".join(kinds[x & 1] + node if node else b"\0" for x, node in enumerate(present))
        return encode_varint(len(body)) + body

    def piece(self, number: int, height: int) -> _Piece:
        """Return a piece of a height, counted from the left."""
        start, stop = number * (2 << height), (number + 1) * (2 << height) - 1
        if self._plan.warm:
            self._fill(range(height), range(start, stop))
        else:
            for x in range(start, min(stop, 2 * self._plan.n_members - 1), 2):
                self._nodes[x] = encode(self._leaf(leaf_of(NodeIndex(x)), None))
        return _Piece(start, self._nodes[start:stop], self._hashes[start:stop])

    def _fill(self, heights: range, places: range) -> None:
        """Complete the chains that begin there, those of low subtrees first: they stand beside those of higher ones."""
        for height in heights:
            for x in range(places.start + (1 << height) - 1, places.stop, 2 << height):
                if not self._is_empty(x, height) and not self._is_chosen(NodeIndex(x), height):
                    self._chain(NodeIndex(x), self._plan.octets("overtaken", x))

    def _is_chosen(self, x: NodeIndex, height: int) -> bool:
        """Whether the commit that set the parent of `x` came from below `x`; a blank parent leaves no other way."""
        is_right = x >> (height + 1) & 1
        above = x + (-1 if is_right else 1) * (1 << height)
        if self._is_thin(above, height + 1):
            return True
        return _chooses_right(self._plan, above) == bool(is_right)

    def _is_empty(self, x: int, height: int) -> bool:
        """Whether nobody stands below a node."""
        return x - (1 << height) + 1 > 2 * self._plan.n_members - 2

    def _is_thin(self, x: int, height: int) -> bool:
        """Whether nobody stands below the right child of a parent."""
        return x + 1 > 2 * self._plan.n_members - 2 and height > 0

    def _chain(self, top: NodeIndex, claimed: bytes) -> None:
        chain, x = [], top
        while not is_leaf(x):
            if self._is_thin(x, level(x)):
                chain.append(x)
                x = left(x)
                continue
            node = ParentNode(self._public_key(x), claimed, ())
            self._nodes[x] = encode(node)
            chain.append(x)
            following, beside = (left(x), right(x))[:: -1 if _chooses_right(self._plan, x) else 1]
            claimed = parent_hash(self._suite, node, self._hash_of(beside))
            x = following
        leaf = leaf_of(x)
        self._nodes[x] = encode(self._leaf(leaf, claimed))
        for each in (x, *reversed(chain)):
            self._hash_of(each)

    def _hash_of(self, x: NodeIndex) -> bytes:
        """Return the tree hash of a node whose subtree is complete."""
        if not self._hashes[x]:
            node = self._nodes[x] or None
            if is_leaf(x):
                hashed = encode_as(TreeHashInput, LeafNodeHashInput(leaf_of(x), node))
            else:
                # ParentNodeHashInput begins with its type and the presence of the node.
                digests = (encode_varint(len(each)) + each for each in map(self._hash_of, (left(x), right(x))))
                hashed = (b"\2\1" + node if node else b"\2\0") + b"".join(digests)
            self._hashes[x] = self._suite.hash(hashed)
        return self._hashes[x]

    def _public_key(self, x: NodeIndex) -> bytes:
        """Return a key; where nobody holds the private half, any octets will do for the Montgomery curves."""
        curve = self._suite.hpke.kem.curve
        if x in self._known or not isinstance(curve, MontgomeryCurve):
            return self._plan.key_pair(x).public
        return _Stream(self._plan, f"key {x}")(curve.public_length - 1) + b"\0"

    def _leaf(self, leaf: LeafIndex, claimed: bytes | None) -> LeafNode:
        keys = self._plan.signature_keys(leaf)
        source = KeyPackageSource(Lifetime(NOW - 3_600, NOW + 86_400)) if claimed is None else CommitSource(claimed)
        unsigned = LeafNode(
            self._public_key(node_of(leaf)), keys.public, credential(leaf, 0), _CAPABILITIES, source, (), b""
        )
        missing = LEAF_BYTES - len(encode(unsigned)) - 65
        padded = replace(unsigned, credential=credential(leaf, max(0, missing)))
        tbs = leaf_node_tbs(padded, LeafPosition(self._plan.group_id, leaf))
        return replace(padded, signature=self._suite.sign_with_label(keys.private, b"LeafNodeTBS", tbs))


def credential(leaf: LeafIndex, padding: int) -> BasicCredential:
    """Return the credential of a member, with so many bytes more."""
    return BasicCredential(leaf.to_bytes(4, "big") + bytes(padding))


def _above(leaf: LeafIndex, plan: Plan) -> tuple[NodeIndex, ...]:
    return direct_path(node_of(leaf), plan.n_leaves)


def _chooses_right(plan: Plan, x: int) -> bool:
    """Whether a parent was set by a commit from its right half; a multiplicative hash decides."""
    return (x * 0x9E3779B97F4A7C15 + plan.seed * 0xD1B54A32D192ED03 >> 31) & 1 == 1


def encoded_tree(plan: Plan, folder: Path | None = None, progress: Progress = nothing) -> bytes:
    """Return the ratchet_tree vector of a plan, from the disk where it was built before."""
    place = cache_folder() if folder is None else folder
    kind = "warm" if plan.warm else "bare"
    path = place / f"{_FORMAT}-suite{plan.suite_id}-{plan.n_members}-{kind}-{plan.seed}.tree"
    if path.exists():
        return path.read_bytes()
    data = _built(plan, progress)
    place.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return data


def _built(plan: Plan, progress: Progress) -> bytes:
    """Build a tree in pieces; those of a large one are spread over processes, as half of the time is Python's own."""
    height = max(0, level(root(plan.n_leaves)) - _LOG_PIECES)
    pieces = range(plan.n_leaves >> height)
    if plan.n_leaves < _LARGE:
        return _Builder(plan).build(_told((_piece(plan, height, number) for number in pieces), progress), height)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as executor:
        found = executor.map(partial(_piece, plan, height), pieces)
        return _Builder(plan).build(_told(found, progress), height)


def _piece(plan: Plan, height: int, number: int) -> _Piece:
    return _Builder(plan).piece(number, height)


def _told(pieces: Iterable[_Piece], progress: Progress) -> Iterator[_Piece]:
    for piece in pieces:
        yield piece
        progress(len(piece.nodes) // 2 + 1)


def cache_folder() -> Path:
    """Return the folder of the user's cache that trees are kept in."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mls-treekem-bench"


class SyntheticGroup:
    """A group whose kept members can be opened as clients. They share one tree, as the values of it are immutable."""

    def __init__(
        self,
        plan: Plan,
        folder: Path | None = None,
        settings: Settings | None = None,
        progress: Progress = nothing,
    ) -> None:
        self.plan = plan
        self.settings = Settings.large() if settings is None else settings
        self.data = encoded_tree(plan, folder, progress)

    @cached_property
    def tree(self) -> RatchetTree:
        """The tree, decoded as a joiner does."""
        return RatchetTree.decode(self.data, self.settings.max_leaves)

    @cached_property
    def state(self) -> GroupState:
        """What all members agree on."""
        plan, suite = self.plan, self.plan.suite
        confirmed = plan.octets("transcript", 0)
        context = GroupContext(
            ProtocolVersion.MLS10, suite.id, plan.group_id, EPOCH, self.tree.tree_hash(suite), confirmed, ()
        )
        secrets = epoch_secrets_of(suite, EpochSecret(plan.octets("epoch", 0)))
        tag = confirmation_tag(suite, secrets.confirmation_key, confirmed)
        return GroupState(suite, context, self.tree, interim_transcript_hash(suite, confirmed, tag), tag)

    def verify(self) -> None:
        """Judge the tree as somebody who joins does. Raises InvalidTree or InvalidLeafNode."""
        group = replace(self.state, tree=RatchetTree.decode(self.data, self.settings.max_leaves))
        verify_joined_tree(group, Environment(self.settings, AcceptAnyone(), NOW, os.urandom))

    def epoch_state(self, leaf: LeafIndex) -> EpochState:
        """Return the epoch as a kept member sees it."""
        if leaf not in self.plan.kept:
            raise ValueError(f"nobody kept the keys of member {leaf}")
        above = (x for x in _above(leaf, self.plan) if not self.tree.is_blank(x))
        keys = {x: self.plan.key_pair(x).private for x in (node_of(leaf), *above)}
        secrets = epoch_secrets_of(self.plan.suite, EpochSecret(self.plan.octets("epoch", 0)))
        return EpochState(self.state, secrets, OwnLeaf(leaf, self.plan.signature_keys(leaf).private, keys))

    def open(self, leaf: LeafIndex, store: Store | None = None) -> Group:
        """Return the group as a kept member opens it: from records that the member would have written to `store`."""
        store = MemoryStore() if store is None else store
        self.write_records(leaf, store)
        return self.plan.open(store, self.settings)

    def write_records(self, leaf: LeafIndex, store: Store) -> None:
        """Write what a kept member would have written until now."""
        state = self.epoch_state(leaf)
        write_client(state, store)
        secret_tree = SecretTree(
            state.suite, self.plan.n_leaves, state.secrets.encryption.copy(), limits_of(self.settings)
        )
        store.apply(Standing(state, secret_tree).founding_batch())


def write_client(state: EpochState, store: Store) -> None:
    """Write what a member's client is, without the group."""
    node = state.group.leaf_node(state.own.index)
    assert node is not None
    identity = Identity(node.credential, state.suite.id)
    store.apply({CLIENT_KEY: pack_identity(identity, SignaturePrivateKey(state.own.signature_key.expose()))})


def main(
    size: Annotated[int, typer.Option(help="Number of members.")] = 65_536,
    suite: Annotated[int, typer.Option(help="Cipher suite.")] = 1,
    tree: Annotated[str, typer.Option(help="warm: every parent filled; bare: all blank.")] = "warm",
    cache: Annotated[Path | None, typer.Option(help="The folder that trees are kept in.")] = None,
) -> None:
    """Build a synthetic group, or load it, and judge its tree as somebody who joins does."""
    start = time.perf_counter()
    with typer.progressbar(length=size, label=f"{size} members") as bar:
        group = SyntheticGroup(Plan(size, suite, tree == "warm"), cache, progress=bar.update)
    built = time.perf_counter()
    print(f"{size} members, {tree}: {len(group.data)} bytes, built or loaded in {built - start:.1f} s")
    group.verify()
    print(f"joined from outside, all checks passed, in {time.perf_counter() - built:.1f} s")
