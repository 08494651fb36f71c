"""How records are written: canonical CBOR, with a version in front.

Wire structs go in as their encoding, secrets as their bytes; a record is only as confidential as the store that keeps
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from mls.errors import Code, MLSError, StorageError
from mls.schedule.canonical import read_canonical, write_canonical

_VERSION: Final = 1
_LARGEST_INTEGER: Final = 2**64 - 1
_KINDS: Final[dict[CodeType, tuple[Any, ...]]] = {}
T = TypeVar("T")


def pack(*fields: Any) -> bytes:  # noqa: ANN401  (what CBOR holds)
    """Return a record of the present version."""
    return write_canonical([_VERSION, *fields])


def unpack(key: str, record: bytes, build: Callable[..., T]) -> T:
    """Return what `build` makes of a record's fields, whose types are its annotations.

    Raises StorageError, naming the key.
    """
    try:
        version, *fields = read_canonical(record)
    except (ValueError, TypeError) as error:
        raise StorageError(f"record {key} is not a record", code=Code.CORRUPT) from error
    if type(version) is not int:
        raise StorageError(f"record {key} has no version", code=Code.CORRUPT)
    if version != _VERSION:
        raise StorageError(f"record {key} is of version {version}", code=Code.SCHEMA_TOO_NEW)
    try:
        return built(build, fields)
    except StorageError:
        raise
    except (MLSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StorageError(f"record {key} does not make sense", code=Code.CORRUPT) from error


def built(build: Callable[..., T], fields: Sequence[object]) -> T:
    """Call `build` with fields of the types that its parameters are annotated with. Raises TypeError for others.

    CBOR names its types, so that a damaged record can hold any of them anywhere; what is not compared here would be
    noticed much later, far from the store.
    """
    for number, (value, kind) in enumerate(zip(fields, _kinds_of(build), strict=False)):
        if not _fits(value, kind):
            raise TypeError(f"field {number} is a {type(value).__name__}")
    return build(*fields)


def _kinds_of(build: Callable[..., object]) -> tuple[Any, ...]:
    """Return the types of a function's parameters; they are worked out once for all closures of the same code."""
    code = cast("FunctionType", build).__code__
    if code not in _KINDS:
        _KINDS[code] = tuple(kind for name, kind in get_type_hints(build).items() if name != "return")
    return _KINDS[code]


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401  (an annotation)
    if kind is Any:
        return True
    if kind is int:
        return type(value) is int and 0 <= value <= _LARGEST_INTEGER
    arguments = get_args(kind)
    match get_origin(kind):
        case None:
            return type(value) is kind
        case origin if origin is list:
            return isinstance(value, list) and all(_fits(each, arguments[0]) for each in value)
        case origin if origin is dict:
            key, held = arguments
            return isinstance(value, dict) and all(_fits(k, key) and _fits(v, held) for k, v in value.items())
        case _:
            return any(_fits(value, each) for each in arguments)
