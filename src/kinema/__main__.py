"""Runs the command line: `python -m kinema`."""

from __future__ import annotations

import sys

from kinema.cli import main

if __name__ == "__main__":
    sys.exit(main())
