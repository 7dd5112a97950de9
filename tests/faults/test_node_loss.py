"""Two machines as Ray sees them, on one; one goes away."""

import os

import pytest
from ray.cluster_utils import Cluster
from support.noise_jobs import noise_job, same_rows

from synthmill.inline import Inline
from synthmill.pool import Pool


@pytest.fixture
def cluster(monkeypatch):
    # Ray reads the token once a process, as the pool's own; without one it writes one into the home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", "ab" * 32)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes
    nodes.shutdown()


class LosesNode(list):
    """Takes progress; removes a node when all workers are at work."""

    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node

    def append(self, progress):
        super().append(progress)
        if self.node and progress.workers == 3:
            self.cluster.remove_node(self.node)
            self.node = None


def test_a_lost_machine_changes_no_row(tmp_path, cluster):
    far = cluster.add_node(num_cpus=2)
    job = noise_job(tmp_path / "cluster", rows=6000, params={"seconds": 0.05})
    with Pool() as pool:
        assert (pool.workers, pool.device) == (3, "cpu")
        seen = LosesNode(cluster, far)
        job.generate(pool, seen)
    assert seen.node is None
    assert seen[-1].retries > 0
    plain = noise_job(tmp_path / "plain", rows=6000, params={"seconds": 0.05})
    plain.generate(Inline())
    assert same_rows(job.accepted(), plain.accepted())
