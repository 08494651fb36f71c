"""The seam to durability: granular records, and one atomic batch for each change of state."""

from mls.store.seam import Batch, MemoryStore, Store

__all__ = ["Batch", "MemoryStore", "Store"]
