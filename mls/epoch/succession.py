"""Groups that continue others: the successor that a ReInit announced, and branches. RFC 9420 §11.2, §11.3.

Such a group is tied to the other one by a resumption PSK of its first commit, and by nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mls.epoch.environment import Origin
from mls.errors import Code, InvalidWelcome, MLSError, UnavailableSecret
from mls.messages import GroupContext, PreSharedKeyID, ReInit, ResumptionPSK, ResumptionPSKUsage
from mls.rules import require, require_present

_FIRST_EPOCH: Final = 1


def link_of(psks: Iterable[PreSharedKeyID]) -> ResumptionPSK | None:
    """Return the PSK that says which group a new one continues, or None. Raises InvalidWelcome for two.

    RFC 9420 §12.4.3.1.
    """
    named = (each.psk for each in psks)
    links = [psk for psk in named if isinstance(psk, ResumptionPSK) and psk.usage != ResumptionPSKUsage.APPLICATION]
    message = f"{len(links)} PSKs say which group this one continues"
    require(len(links) <= 1, InvalidWelcome, "R-12.4.3.1-08", message, code=Code.PSK_INVALID)
    return links[0] if links else None


def verify_succession(
    link: ResumptionPSK, origin: Origin | None, context: GroupContext, identities: Sequence[bytes]
) -> None:
    """Check that a group we are invited to continues the one it names; `identities` are those of its leaves.

    Raises InvalidWelcome, or UnavailableSecret where we do not know the other group as of that epoch.
    RFC 9420 §11.2, §11.3, §12.4.3.1.
    """
    message = f"the members of epoch {link.psk_epoch} of the group that this one continues are not known"
    origin = require_present(origin, UnavailableSecret, "R-11.3-07", message, code=Code.PSK_UNKNOWN)
    is_branch = link.usage is ResumptionPSKUsage.BRANCH
    rule = "R-11.3-04" if is_branch else "R-11.2-03"
    is_first = context.epoch == _FIRST_EPOCH
    require(is_first, InvalidWelcome, rule, f"epoch {context.epoch} of a group that begins with epoch 1")
    if is_branch:
        verify_branch(origin, context, identities)
    else:
        verify_successor(origin, context, identities)


def verify_awaited(link: ResumptionPSK | None, group_id: bytes, announced: Callable[[bytes], bool]) -> None:
    """Check that under an id which a ReInit announced to us nothing but the successor comes. Raises InvalidWelcome.

    Anybody who knows the id and one of our key packages can found another group under it. RFC 9420 §11.2, §12.4.2.
    """
    continues = link is not None and link.usage is ResumptionPSKUsage.REINIT
    message = "a ReInit announced a group of this id, and this one does not continue the old group"
    require(continues or not announced(group_id), InvalidWelcome, "R-11.2-04", message)


def verify_branch(
    origin: Origin, context: GroupContext, identities: Sequence[bytes], error: type[MLSError] = InvalidWelcome
) -> None:
    """Check that a group is a subset of another one, under the same parameters. Raises `error`. RFC 9420 §11.3."""
    same = (context.version, context.cipher_suite) == (origin.version, origin.cipher_suite)
    require(same, error, "R-11.3-03", "a branch of another version or cipher suite than its group")
    strangers = set(identities).difference(origin.identities)
    message = f"{len(strangers)} identities in a branch are not in the group that it is of"
    require(not strangers, error, "R-11.3-05", message)


def verify_successor(
    origin: Origin, context: GroupContext, identities: Sequence[bytes], error: type[MLSError] = InvalidWelcome
) -> None:
    """Check that a group is what a ReInit announced, with the same members. Raises `error`. RFC 9420 §11.2.

    An identity that several clients present must return with as many.
    """
    announced = origin.reinit
    message = "the epoch referred to did not begin with a ReInit"
    require(announced is not None, error, "R-11.2-04", message)
    matches = announced is not None and _matches(context, announced)
    require(matches, error, "R-11.2-02", "a successor differs from what the ReInit announced")
    missing, strangers = Counter(origin.identities), Counter(identities)
    missing.subtract(identities)
    strangers.subtract(origin.identities)
    message = f"{(+missing).total()} members of the old group are missing in its successor"
    require(not +missing, error, "R-11.2-07", message)
    message = f"{(+strangers).total()} members of a successor were not in the old group"
    require(not +strangers, error, "R-11.2-07", message)


def _matches(context: GroupContext, announced: ReInit) -> bool:
    return (context.version, context.cipher_suite, context.group_id, context.extensions) == (
        announced.version,
        announced.cipher_suite,
        announced.group_id,
        announced.extensions,
    )
