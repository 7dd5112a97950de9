"""Prefect around the core: flows that start, watch and show runs, and hold no logic of their own.

    server.py       the API a run talks to: the user's own, or an embedded server on SQLite in state
    runs.py         flow runs as that API sees them: cancelled, crashed, written
    locks.py        the flocks by which runs and the embedded server know of each other

`synthmill run --inline` takes the same recipe to the same bytes without this package.
"""
