"""What live objects hold: every byte string that a chain of references leads to."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable

from treekem.secrets import Secret

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


def secrets_made_in(work: Callable[[], object]) -> tuple[object, list[Secret]]:
    """Return the result of `work` and every secret made meanwhile, those that nothing refers to any more among them."""
    made: list[Secret] = []

    def observe(frame: types.FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is Secret.__init__.__code__:
            made.append(frame.f_locals["self"])

    sys.setprofile(observe)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return result, made


def stray_secrets(work: Callable[[], object], *roots: object) -> list[Secret]:
    """Return the secrets that `work` made and left unwiped though neither its result nor the roots lead to them."""
    result, made = secrets_made_in(work)
    held = {id(thing) for thing in reachable(result, *roots)}
    return [secret for secret in made if id(secret) not in held and not secret.is_wiped]
