"""Releases to remotes on servers in processes of their own, and what is said and kept where one of them fails."""

from __future__ import annotations

import functools
import shutil
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from integration.test_release import ONE, assert_clean, blank, git, quiet, request_of, run_dvc, workspace
from s3fs import S3FileSystem
from support import servers
from support.servers import KEY, SECRET, Proxy, every_third, free_port

from synthmill.errors import ReleaseError
from synthmill.store.objects import hash_bytes, read_tree
from synthmill.store.release_steps import release

__all__ = ["blank", "workspace"]  # fixtures

TWO = replace(ONE, plan="p2")


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with servers.s3(folder) as port:
        yield port


@pytest.fixture
def s3(s3_server, workspace, tmp_path):
    """A proxy before the server; the workspace's remote is an empty folder of the bucket, behind the proxy."""
    with Proxy(s3_server) as proxy:
        keys = {"access_key_id": KEY, "secret_access_key": SECRET, "connect_timeout": "1", "read_timeout": "3"}
        url = f"s3://bucket/{tmp_path.name}"
        use(workspace.root, url, {"endpointurl": proxy.url(), "region": "us-east-1"}, keys)
        yield proxy, Objects(s3_server, f"bucket/{tmp_path.name}/files/md5")


class Objects:
    """The store as any S3 client sees it."""

    def __init__(self, port: int, place: str) -> None:
        endpoint = f"http://127.0.0.1:{port}"
        self._files = S3FileSystem(key=KEY, secret=SECRET, endpoint_url=endpoint, use_listings_cache=False)
        self._place = place

    def put(self, name: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._place}/{name[:2]}/{name[2:]}", content)

    def hashes(self) -> dict[str, str]:
        found = self._files.find(self._place)
        return {"".join(path.split("/")[-2:]): hash_bytes(self._files.cat_file(path)) for path in found}


@pytest.fixture
def webdav(workspace, tmp_path):
    folder = tmp_path / "webdav"
    (folder / "store").mkdir(parents=True)
    with servers.rclone("webdav", folder, "--user", KEY, "--pass", SECRET) as port, Proxy(port) as proxy:
        use(workspace.root, proxy.url("store").replace("http", "webdav"), {"user": KEY}, {"password": SECRET})
        yield proxy


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("synthmill.store.dvc.FIRST_PATIENCE_S", 0.8)
    monkeypatch.setattr("synthmill.store.dvc.PATIENCE_S", 0.8)


def use(root: Path, url: str, settings: dict[str, str], secrets: dict[str, str]) -> None:
    """Make it the default remote; the secrets stay out of git."""
    places = {"config": {"url": url, **settings}, "config.local": secrets}
    for name, keys in places.items():
        path = root / ".dvc" / name
        lines = ["['remote \"away\"']", *(f"    {key} = {value}" for key, value in keys.items())]
        path.write_text(path.read_text().replace("remote = storage", "remote = away") + "\n".join([*lines, ""]))
    git(root, "commit", "--quiet", "-am", "Use another remote")


def reset(root: Path, name: str, old: str, new: str) -> None:
    path = root / ".dvc" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def pulled(root: Path, clone: Path) -> dict[str, str]:
    """What a fresh clone with the same secrets pulls."""
    git(clone.parent, "clone", "--quiet", str(root), clone.name)
    shutil.copy(root / ".dvc/config.local", clone / ".dvc/config.local")
    run_dvc(clone, "pull")
    return dict(read_tree(clone / "datasets/tiny").files)


def test_a_release_to_s3_is_pulled_by_a_clone_and_the_next_sends_only_what_is_new(s3, workspace, tmp_path):
    proxy, _ = s3
    request = request_of(workspace)
    release(workspace, request, quiet)
    assert len(proxy.puts()) == len(read_tree(request.candidate).objects())
    assert pulled(workspace.root, tmp_path / "clone") == read_tree(request.candidate).files
    assert_clean(workspace.root)
    proxy.requests.clear()
    grown = request_of(workspace, identity=TWO, rows=5)
    (grown.candidate / "data/synthetic-00000-of-00001.parquet").unlink()
    data = request.candidate / "data/synthetic-00000-of-00001.parquet"
    shutil.copy(data, grown.candidate / "data/synthetic-00000-of-00002.parquet")
    (grown.candidate / "data/synthetic-00001-of-00002.parquet").write_bytes(b"more rows")
    release(workspace, grown, quiet)
    new = read_tree(grown.candidate).objects().keys() - read_tree(request.candidate).objects().keys()
    assert {"".join(path.split("/")[-2:]) for path in proxy.puts()} == new
    assert len(proxy.puts()) == len(new)
    assert not [path for method, path, _ in proxy.requests if method == "GET" and "files/md5" in path.partition("?")[0]]


def test_a_remote_that_fails_every_third_request_gets_everything(s3, workspace):
    proxy, objects = s3
    proxy.fault = every_third
    request = request_of(workspace)
    release(workspace, request, quiet)
    assert {fault for *_, fault in proxy.requests} == {"", "503", "reset", "half"}
    assert objects.hashes() == named(request)


def test_a_server_that_dies_half_way_is_named_and_the_next_run_sends_only_the_rest(s3, workspace, impatient):
    proxy, _ = s3
    proxy.fault = servers.dies_after(2)
    lines: list[str] = []
    with pytest.raises(ReleaseError, match=r"DVC remote away \(s3://bucket/\S+\): .*as objects were sent") as caught:
        release(workspace, request_of(workspace), lines.append)
    assert "`synthmill release tiny` to go on" in caught.value.hint
    assert any("are tried again in 0.5 s" in line for line in lines)
    assert git(workspace.root, "tag") == ""
    proxy.fault = servers.no_fault
    sent = set(proxy.puts())
    proxy.requests.clear()
    request = request_of(workspace)
    release(workspace, request, quiet)
    assert len(sent) == 2
    assert not sent & set(proxy.puts())
    assert len(sent | set(proxy.puts())) == len(read_tree(request.candidate).objects())


@pytest.mark.parametrize(
    ("change", "fault", "words"),
    [
        (("config.local", SECRET, "another-secret-altogether"), "", "refuses the credentials (403)"),
        (("config", "s3://bucket/", "s3://none/"), "", "the bucket or folder is not there"),
        (("config", "endpointurl = ", "endpointurl = http://127.0.0.1:{free}/ #"), "", "cannot be reached"),
        (("config.local", "read_timeout = 3", "read_timeout = 1"), "hang", "does not answer"),
        (None, "507", "its disk is full"),
        (None, "503", "the server fails (503)"),
    ],
    ids=["credentials", "bucket", "unreachable", "silent", "full", "failing"],
)
def test_a_remote_that_refuses_is_named_with_the_reason_and_without_secrets(
    s3, workspace, impatient, change, fault, words
):
    proxy, _ = s3
    if change:
        reset(workspace.root, change[0], change[1], change[2].format(free=free_port()))
    proxy.fault = lambda number, method, path: fault
    head = git(workspace.root, "rev-parse", "HEAD")
    with pytest.raises(ReleaseError) as caught:
        release(workspace, request_of(workspace), quiet)
    message = str(caught.value)
    assert words in caught.value.what
    assert caught.value.where.startswith("DVC remote away (s3://")
    assert "`synthmill release tiny` to go on" in message
    assert not [secret for secret in (SECRET, KEY, "another-secret", "Traceback") if secret in message]
    assert (git(workspace.root, "rev-parse", "HEAD"), git(workspace.root, "tag")) == (head, "")


def test_objects_of_the_right_size_and_other_bytes_are_sent_anew(s3, workspace):
    proxy, objects = s3
    request = request_of(workspace)
    tree = read_tree(request.candidate)
    for name in (tree.files["README.md"], tree.address):
        objects.put(name, bytes(tree.objects()[name]))
    release(workspace, request, quiet)
    assert len(proxy.puts()) == len(tree.objects())
    assert objects.hashes() == named(request)


def named(request) -> dict[str, str]:
    return {name: name.removesuffix(".dir") for name in read_tree(request.candidate).objects()}


def test_webdav_is_read_back_once_and_bytes_altered_on_their_way_are_no_release(webdav, workspace, tmp_path):
    request = request_of(workspace)
    webdav.fault = lambda number, method, path: "alter" if method == "PUT" else ""
    with pytest.raises(ReleaseError, match="not there as they were sent"):
        release(workspace, request, quiet)
    assert git(workspace.root, "tag") == ""
    webdav.fault = servers.no_fault
    release(workspace, request, quiet)
    assert pulled(workspace.root, tmp_path / "clone") == read_tree(request.candidate).files
    webdav.requests.clear()
    release(workspace, request_of(workspace, identity=TWO, rows=5), quiet)
    got = {path for method, path, _ in webdav.requests if method == "GET"}
    assert got == set(webdav.puts())


def test_a_release_is_pulled_over_http(workspace, tmp_path):
    request = request_of(workspace)
    release(workspace, request, quiet)
    handler = functools.partial(_Silent, directory=str(workspace.root / "remote"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        git(tmp_path, "clone", "--quiet", str(workspace.root), "clone")
        config = tmp_path / "clone/.dvc/config"
        url = f"http://127.0.0.1:{server.server_address[1]}"
        config.write_text(config.read_text().replace(str(workspace.root / "remote"), url))
        run_dvc(tmp_path / "clone", "pull")
        server.shutdown()
    assert read_tree(tmp_path / "clone/datasets/tiny").files == read_tree(request.candidate).files


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_release_takes_its_size_once_beside_the_remote(workspace):
    request = request_of(workspace)
    (request.candidate / "data/more.parquet").write_bytes(bytes(range(256)) * 8192)
    release(workspace, request, quiet)
    size = sum(path.stat().st_size for path in request.candidate.rglob("*") if path.is_file())
    files = [path for part in ("datasets", ".dvc/cache") for path in (workspace.root / part).rglob("*")]
    blocks = {path.stat().st_ino: path.stat().st_blocks * 512 for path in files if path.is_file()}
    assert size <= sum(blocks.values()) <= 1.1 * size
    assert inodes(workspace.root / "remote") <= blocks.keys(), "inside the workspace a remote is no second copy"


def test_a_remote_outside_the_workspace_has_files_of_its_own(workspace, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    use(workspace.root, str(outside), {}, {})
    release(workspace, request_of(workspace), quiet)
    assert inodes(outside)
    assert not inodes(outside) & inodes(workspace.root / ".dvc/cache")


def inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file() and path.suffix != ".dir"}


def test_what_dvc_says_and_does_after_a_release_is_nothing(workspace):
    release(workspace, request_of(workspace), quiet)
    shutil.rmtree(workspace.root / ".dvc/tmp")  # what DVC remembers of files: now it reads them
    assert_clean(workspace.root)
    assert "didn't change" in run_dvc(workspace.root, "repro")
    assert run_dvc(workspace.root, "push") == "Everything is up to date."


def test_files_that_dvcignore_hides_are_no_release(workspace):
    (workspace.root / ".dvcignore").write_text("*.html\n")
    git(workspace.root, "commit", "--quiet", "-am", "ignore")
    with pytest.raises(ReleaseError, match=r"\.dvcignore hides 1 of the dataset's 5 files, report\.html"):
        release(workspace, request_of(workspace), quiet)
