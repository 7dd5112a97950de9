"""The nearest rows of a table: exact, in blocks, so that memory is the same for any number of rows.

    space = Space.fit("gower", columns, train, candidate)  # what a column weighs is measured on train
    found = nearest(space.encode(candidate), space.encode(train), k=2)
    found.distances, found.indices  # (rows, 2) each, nearest first

mixed.py compares rows of numbers and labels, euclidean.py dense vectors, manifold.py two clouds of them; best.py holds the nearest so far,
scale.py says what an amount weighs.
"""

from synthmill.neighbours.best import Neighbours
from synthmill.neighbours.embedding import Embedding
from synthmill.neighbours.euclidean import nearest_euclidean
from synthmill.neighbours.manifold import Overlap, prdc
from synthmill.neighbours.mixed import Metric, Points, Space, nearest
from synthmill.neighbours.scale import NOISE, quarters

__all__ = [
    "NOISE",
    "Embedding",
    "Metric",
    "Neighbours",
    "Overlap",
    "Points",
    "Space",
    "nearest",
    "nearest_euclidean",
    "prdc",
    "quarters",
]
