"""The check that names the rule it enforces, as the layers above the tree import it."""

from treekem.rules import require

__all__ = ["require"]
