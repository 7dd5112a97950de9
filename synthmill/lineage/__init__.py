"""Where releases come from, and what came from a source: from git alone wherever git knows, so that no purge hides a descendant."""
