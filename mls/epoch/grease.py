"""Values that mean nothing, sent to keep others used to what they do not know. RFC 9420 §13.5.

They are put in when something is about to be signed, and nowhere looked for in what others send.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from mls.epoch.environment import Environment
from mls.messages import GREASE, Capabilities, Extension
from treekem.suite import Entropy

_MOST_DATA: Final = 16
_LISTS: Final = ("cipher_suites", "extensions", "proposals", "credentials")


def grease_extensions(env: Environment, beside: Iterable[Extension] = ()) -> tuple[Extension, ...]:
    """Return an extension of a random meaningless type that is not `beside` it; none where settings say so, or no more.

    RFC 9420 §13.5.
    """
    taken = frozenset(each.extension_type for each in beside)
    if not env.settings.grease or len(taken) >= env.settings.max_extensions:
        return ()
    kind = _drawn(env.entropy, taken)
    return tuple(Extension(each, env.entropy(1 + _below(_MOST_DATA, env.entropy))) for each in kind)


def greased(capabilities: Capabilities, extensions: Iterable[Extension], env: Environment) -> Capabilities:
    """Return capabilities with a meaningless value in each list, and all that are used in `extensions`.

    RFC 9420 §7.2, §13.5.
    """
    if not env.settings.grease:
        return capabilities
    used = sorted(frozenset(each.extension_type for each in extensions).intersection(GREASE))
    plain, entropy = ungreased(capabilities), env.entropy
    added = {name: (used if name == "extensions" else ()) or _drawn(entropy, ()) for name in _LISTS}
    return replace(plain, **{name: _mixed(getattr(plain, name), values, entropy) for name, values in added.items()})


def ungreased(capabilities: Capabilities) -> Capabilities:
    """Return what is really supported of one's own capabilities, to be compared with others'. RFC 9420 §13.5."""
    return replace(capabilities, **{name: _plain(getattr(capabilities, name)) for name in _LISTS})


def without_grease(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """Return one's own extensions that mean something."""
    return tuple(each for each in extensions if each.extension_type not in GREASE)


def _plain(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(value for value in values if value not in GREASE)


def _mixed(values: tuple[int, ...], grease: Iterable[int], entropy: Entropy) -> tuple[int, ...]:
    mixed = list(values)
    for value in grease:
        mixed.insert(_below(len(mixed) + 1, entropy), value)
    return tuple(mixed)


def _drawn(entropy: Entropy, taken: Collection[int]) -> tuple[int, ...]:
    left = [value for value in GREASE if value not in taken]
    return (left[_below(len(left), entropy)],) if left else ()


def _below(limit: int, entropy: Entropy) -> int:
    return entropy(1)[0] % limit
