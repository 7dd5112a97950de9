"""The engine on Ray: its own actors, driven one by one. Ray is imported in this package alone."""

import os

# Ray reads these when it is first imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # it prints its remarks on stdout, where our results go

from synthmill.pool.pool import Pool

__all__ = ["Pool"]
