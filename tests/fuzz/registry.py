"""All targets by name; each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.fuzz.decoders import decoder_names, decoder_target
from tests.fuzz.groups import (
    enter_target,
    insider_target,
    join_target,
    receive_target,
    registry_target,
    welcome_insider_target,
)
from tests.fuzz.observers import follow_target, observe_target, observed_insider_target
from tests.fuzz.stores import store_target
from tests.fuzz.target import Target
from tests.fuzz.trees import tree_target


def targets() -> Mapping[str, Callable[[], Target]]:
    """Return what builds each target."""
    return {
        **{name: partial(decoder_target, name) for name in decoder_names()},
        "receive": receive_target,
        "receive-insider": insider_target,
        "receive-registry": registry_target,
        "join": join_target,
        "join-insider": welcome_insider_target,
        "enter-insider": enter_target,
        "observe": observe_target,
        "observe-insider": observed_insider_target,
        "follow-insider": follow_target,
        "store": store_target,
        "tree": tree_target,
    }
