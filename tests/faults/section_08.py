"""Faults in the key schedule. RFC 9420 §8."""

from __future__ import annotations

from mls.schedule import key_schedule
from tests.support.planting import Edit, Fault

FAULTS = [
    Fault(
        "R-8-05",
        "the welcome secret has another label",
        Edit(key_schedule.derive_welcome_secret, 'b"welcome"', 'b"joiner"'),
    ),
]
