"""What a piece of work costs, counted rather than timed: structs decoded, cryptography called, memory at its peak.

A profile function watches the calls go by, so that the engine needs no hook and nothing of it is replaced. Whatever is
encrypted or signed passes `mls.crypto.primitives`, which alone imports the library, and is seen there; hashes are seen
where the standard library computes them.
"""

from __future__ import annotations

import _hashlib
import sys
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mls import header
from mls.crypto import primitives
from mls.crypto.kdf import KDF
from mls.errors import MLSError
from treekem.wire import codec
from treekem.wire.shapes import StructShape, UnionShape, shape_of

MIB = 1 << 20

_WATCHED: dict[types.CodeType, str] = {
    primitives._succeeds.__code__: "verify",
    primitives.EdDSA.sign.__code__: "sign",
    primitives.NIST.sign.__code__: "sign",
    primitives.EdDSA.verifier.__code__: "load",
    primitives.NIST._point_or_none.__code__: "load",
    primitives.NIST._private_key.__code__: "load",
    primitives.load_x25519.__code__: "load",
    primitives.load_x448.__code__: "load",
    primitives.AEAD.seal.__code__: "aead",
    primitives.AEAD.open.__code__: "aead",
    KDF.mac.__code__: "mac",
    KDF.hash.__code__: "hash",
}
_HEADER = (header._Start, header._Place)
"""What tells where a message belongs, which is all that is read of one that does not belong here."""

_DECODERS = (codec.decode.__code__, codec.decode_prefix.__code__)
_HASHES = frozenset(each for each in vars(_hashlib).values() if isinstance(each, types.BuiltinFunctionType))


@dataclass
class Cost:
    """What some work cost, and the error that it ended in, if it did."""

    calls: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    digests: int = 0
    peak: int = 0
    error: MLSError | None = None

    @property
    def vouching(self) -> int:
        """How many MACs were computed and signatures checked."""
        return self.calls["mac"] + self.calls["verify"]

    @property
    def is_nothing(self) -> bool:
        """Whether no struct was decoded and no cryptography called."""
        return not (self.decoded or self.digests or self.calls)


def cost_of(work: Callable[[], object]) -> Cost:
    """Count what `work` does until it returns or raises an MLSError; `peak` is in bytes above what was held before."""
    cost = Cost()

    def observe(frame: types.FrameType, event: str, argument: Any) -> None:  # noqa: ANN401  (whatever the interpreter tells)
        if event == "c_call":
            cost.digests += argument in _HASHES
        elif event == "call" and frame.f_code in _WATCHED:
            cost.calls[_WATCHED[frame.f_code]] += 1
        elif event == "call" and frame.f_code in _DECODERS:
            kind = frame.f_locals["kind"]
            cost.decoded += kind not in _HEADER and isinstance(shape_of(kind), StructShape | UnionShape)

    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    sys.setprofile(observe)
    try:
        work()
    except MLSError as error:
        cost.error = error
    finally:
        sys.setprofile(None)
        cost.peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
    return cost
