"""Loops over many nodes at once, compiled by numba when a large tree first asks for them.

A kernel sees arrays and integers only, writes into arrays that its caller allocated, says by a status code how it went,
runs serially and without the GIL. It hashes public tree data only: what it computes takes no care of secrets. What it
computes is worded plainly elsewhere: hashes in `treekem.reference`, the ratchet_tree vector in `treekem.nodes`.

Importing this package loads nothing; its modules load numba.
"""
