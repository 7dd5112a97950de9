"""What is on disk: staging, candidates, releases, the workspace."""
