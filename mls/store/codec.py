"""How records are written: canonical CBOR, with a version in front.

Wire structs go in as their encoding, secrets as their bytes; a record is only as confidential as the store that keeps
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import cbor2

from mls.errors import Code, MLSError, StorageError

_VERSION: Final = 1
T = TypeVar("T")


def pack(*fields: Any) -> bytes:  # noqa: ANN401  (what CBOR holds)
    """Return a record of the present version."""
    return cbor2.dumps([_VERSION, *fields], canonical=True)


def unpack(key: str, record: bytes, build: Callable[..., T]) -> T:
    """Return what `build` makes of a record's fields. Raises StorageError, naming the key."""
    try:
        version, *fields = cbor2.loads(record)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise StorageError(f"record {key} is not a record", code=Code.CORRUPT) from error
    if version != _VERSION:
        raise StorageError(f"record {key} is of version {version}", code=Code.SCHEMA_TOO_NEW)
    try:
        return build(*fields)
    except StorageError:
        raise
    except (MLSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StorageError(f"record {key} does not make sense", code=Code.CORRUPT) from error
