"""Run the command line."""

from __future__ import annotations

import sys

from vectors.cli import main

sys.exit(main(sys.argv[1:]))
