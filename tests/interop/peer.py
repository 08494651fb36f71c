"""The process that holds the other implementation's clients, and where it is found.

It runs where `node` and the package are: `npm ci` in this folder installs what `package-lock.json` pins, or the
variable `MLS_TS_MLS` names another folder with a `node_modules`. Elsewhere its tests are skipped, and pytest's summary
says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
PINNED = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]["ts-mls"]


class PeerRefusedError(Exception):
    """The other implementation refused what it was asked; `name` is the class of its error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Peer:
    """One process of the other implementation; it ends with the block that it is used in."""

    def __init__(self, folder: Path) -> None:
        program = [shutil.which("node") or "node", str(HERE / "peer.mjs"), str(folder)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")  # noqa: S603  (our own program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(timeout=30)

    def ask(self, op: str, **arguments: object) -> Any:  # noqa: ANN401  (JSON is what it is; callers say what they expect)
        """Return the answer to a request; bytes go as hexadecimal text. Raises PeerRefusedError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"op": op, **arguments}, default=_hexadecimal) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, f"the other implementation's process died in {op}"
        answer = json.loads(line)
        if "error" in answer:
            raise PeerRefusedError(*answer["error"])
        return answer["value"]


def folder_of_peer() -> Path:
    """Return the folder whose `node_modules` holds the package."""
    return Path(os.environ.get("MLS_TS_MLS") or HERE)


def why_not_run() -> str | None:
    """Return why the other implementation cannot run here, or None if it can."""
    if shutil.which("node") is None:
        return "there is no node"
    described = folder_of_peer() / "node_modules" / "ts-mls" / "package.json"
    if not described.is_file():
        return "ts-mls is not installed"
    version = json.loads(described.read_text(encoding="utf-8"))["version"]
    return None if version == PINNED else f"ts-mls {version} is installed, not {PINNED}"


def _hexadecimal(value: object) -> str:
    assert isinstance(value, bytes)
    return value.hex()
