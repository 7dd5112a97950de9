"""The shared state on stores that need no server: what is sent and brought in, and what damage and silence come to."""

import errno
import shutil
import time
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.noise_jobs import NoiseJob, never, noise_job, same_rows

from synthmill.errors import Interrupted, StorageError, WorkspaceError
from synthmill.generator import FitReport
from synthmill.job_run import JobRun
from synthmill.settings import StorageSettings, read_settings
from synthmill.store.bucket import Bucket, open_bucket, patient
from synthmill.store.models import hash_files, write_model
from synthmill.store.parcel import LISTING, Parcel
from synthmill.store.sealed import seal, unseal
from synthmill.store.sending import Sender
from synthmill.store.shared import Shared
from synthmill.store.shared_shards import SharedShards, missing
from synthmill.store.staging import Receipt
from synthmill.store.state import State
from synthmill.work import FittedModel, Sampler

AT_ONCE = patient(0.0)


def quiet(*words):
    pass


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture(params=["file", "memory"])
def bucket(request, store, tmp_path):
    """The same on a folder, where we write ourselves, and on a store, where fsspec does."""
    uri = f"file://{store}" if request.param == "file" else f"memory://{tmp_path.name}"
    return open_bucket(uri, StorageSettings(), AT_ONCE)


@pytest.fixture
def folder_bucket(store):
    return open_bucket(f"file://{store}", StorageSettings(), AT_ONCE)


def flip(path: Path) -> None:
    """One bit of one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Sealed JSON


def test_no_flipped_bit_passes_a_seal():
    content = {"format": 1, "files": {"a/b": "0f"}}
    data = seal(content)
    assert unseal(data) == content
    for place in range(len(data)):
        for bit in range(8):
            flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            assert unseal(flipped) in (None, content)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"content": 1, "sha256": 2}', b"\xff", b'{"content": {}}'])
def test_what_was_never_sealed_is_nothing(data):
    assert unseal(data) is None


# Parcels


def make_folder(root: Path, name: str = "one") -> Path:
    folder = root / name
    (folder / "files" / "deep").mkdir(parents=True)
    (folder / "files" / "deep" / "weights").write_bytes(bytes(range(256)) * 40)
    (folder / "receipt.json").write_text(f'{{"name": "{name}"}}\n')
    (folder / "settled.json").write_text("here alone")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_parcel_comes_back_as_it_was_sent(bucket, tmp_path):
    parcel = Parcel(bucket, "models/m", quiet)
    folder = make_folder(tmp_path)
    assert not parcel.is_there
    assert not parcel.bring(tmp_path / "two")
    parcel.send(folder, leave_out=("settled.json",))
    assert parcel.is_there
    assert parcel.bring(tmp_path / "two")
    (folder / "settled.json").unlink()
    assert contents(tmp_path / "two") == contents(folder)


def test_what_is_there_stays_when_another_sends_other_bytes(bucket, tmp_path):
    parcel = Parcel(bucket, "models/m", quiet)
    parcel.send(make_folder(tmp_path, "first"))
    before = bucket.sizes("models/m")
    parcel.send(make_folder(tmp_path, "second"))
    assert bucket.sizes("models/m") == before
    assert parcel.bring(tmp_path / "got")
    assert contents(tmp_path / "got") == contents(tmp_path / "first")


def test_files_without_their_listing_count_for_nothing(bucket, tmp_path):
    """A sender that was killed."""
    parcel = Parcel(bucket, "models/m", quiet)
    parcel.send(make_folder(tmp_path))
    bucket.remove(f"models/m/{LISTING}")
    assert not parcel.is_there
    assert not parcel.bring(tmp_path / "two")
    parcel.send(tmp_path / "one")
    assert parcel.bring(tmp_path / "two")


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink])
@pytest.mark.parametrize("victim", ["listing", "largest"])
def test_a_damaged_parcel_is_said_dropped_and_sent_anew(folder_bucket, store, tmp_path, harm, victim):
    said: list[str] = []
    parcel, folder = Parcel(folder_bucket, "models/m", said.append), make_folder(tmp_path)
    parcel.send(folder)
    paths = sorted((store / "models/m").iterdir(), key=lambda path: path.stat().st_size)
    harm(store / "models/m" / LISTING if victim == "listing" else paths[-1])
    assert not parcel.bring(tmp_path / "two")
    assert not (tmp_path / "two").exists()
    assert not list(tmp_path.glob(".tmp-*"))
    if not (victim == "listing" and harm == Path.unlink):
        assert "models/m" in said[0]
        assert "this model counts as not there" in said[0]
    parcel.send(folder)
    assert parcel.bring(tmp_path / "two")
    assert contents(tmp_path / "two") == contents(folder)


def test_a_dry_look_drops_nothing(store, tmp_path):
    bucket = open_bucket(f"file://{store}", StorageSettings(), AT_ONCE, is_read_only=True)
    parcel = Parcel(bucket, "models/m", quiet)
    parcel.send(make_folder(tmp_path))
    flip(store / "models/m" / LISTING)
    before = contents(store)
    assert parcel.listing() is None
    assert contents(store) == before


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", ""])
def test_a_listing_leads_to_no_place_outside(bucket, tmp_path, name):
    parcel = Parcel(bucket, "models/m", quiet)
    parcel.send(make_folder(tmp_path))
    (sha256, *_) = [one for one in bucket.sizes("models/m") if one != LISTING]
    bucket.write(f"models/m/{LISTING}", seal({"format": 1, "files": {name: sha256}}))
    assert not parcel.bring(tmp_path / "deep" / "er" / "two")
    assert not (tmp_path / "outside").exists()


def test_a_listing_of_a_later_format_is_left_alone(bucket, tmp_path):
    later = seal({"format": 2, "files": []})
    bucket.write(f"models/m/{LISTING}", later)
    parcel = Parcel(bucket, "models/m", quiet)
    assert not parcel.bring(tmp_path / "two")
    parcel.send(make_folder(tmp_path))
    assert bucket.read(f"models/m/{LISTING}") == later


# Which shards a stratum needs


def receipt(start: int, stop: int, rows: int | None = None) -> Receipt:
    return Receipt(start, stop, f"{start}", stop - start if rows is None else rows, {}, "m")


@pytest.mark.parametrize(
    ("here", "there", "rows", "unique", "wanted"),
    [
        ([], [(0, 64), (64, 128), (128, 192)], 100, False, [(0, 64), (64, 128)]),
        ([], [(0, 64), (64, 128), (128, 192)], 100, True, [(0, 64), (64, 128), (128, 192)]),
        ([(0, 64)], [(0, 64), (64, 128)], 100, False, [(64, 128)]),
        ([(0, 128)], [(0, 64), (64, 128), (128, 192)], 100, False, []),
        ([], [(0, 64), (0, 128), (64, 128)], 128, False, [(0, 128)]),  # cut in other ways by other workers
        ([], [(64, 128)], 128, False, [(64, 128)]),  # behind a hole
        ([], [(0, 128, 10), (128, 192)], 64, False, [(0, 128), (128, 192)]),
        ([], [(0, 64), (32, 96), (96, 128)], 110, False, [(0, 64), (32, 96), (96, 128)]),
    ],
)
def test_no_more_shards_are_brought_in_than_rows_are_wanted(here, there, rows, unique, wanted):
    found = missing([receipt(*r) for r in here], [receipt(*r) for r in there], rows, unique=unique)
    assert [(r.start, r.stop) for r in found] == wanted


# A job on two machines


@cache
def planned() -> NoiseJob:
    return noise_job(Path("nowhere"), rows=450, balance="colour", rules=("height < 1.4",))


@cache
def fitted() -> FittedModel:
    return planned().fitted()


class Machine:
    """A local state of its own beside the shared one; makes shards in this process."""

    def __init__(self, root: Path, bucket: Bucket, should_stop=never):
        self.job = replace(planned(), state=State(root / "state"))
        self.said: list[str] = []
        self.state = self.job.state
        self.shared = Shared(self.state, bucket, self.said.append, should_stop)
        self.sha256 = hash_files(fitted().files)

    def work(self, shards: int | None = None) -> int:
        """Bring in, make so many shards or all that is missing, send; how many were made."""
        plan = self.job.plan
        self.shared.bring_shards(plan.jobs[0], self.sha256, unique=False)

        def send(folder, receipt):
            self.shared.send_shard(folder, receipt, self.sha256)

        job, accept = plan.jobs[0], plan.recipe.accept
        run = JobRun(job, accept, self.state, workers=1, on_finished=send)
        sampler = Sampler(self.job.kit(fitted()))
        for made in count():
            if run.is_complete or made == shards:
                run.close()
                self.shared.drain()
                return made
            shard = run.next_shard([])
            run.record(shard, sampler.stage(shard, self.state.shards))
        raise AssertionError


def test_a_second_machine_makes_only_what_is_missing(bucket, tmp_path):
    alone = Machine(tmp_path / "alone", open_bucket("memory://nobody", StorageSettings(), AT_ONCE))
    alone.work()
    first, second, third = (Machine(tmp_path / name, bucket) for name in ("first", "second", "third"))
    assert first.work(3) == 3
    there = len(first.job.receipts())
    made = second.work()
    assert len(second.job.receipts()) == there + made
    assert second.said == ["state: 3 shards of jobs.0 brought in"]
    assert third.work() == 0
    for machine in (second, third):
        assert same_rows(machine.job.accepted(), alone.job.accepted())


def test_shards_of_another_fit_of_the_model_are_not_mixed_in(bucket, tmp_path):
    first, second = (Machine(tmp_path / name, bucket) for name in ("first", "second"))
    first.work()
    second.sha256 = "0" * 64
    assert second.work() > 0
    assert second.said == []


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink])
def test_a_damaged_shard_is_said_and_made_anew(folder_bucket, store, tmp_path, harm):
    first, second, third = (Machine(tmp_path / name, folder_bucket) for name in ("first", "second", "third"))
    first.work()
    shards = [path for path in store.rglob("*") if path.is_file() and path.suffix != ".json"]
    harm(max(shards, key=lambda path: path.stat().st_size))
    assert second.work() >= 1
    assert harm == Path.unlink or "is damaged: this shard counts as not there" in second.said[0]
    assert third.work() == 0
    assert same_rows(third.job.accepted(), first.job.accepted())


def test_a_damaged_receipt_is_said_and_its_shard_made_anew(folder_bucket, store, tmp_path):
    first, second = (Machine(tmp_path / name, folder_bucket) for name in ("first", "second"))
    first.work()
    flip(next(store.rglob("0-*.json")))
    assert second.work() >= 1
    assert "is damaged: this shard counts as not there" in second.said[0]
    assert same_rows(second.job.accepted(), first.job.accepted())


def test_what_a_kill_left_unsent_is_sent_by_the_next_run(folder_bucket, store, tmp_path):
    first, second = (Machine(tmp_path / name, folder_bucket) for name in ("first", "second"))
    first.work()
    lost = next(store.rglob("0-*.json"))
    lost.unlink()
    assert first.work() == 0
    assert lost.exists()
    assert second.work() == 0


def test_what_is_forgotten_is_gone_for_other_machines(bucket, tmp_path):
    first, second = (Machine(tmp_path / name, bucket) for name in ("first", "second"))
    made = first.work()
    first.shared.forget([first.state.staging(stratum.staging) for stratum in first.job.plan.jobs[0].strata])
    assert second.work() == made


def test_nothing_but_models_sources_and_candidates_leaves_as_a_folder(bucket, tmp_path):
    state = State(tmp_path / "state")
    shared = Shared(state, bucket, quiet, never)
    for path in (state.secret, state.root / "locks", state.checkpoint("f")):
        with pytest.raises(AssertionError, match="nothing else of the state leaves it"):
            shared.send(path)


def test_a_model_says_what_it_is_before_it_is_brought_in(bucket, tmp_path):
    here, there = State(tmp_path / "here"), State(tmp_path / "there")
    report = FitReport(3, "steps")
    write_model(
        here.model("f"),
        {"a": b"1"},
        report,
        fingerprint="f",
        generator="g",
        train_rows=2,
        seconds=1,
        level="bitwise",
    )
    shared = Shared(here, bucket, quiet, never)
    shared.share(here.model("f"))
    shared.drain()
    said: list[str] = []
    shared = Shared(there, bucket, said.append, never)
    assert shared.model_receipt("f").steps == 3
    assert shared.model_receipt("g") is None
    assert not there.root.exists()
    shared.share(there.model("f"))
    assert contents(there.model("f")) == contents(here.model("f"))
    assert said[0].startswith("state: model f brought in, ")


def test_measurements_come_back_by_source(folder_bucket, store, tmp_path):
    here, there = State(tmp_path / "here"), State(tmp_path / "there")
    here.measurements.mkdir(parents=True)
    paths = [here.measurements / f"{digit * 32}.json" for digit in "ab"]
    for path in paths:
        path.write_text('{"value": 0.5}')
    shared = Shared(here, folder_bucket, quiet, never)
    shared.send_measurements("s", paths[:1])
    shared.send_measurements("s", paths[1:])
    shared.drain()
    said: list[str] = []
    shared = Shared(there, folder_bucket, said.append, never)
    shared.bring_measurements("t")
    assert not there.measurements.exists()
    shared.bring_measurements("s")
    assert contents(there.measurements) == contents(here.measurements)
    shutil.rmtree(there.measurements)
    flip(next((store / "measurements/s").iterdir()))
    shared.bring_measurements("s")
    assert len(contents(there.measurements)) == 1
    assert "damaged" in said[0]


# Stores that do not answer


class Shaky(MemoryFileSystem):
    """Every write raises the next of `errors`, until there are none."""

    protocol = "shaky"

    def __init__(self, errors):
        super().__init__(skip_instance_cache=True)
        self.errors = list(errors)

    def pipe_file(self, *arguments, **options):
        if self.errors:
            raise self.errors.pop(0)
        super().pipe_file(*arguments, **options)

    put_file = pipe_file


def shaky(errors, again):
    return Bucket("shaky://place", Shaky(errors), "/shaky", again)


def test_what_does_not_answer_is_asked_again_while_the_run_goes_on():
    sender = Sender(patience_s=0.0)
    bucket = shaky([ConnectionError("gone"), TimeoutError("slow")], sender.again)
    sender.send(lambda: bucket.write("a", b"x"), quiet)
    while bucket.fs.errors:
        time.sleep(0.01)
    sender.drain(quiet)
    assert bucket.read("a") == b"x"


def test_what_never_answers_is_told_when_the_driver_waits():
    sender = Sender(patience_s=0.3)
    bucket = shaky([ConnectionError("gone")] * 99, sender.again)
    sender.send(lambda: bucket.write("a", b"x"), quiet)
    with pytest.raises(StorageError, match=r"shaky://place: the state does not answer: gone\n.*run again"):
        sender.drain(quiet)
    with pytest.raises(StorageError):
        sender.send(lambda: None, quiet)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("Forbidden"), "refuses us: Forbidden\n.*credentials come from the environment"),
        (OSError(errno.ENOSPC, "no room"), "is full\n.*free some space"),
        (OSError(errno.EIO, "QuotaExceeded"), "is full"),
        (FileNotFoundError("The specified bucket does not exist"), "is not there: The specified bucket"),
        (ValueError("odd"), "cannot be used: ValueError: odd"),
    ],
)
def test_what_another_try_does_not_mend_is_told_at_once(error, words):
    bucket = shaky([error] * 2, patient(99.0))
    with pytest.raises(StorageError, match=f"shaky://place: the state {words}"):
        bucket.write("a", b"x")
    assert len(bucket.fs.errors) == 1


def test_proof_is_not_sent_before_what_it_proves(tmp_path):
    bucket = shaky([PermissionError("refused"), PermissionError("refused")], AT_ONCE)
    with pytest.raises(StorageError, match="refuses us"):
        Parcel(bucket, "models/m", quiet).send(make_folder(tmp_path))
    with pytest.raises(StorageError, match="refuses us"):
        SharedShards(bucket, quiet, quiet).send("shards/s", receipt(0, 64), tmp_path)
    assert bucket.fs.errors == []
    assert bucket.sizes("models") == bucket.sizes("shards") == {}


def test_a_driver_that_is_to_stop_waits_no_longer():
    def stop():
        raise Interrupted("stopped")

    sender = Sender(patience_s=60.0)
    bucket = shaky([ConnectionError("gone")] * 99, sender.again)
    sender.send(lambda: bucket.write("a", b"x"), quiet)
    with pytest.raises(Interrupted):
        sender.drain(stop)
    assert sender.close(grace_s=0.1) == 1


def test_a_bug_in_a_task_is_not_swallowed(caplog):
    sender = Sender()
    sender.send(lambda: {}["missing"], quiet)
    with pytest.raises(KeyError):
        sender.drain(quiet)
    assert "sending to the state" in caplog.text


# Settings


def settings(folder: Path, text: str):
    (folder / "synthmill.toml").write_text(text)
    return read_settings(folder)


def test_a_state_is_a_folder_or_a_uri(tmp_path):
    assert settings(tmp_path, 'state = "elsewhere"').folder == "elsewhere"
    assert settings(tmp_path, "").uri is None
    found = settings(tmp_path, 'state = "s3://bucket/prefix/"\n[storage]\nregion = "eu-north-1"')
    assert (found.uri, found.folder, found.storage.region) == ("s3://bucket/prefix", ".synthmill", "eu-north-1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('state = "s3://id:hunter2@bucket"', "state must hold no name, password or options"),
        ('state = "s3://bucket?key=hunter2"', "state must hold no name, password or options"),
        ('state = "S3://bucket"', "must be a folder, or SCHEME://PLACE"),
        ('state = ""', "state: must not be empty"),
        ('[storage]\nregion = "x"', r"\[storage\] goes with a state on s3://"),
        ('state = "s3://b"\n[storage]\nsecret = "hunter2"', "unknown key storage.secret"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, words):
    with pytest.raises(WorkspaceError, match=words):
        settings(tmp_path, text)


def test_a_secret_in_a_uri_is_not_repeated(tmp_path):
    with pytest.raises(WorkspaceError) as caught:
        settings(tmp_path, 'state = "s3 x://id:hunter2@bucket"\nauthor = "nobody"')
    assert "hunter2" not in str(caught.value)


def test_a_scheme_that_nothing_reads_is_bad_input():
    with pytest.raises(WorkspaceError, match="state: Protocol not known: carrier"):
        open_bucket("carrier://pigeon", StorageSettings(), AT_ONCE)


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path):
    bucket = open_bucket(f"file://{tmp_path}/mount", StorageSettings(), AT_ONCE)
    with pytest.raises(StorageError, match="the folder of the state is not there"):
        bucket.check()
    assert not (tmp_path / "mount").exists()
