"""Canonical CBOR, as records are written: one way to write every value, and no other way is read.

So a record that was damaged, or that ends elsewhere than it did, is not taken for one.
"""

from __future__ import annotations

from typing import Any

import cbor2

_REFUSALS = (cbor2.CBORError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What the library raises, in all versions that serve here, for what is no CBOR, or holds values that are not ours."""


def write_canonical(value: Any) -> bytes:  # noqa: ANN401  (what CBOR holds)
    """Return the one encoding of a value."""
    return cbor2.dumps(value, canonical=True)


def read_canonical(data: bytes) -> Any:  # noqa: ANN401  (likewise)
    """Return the value that `data` is the one encoding of. Raises ValueError."""
    try:
        value = cbor2.loads(data)
        is_canonical = write_canonical(value) == data
    except _REFUSALS as error:
        raise ValueError("this is no CBOR that a record could be") from error
    if not is_canonical:
        raise ValueError("this is CBOR, but not as it would be written")
    return value
