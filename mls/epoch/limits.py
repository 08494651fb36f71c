"""Limits that settings set, for what others send and for what we are about to send ourselves.

Others break a limit by a bad message; if our own caller would, it is that caller's mistake, and a UsageError.
"""

from __future__ import annotations

from collections.abc import Sized

from mls.errors import Code, InvalidCommit, InvalidTree, MLSError, Refused, UsageError
from mls.rules import require
from mls.settings import Settings
from treekem.tree import RatchetTree


def require_within(condition: bool, error: type[MLSError], rule: str, message: str, *, own: bool) -> None:
    """Raise `error`, or UsageError for what is our `own`, unless a limit is kept."""
    require(condition, UsageError if own else error, rule, message, code=Code.LIMIT_EXCEEDED)


def verify_width(tree: RatchetTree, settings: Settings, *, own: bool = False) -> None:
    """Check that a tree is not too wide for us. Raises InvalidTree or UsageError."""
    message = f"a tree of {tree.n_leaves} leaves, more than max_leaves"
    require_within(tree.n_leaves <= settings.max_leaves, InvalidTree, "S-max_leaves", message, own=own)


def verify_extension_count(
    extensions: Sized, place: str, error: type[MLSError], settings: Settings, *, own: bool = False
) -> None:
    """Check that a list of extensions is not too long for us. Raises `error` or UsageError."""
    message = f"{place}: {len(extensions)} extensions, more than max_extensions"
    require_within(len(extensions) <= settings.max_extensions, error, "S-max_extensions", message, own=own)


def verify_commit_size(proposals: Sized, settings: Settings, *, own: bool = False) -> None:
    """Check that a commit does not cover more than we are ready to judge. Raises InvalidCommit or UsageError."""
    message = f"a commit of {len(proposals)} proposals, more than max_commit_proposals"
    fits = len(proposals) <= settings.max_commit_proposals
    require_within(fits, InvalidCommit, "S-max_commit_proposals", message, own=own)


def verify_suite_allowed(suite: int, settings: Settings, *, own: bool = False) -> None:
    """Check that a cipher suite is one that we take part in. Raises Refused or UsageError."""
    message = f"cipher suite {suite} is not among the cipher_suites of the settings"
    error = UsageError if own else Refused
    require(suite in settings.cipher_suites, error, "S-cipher_suites", message)
