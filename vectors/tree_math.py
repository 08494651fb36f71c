"""Kinds tree-math and deserialization: arithmetic that no cipher suite takes part in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from treekem.errors import UsageError
from treekem.index import NodeIndex, left, node_width, parent, right, root, sibling
from treekem.suite import Entropy
from treekem.wire import decode_varint, encode_varint
from vectors.case import Case, Kind, Mismatch, Recipe, array, expect, number, octets


def verify_tree_math(case: Case, entropy: Entropy) -> None:
    """Compare every node's relatives."""
    del entropy
    n_leaves = number(case, "n_leaves")
    if n_leaves.bit_count() != 1:
        raise Mismatch(f"n_leaves: {n_leaves} is no power of two")
    expect(node_width(n_leaves), number(case, "n_nodes"), "n_nodes")
    expect(root(n_leaves), number(case, "root"), "root")
    # Lengths first, so that a number that a file merely claims does not make us count that far.
    for name in ("left", "right", "parent", "sibling"):
        expect(node_width(n_leaves), len(array(case, name)), f"the length of {name}")
    for name, computed in _relatives(n_leaves).items():
        for x, (ours, theirs) in enumerate(zip(computed, array(case, name), strict=True)):
            expect(ours, theirs, f"{name}[{x}]")


def generate_tree_math(recipe: Recipe) -> Iterator[Case]:
    """Yield trees of every full size up to 512 leaves, or 32."""
    for height in range(6 if recipe.small else 10):
        n_leaves = 1 << height
        yield {
            "n_leaves": n_leaves,
            "n_nodes": node_width(n_leaves),
            "root": root(n_leaves),
            **_relatives(n_leaves),
        }


def _relatives(n_leaves: int) -> dict[str, list[int | None]]:
    nodes = [NodeIndex(x) for x in range(node_width(n_leaves))]
    return {
        "left": [_or_none(left, x) for x in nodes],
        "right": [_or_none(right, x) for x in nodes],
        "parent": [_or_none(parent, x, n_leaves) for x in nodes],
        "sibling": [_or_none(sibling, x, n_leaves) for x in nodes],
    }


def _or_none(relative: Callable[..., NodeIndex], *arguments: int) -> int | None:
    try:
        return relative(*arguments)
    except UsageError:
        return None


def verify_deserialization(case: Case, entropy: Entropy) -> None:
    """Decode a length header, which must be all of the input and the shortest there is."""
    del entropy
    header, length = octets(case, "vlbytes_header"), number(case, "length")
    decoded, end = decode_varint(header, 0)
    expect(decoded, length, "length")
    expect(end, len(header), "the header's own length")
    expect(encode_varint(length), header, "vlbytes_header, encoded again")


def generate_deserialization(recipe: Recipe) -> Iterator[Case]:
    """Yield the smallest and largest length of each size of header, and some between them."""
    for bits in (6, 14, 30):
        largest = (1 << bits) - 1
        smallest = {6: 0, 14: 1 << 6, 30: 1 << 14}[bits]
        between = sorted(smallest + int.from_bytes(recipe.entropy(8), "big") % (largest - smallest) for _ in range(3))
        for length in (smallest, *between, largest):
            yield {"vlbytes_header": encode_varint(length).hex(), "length": length}


KINDS = (
    Kind(
        "tree-math",
        frozenset({"n_leaves", "n_nodes", "root", "left", "right", "parent", "sibling"}),
        verify_tree_math,
        generate_tree_math,
        suites=False,
    ),
    Kind(
        "deserialization",
        frozenset({"vlbytes_header", "length"}),
        verify_deserialization,
        generate_deserialization,
        suites=False,
    ),
)
