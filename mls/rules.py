"""The checks that name the rule they enforce, as the layers above the tree import them."""

from treekem.rules import refuse, require, require_here, require_kind, require_present

__all__ = ["refuse", "require", "require_here", "require_kind", "require_present"]
