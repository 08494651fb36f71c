"""What live objects hold: every byte string that a chain of references leads to."""

from __future__ import annotations

import gc
import types

_FOREIGN = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType)


def reachable(*roots: object) -> list[object]:
    """Return everything that the roots lead to but classes, modules and functions; weak references lead nowhere."""
    seen: dict[int, object] = {}
    pending = list(roots)
    while pending:
        thing = pending.pop()
        if id(thing) in seen or isinstance(thing, _FOREIGN):
            continue
        seen[id(thing)] = thing
        pending.extend(gc.get_referents(thing))
    return list(seen.values())


def reachable_bytes(*roots: object) -> set[bytes]:
    """Return the contents of every `bytes` and `bytearray` that the roots lead to."""
    return {bytes(thing) for thing in reachable(*roots) if isinstance(thing, bytes | bytearray)}
