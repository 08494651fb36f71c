"""The check that names the rule it enforces.

A check of the engine goes through `require`, so an error says which clause refused the message, and a test can ask for
exactly that clause. IDs are `R-…` (RFC 9420), `N-…` (checks beyond the RFC) and `S-…` (settings).
"""

from __future__ import annotations

from treekem.errors import Code, MLSError


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
