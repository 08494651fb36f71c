"""The checks that name the rule they enforce, and what every rule says.

`requirements.md` beside this module lists them: one row per requirement of RFC 9420, and one per check beyond it. It is
read on first use, so that an import does not pay for it. A row says how its requirement is held:

- `checked`: engine code names it in a call of `require`, or of a function that stands on that;
- `generated`: the codec's, which `treekem.wire` writes into the decoders and encoders that it compiles;
- `meta`: by nothing of its own; it follows from those named;
- `shown`: by what the engine derives, encodes, keeps, deletes or offers, rather than by what it refuses;
- `outside`: by the application or the documentation; the row says where it is offered or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, TypeAlias, cast, get_args

from treekem.rules import refuse, require, require_here, require_kind, require_present

__all__ = [
    "Level",
    "Owner",
    "Requirement",
    "Sort",
    "refuse",
    "require",
    "require_here",
    "require_kind",
    "require_present",
    "requirements",
]

Sort: TypeAlias = Literal["checked", "generated", "meta", "shown", "outside"]
Level: TypeAlias = Literal["MUST", "SHOULD", "MAY", "implied"]
Owner: TypeAlias = Literal["engine", "application", "documentation"]

_LISTING = "requirements.md"
_COLUMNS = 5
_ALLOWED = {"level": get_args(Level), "sort": get_args(Sort), "owner": get_args(Owner)}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: `line` is what it says, `sort` how it is held, `owner` by whom.

    `section` is the RFC's, and empty for what goes beyond it. A meta requirement follows from those that `sources`
    names; for one outside of the engine `where` names a document or a public object.
    """

    id: str
    section: str
    level: Level
    sort: Sort
    owner: Owner
    line: str
    sources: tuple[str, ...] = ()
    where: str = ""


@cache
def requirements() -> Mapping[str, Requirement]:
    """Return every requirement by its ID, in the order of the RFC; those beyond it come last.

    Raises ValueError for a list that is not in order.
    """
    from importlib.resources import files  # noqa: PLC0415  (for those who ask, not for every import)

    text = files("mls").joinpath(_LISTING).read_text(encoding="utf-8")
    listed: dict[str, Requirement] = {}
    for line in text.splitlines():
        if line.startswith(("| R-", "| N-", "| S-")):
            requirement = _parse(line)
            if requirement.id in listed:
                raise ValueError(f"{requirement.id} is listed twice")
            listed[requirement.id] = requirement
    return MappingProxyType(listed)


def _parse(line: str) -> Requirement:
    """Return what a row of the list says."""
    columns = [column.strip() for column in line.strip().removeprefix("|").removesuffix("|").split(" | ")]
    if len(columns) != _COLUMNS:
        raise ValueError(f"a row without its {_COLUMNS} columns: {line}")
    name, level, held, owner, text = columns
    sort, *named = held.split()
    for column, value in (("level", level), ("sort", sort), ("owner", owner)):
        if value not in _ALLOWED[column]:
            raise ValueError(f"{name}: {value} is no {column}")

    return Requirement(
        id=name,
        section=name.removeprefix("R-").rpartition("-")[0] if name.startswith("R-") else "",
        level=cast("Level", level),
        sort=cast("Sort", sort),
        owner=cast("Owner", owner),
        line=text,
        sources=tuple(named) if sort == "meta" else (),
        where=" ".join(named) if sort == "outside" else "",
    )
