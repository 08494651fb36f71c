"""How kernels are compiled, and when compiled code is out of date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from numba import njit

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

SOURCES: Final = tuple(
    (path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(Path(__file__).parent.glob("*.py"))
)
"""The modules of this package, as they stand on disk: name, time of change in nanoseconds, bytes."""


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function on its first call: serial, without the GIL, kept on disk.

    numba keeps code beside the module, or in the user's folder for caches, or where NUMBA_CACHE_DIR says. Where it can
    write nowhere, every process compiles for itself.
    """
    try:
        compiled = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return cast("_Kernel", njit(nogil=True)(function))
    return cast("_Kernel", compiled if _is_bound_to_sources(compiled) else njit(nogil=True)(function))


def _is_bound_to_sources(compiled: Any) -> bool:  # noqa: ANN401  (numba is untyped)
    """Let code on disk lapse when any module of the package changes; say whether this numba allows that.

    By itself numba looks at the module of a function alone, and would go on using code of another module that was
    compiled into it, such as the SHA-2 of an older release.
    """
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is None or not hasattr(file, "_source_stamp"):
        return False
    file._source_stamp = (file._source_stamp, SOURCES)  # noqa: SLF001  (there is no public way)
    return True
