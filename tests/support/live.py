"""What live objects hold: every byte string that a chain of references leads to.

`reachable` follows what objects are made of, `everywhere` also what functions close over and what methods belong to.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519

from treekem.secrets import Secret

_FOREIGN = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType)
_RAW_KEYS = (x25519.X25519PrivateKey, x448.X448PrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


def reachable(*roots: object) -> list[object]:
    """Return everything that the roots lead to but classes, modules and functions; weak references lead nowhere."""
    return _reached(roots, lambda thing: [] if isinstance(thing, _FOREIGN) else gc.get_referents(thing), {})


def everywhere(*roots: object, but: Iterable[object] = ()) -> list[object]:
    """Return what the roots lead to, through closures, defaults, methods and generators too, but not through `but`."""
    return _reached(roots, _referents, {id(thing): None for thing in but})


def _reached(
    roots: Iterable[object], referents: Callable[[object], Iterable[object]], seen: dict[int, object]
) -> list[object]:
    pending = list(roots)
    while pending:
        thing = pending.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        pending.extend(each for each in referents(thing) if id(each) not in seen)
    return [thing for thing in seen.values() if not isinstance(thing, _FOREIGN)]


def _referents(thing: object) -> Iterable[object]:
    """Return what a thing leads to; a function leads to all but its module."""
    match thing:
        case types.FunctionType():
            return [*(thing.__closure__ or ()), thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
        case types.MethodType():
            return [thing.__self__, thing.__func__]
        case types.BuiltinFunctionType():
            return [thing.__self__]
        case np.ndarray() if thing.dtype.hasobject:
            return list(thing.flat)
        case type() | types.ModuleType() | types.CodeType() | types.FrameType():
            return []
        case _:
            return gc.get_referents(thing)


def engine() -> list[object]:
    """Return what the engine's modules and classes hold, their caches among it, as further roots."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in {"mls", "treekem"}]
    values = [value for module in modules for value in vars(module).values()]
    classes = {value for value in values if isinstance(value, type) and value.__module__.startswith(("mls", "treekem"))}
    return [*values, *(value for each in classes for value in vars(each).values())]


def contents(*roots: object, but: Iterable[object] = ()) -> set[bytes]:
    """Return every byte string in what the roots lead to everywhere: buffers, arrays and exported private keys too."""
    found = set()
    for thing in everywhere(*roots, but=but):
        kind: type = type(thing)
        read = _reader_of(kind)
        if read is not None:
            found.add(read(thing))
    return found


@functools.cache
def _reader_of(kind: type) -> Callable[[Any], bytes] | None:
    """Return how the bytes of an object of a type are read; asked once a type, as abstract classes answer slowly."""
    if issubclass(kind, bytes | bytearray):
        return bytes
    if issubclass(kind, memoryview | array | np.ndarray):
        return lambda thing: thing.tobytes()
    if issubclass(kind, _RAW_KEYS):
        return lambda thing: thing.private_bytes_raw()
    if issubclass(kind, ec.EllipticCurvePrivateKey):
        return lambda key: key.private_numbers().private_value.to_bytes((key.curve.key_size + 7) // 8, "big")
    return None


def reachable_bytes(*roots: object) -> set[bytes]:
    """Return the contents of every `bytes` and `bytearray` that the roots lead to."""
    return {bytes(thing) for thing in reachable(*roots) if isinstance(thing, bytes | bytearray)}


def secrets_made_in(work: Callable[[], object]) -> tuple[object, list[Secret]]:
    """Return the result of `work` and every secret made meanwhile, those that nothing refers to any more among them."""
    result, made = _made_in(work)
    return result, [secret for secret, _ in made]


def values_made_in(work: Callable[[], object]) -> tuple[object, list[tuple[type[Secret], bytes]]]:
    """Return the result of `work`, and of every secret made meanwhile the type and the value, wiped or not."""
    result, made = _made_in(work)
    return result, [(type(secret), value) for secret, value in made]


def _made_in(work: Callable[[], object]) -> tuple[object, list[tuple[Secret, bytes]]]:
    made: list[tuple[Secret, bytes]] = []

    def observe(frame: types.FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is Secret.__init__.__code__:
            made.append((frame.f_locals["self"], bytes(frame.f_locals["material"])))

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
