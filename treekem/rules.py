"""The check that names the rule it enforces.

Every check of a protocol rule goes through `require`, so an error says which clause refused the message, a test can ask
for exactly that clause, and a run that lets one ID pass at a time shows whether the tests would notice. The other
functions here stand on it: for values that must be there or be of a kind, for messages meant for another state, and
for failures of a primitive that take the name of a clause. IDs are `R-…` (RFC 9420), `N-…` (checks beyond the RFC)
and `S-…` (settings).

The codec that `treekem.wire` generates raises by itself, for speed; it is compiled without a check to let that pass.
"""

from __future__ import annotations

from typing import TypeVar, cast

from treekem.errors import Code, MLSError, WrongEpoch, WrongGroup

T = TypeVar("T")


def require(
    condition: bool,
    error: type[MLSError],
    rule: str,
    message: str,
    *,
    code: Code | None = None,
    leaf: int | None = None,
    index: int | None = None,
) -> None:
    """Raise `error`, carrying `rule`, unless `condition` holds."""
    if not condition:
        refusal = error(message, code=code, rule=rule)
        refusal.leaf = leaf
        refusal.index = index
        raise refusal


def require_present(
    value: T | None,
    error: type[MLSError],
    rule: str,
    message: str,
    *,
    code: Code | None = None,
    leaf: int | None = None,
    index: int | None = None,
) -> T:
    """Return a value that must be there. Raises `error`, carrying `rule`, for None."""
    require(value is not None, error, rule, message, code=code, leaf=leaf, index=index)
    return cast("T", value)


def require_kind(
    value: object,
    kind: type[T],
    error: type[MLSError],
    rule: str,
    message: str,
    *,
    code: Code | None = None,
) -> T:
    """Return a value that must be a `kind`. Raises `error`, carrying `rule`, for any other."""
    require(isinstance(value, kind), error, rule, message, code=code)
    return cast("T", value)


def require_here(
    condition: bool,
    error: type[WrongGroup | WrongEpoch],
    rule: str,
    message: str,
    *,
    current: bytes | int | None,
    received: bytes | int,
    code: Code | None = None,
) -> None:
    """Raise `error`, carrying `rule` and both states, unless `condition` holds: a message is for another state."""
    try:
        require(condition, error, rule, message, code=code)
    except (WrongGroup, WrongEpoch) as refusal:
        refusal.current = current
        refusal.received = received
        raise


def refuse(
    error: type[MLSError], rule: str, message: str, *, code: Code | None = None, index: int | None = None
) -> None:
    """Raise `error`, carrying `rule`: for a branch that is only reached when the rule is broken.

    It returns where the rule is let pass, so the caller goes on as though the rule held, or fails in its own way.
    """
    require(False, error, rule, message, code=code, index=index)  # noqa: FBT003  (that the condition fails is known)
