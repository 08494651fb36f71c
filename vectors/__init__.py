"""Test vectors of MLS: `python -m vectors verify` checks files of them, `python -m vectors generate` writes some.

There are sixteen kinds, in the formats of the MLS working group's `test-vectors.md`. Each module holds both halves of
its kinds, so that a reader sees what is written beside what is checked.
"""
