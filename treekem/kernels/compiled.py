"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function on its first call: serial, without the GIL, kept on disk.

    numba keeps code beside the module, or in the user's folder for caches, or where NUMBA_CACHE_DIR says. Where it can
    write nowhere, every process compiles for itself.
    """
    try:
        compiled = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        compiled = njit(nogil=True)(function)
    return cast("_Kernel", compiled)
