"""`python -m backup_pipeline.cli`: the command line, for processes that start it without a script."""

from __future__ import annotations

import sys

from backup_pipeline.cli.app import main

sys.exit(main())
