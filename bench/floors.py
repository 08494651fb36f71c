"""Floors: the least that an operation can cost, as a formula of primitives that the RFC makes it do.

A floor is run beside the operation, each primitive as often as the formula says. With d parents on a path, and
m members below the other children of a path with nothing but blanks (on a warm tree, one node for each):

- every commit with a path: d path secrets and d node secrets (RFC 9420 §7.4), d node key pairs and one of the leaf
  (§7.5), the external key pair of the epoch that begins (§8), which this engine derives when somebody asks for it;
  2 signatures, of the leaf and of the message (§7.2, §6.1); a seal for each node of a resolution (§7.6), under an
  info that is digested once by 2 KDF calls (RFC 9180 §5.1); d parent hashes (§7.9), d + 1 tree hashes (§7.8), and the
  2 transcript hashes (§8.2);
- the key schedule: 2 calls to the joiner secret, 2 to the epoch secret, 9 secrets of Table 4 (§8), and the MAC that
  confirms (§6.1);
- a first message of a sender: 2 d + 2 calls down the secret tree, as what is consumed is deleted and its sibling kept
  (§9, §9.2); every message: key, nonce and next secret of the ratchet (§9.1), key and nonce of the sender data
  (§6.3.2), and 2 AEAD calls;
- processing: 2 verifications, 1 open under an info digested once, and k path secrets, node secrets and key pairs, k
  being the parents that the receiver shares with the committer (§7.5, §12.4.2), and that external key pair;
- adding: both signatures of the key package (§7.3, §10.1), its reference (§5.2), the signature of the GroupInfo
  (§12.4.3), a seal for the new member under its info, 4 KDF calls to the key and nonce of the Welcome and an AEAD
  call (§12.4.3.1).

What neither depends on keys nor hashes is not counted: encoding, checks, copying, storing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.primitives import Primitive

_SCHEDULE: Final = 2 + 2 + 9 + 1
_INFO: Final = 2
_MESSAGE: Final = 3 + 2
_TRANSCRIPT: Final = 2


@dataclass(frozen=True, slots=True)
class Floor:
    """How often each primitive is due."""

    counts: Mapping[str, int]

    @property
    def formula(self) -> str:
        """The floor in words, such as "2 sign + 22 keypair + 20 seal"."""
        return " + ".join(f"{count} {name}" for name, count in self.counts.items() if count)

    def run(self, primitives: Mapping[str, Primitive]) -> None:
        """Run all primitives as often as they are due."""
        for name, count in self.counts.items():
            primitives[name](count)

    def times(self, factor: int) -> Floor:
        """Return the floor of so many such operations."""
        return Floor({name: count * factor for name, count in self.counts.items()})

    def plus(self, **more: int) -> Floor:
        """Return the floor with more of some primitives."""
        return Floor({**self.counts, **{name: self.counts.get(name, 0) + count for name, count in more.items()}})


def commit_floor(depth: int, seals: int) -> Floor:
    """Return the floor of a commit with a path and no proposals: the first handshake of its sender in an epoch."""
    return Floor(
        {
            "sign": 2,
            "keypair": depth + 2,
            "seal": seals,
            "hkdf": 2 * depth + _INFO + _SCHEDULE + _descent(depth) + _MESSAGE,
            "hash": depth + depth + 1 + _TRANSCRIPT,
            "aead": 2,
        }
    )


def processing_floor(depth: int, shared: int) -> Floor:
    """Return the floor of processing such a commit for a member that shares so many parents with its sender."""
    return Floor(
        {
            "verify": 2,
            "open": 1,
            "keypair": shared + 1,
            "hkdf": 2 * shared + _INFO + _SCHEDULE + _descent(depth) + _MESSAGE,
            "hash": depth + depth + 1 + _TRANSCRIPT,
            "aead": 2,
        }
    )


def adding_floor(depth: int, seals: int, added: int, hashed: int) -> Floor:
    """Return the floor of a commit that adds members, with a Welcome; `hashed` nodes change off the sender's path."""
    both = {"verify": 2 * added} if added == 1 else {"verify on all cores": 2 * added}
    return commit_floor(depth, seals + added).plus(sign=1, hkdf=_INFO + 4, hash=added + hashed, aead=1, **both)


def removing_floor(depth: int, seals: int, hashed: int) -> Floor:
    """Return the floor of a commit that removes a member; `hashed` nodes change off the sender's path."""
    return commit_floor(depth, seals).plus(hash=hashed)


def joining_floor(members: int) -> Floor:
    """Return the floor of a join: the signature of every leaf (RFC 9420 §12.4.3.1), and nothing else."""
    return Floor({"verify on all cores": members})


def sending_floor(depth: int, *, first: bool) -> Floor:
    """Return the floor of encrypting a short message."""
    return Floor({"sign": 1, "hkdf": _MESSAGE + (_descent(depth) if first else 0), "aead": 2})


def reading_floor(depth: int, *, first: bool) -> Floor:
    """Return the floor of decrypting a short message."""
    return Floor({"verify": 1, "hkdf": _MESSAGE + (_descent(depth) if first else 0), "aead": 2})


def _descent(depth: int) -> int:
    return 2 * depth + 2
