"""`fetch` against a server on this machine: what arrives whole is kept, and nothing else is."""

import gzip
import hashlib
import io
import socket
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rewire.experiments import data
from rewire.experiments.data import sources
from rewire.experiments.errors import ConfigError, DataError, StoreError

IMAGES, LABELS = gzip.compress(b"images" * 500, mtime=0), gzip.compress(b"labels", mtime=0)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Server:
    """Serves ``files`` (path: bytes); ``announce`` overrides the length that is promised."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.announce: dict[str, int] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                if self.path not in server.files:
                    return self.send_error(404)
                body = server.files[self.path]
                self.send_response(200)
                length = server.announce.get(self.path, len(body))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv("REWIRE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rewire"


@pytest.fixture
def two_files(server, cache, monkeypatch):
    """`mnist` as a set of two small files that the server has."""
    remotes = tuple(
        data.Remote(f"MNIST/raw/{name}-idx3-ubyte.gz", sha256(body), len(body))
        for name, body in (("train-images", IMAGES), ("t10k-images", LABELS))
    )
    server.files = {"/train-images-idx3-ubyte.gz": IMAGES, "/t10k-images-idx3-ubyte.gz": LABELS}
    small = replace(sources.BUILT_IN["mnist"], remotes=remotes, mirrors=(server.url,))
    monkeypatch.setitem(sources.BUILT_IN, "mnist", small)
    return [cache / remote.file for remote in remotes]


def left_behind(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_files_are_fetched_into_the_cache_and_progress_is_told(two_files, cache):
    told = []
    folder = data.fetch("mnist", progress=lambda *what: told.append(what))
    assert folder == cache / "MNIST/raw"
    assert [path.read_bytes() for path in two_files] == [IMAGES, LABELS]
    assert sorted(left_behind(cache)) == sorted(two_files)
    assert told[-1] == ("MNIST/raw/t10k-images-idx3-ubyte.gz", len(LABELS), len(LABELS))
    assert data.available()["mnist"].path == str(folder)


def test_whole_files_are_not_fetched_again_and_damaged_ones_are(two_files, server):
    data.fetch("mnist")
    server.asked.clear()
    data.fetch("mnist")
    assert server.asked == []
    two_files[0].write_bytes(IMAGES[:-1] + b"x")
    data.fetch("mnist")
    assert server.asked == ["/train-images-idx3-ubyte.gz"]
    assert two_files[0].read_bytes() == IMAGES


def test_a_wrong_checksum_leaves_nothing_behind(two_files, server, cache):
    server.files["/train-images-idx3-ubyte.gz"] = IMAGES[:-1] + bytes([IMAGES[-1] ^ 1])
    with pytest.raises(DataError, match=f"sha256 .* expected {sha256(IMAGES)}") as error:
        data.fetch("mnist")
    assert server.url in str(error.value)
    assert "$REWIRE_DATA" in str(error.value)
    assert left_behind(cache) == []


@pytest.mark.parametrize("promised", [len(IMAGES), len(IMAGES) - 10])
def test_a_truncated_body_leaves_nothing_behind(two_files, server, cache, promised):
    server.files["/train-images-idx3-ubyte.gz"] = IMAGES[:-10]
    server.announce["/train-images-idx3-ubyte.gz"] = promised
    with pytest.raises(DataError, match=f"{len(IMAGES) - 10} of {len(IMAGES)} bytes|Incomplete"):
        data.fetch("mnist")
    assert left_behind(cache) == []


def test_a_body_that_goes_on_is_cut_off(two_files, server, cache):
    server.files["/train-images-idx3-ubyte.gz"] = IMAGES + bytes(8 << 20)
    with pytest.raises(DataError, match=f"sent more than the {len(IMAGES)} bytes expected"):
        data.fetch("mnist")
    assert left_behind(cache) == []


def test_the_next_mirror_takes_over_and_all_reasons_are_given(two_files, server, cache):
    with pytest.raises(DataError, match="/none/.*Not Found.*; file://.*only http and https"):
        data.fetch("mnist", mirrors=(server.url + "none/", "file:///etc/"))
    assert left_behind(cache) == []
    data.fetch("mnist", mirrors=(server.url + "none/", server.url))
    assert two_files[0].read_bytes() == IMAGES


def test_a_damaged_file_survives_a_failed_fetch_unchanged(two_files, server, cache):
    two_files[0].parent.mkdir(parents=True)
    two_files[0].write_bytes(b"half")
    server.files.clear()
    with pytest.raises(DataError, match="Not Found"):
        data.fetch("mnist")
    assert left_behind(cache) == [two_files[0]]
    assert two_files[0].read_bytes() == b"half"


def test_silence_and_a_closed_door_end_in_a_data_error(two_files, cache):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            data.fetch("mnist", mirrors=(address,), timeout=0.2)
    with pytest.raises(DataError, match="refused"):
        data.fetch("mnist", mirrors=(address,), timeout=5)
    assert left_behind(cache) == []


def test_an_interrupt_leaves_nothing_behind(two_files, cache):
    def stop(*what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.fetch("mnist", progress=stop)
    assert left_behind(cache) == []


def test_a_cache_that_cannot_be_written_is_an_error_of_the_store(two_files, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot write mnist into"):
        data.fetch("mnist")


# --- archives

MEMBERS = {f"cifar-10-batches-bin/{name}.bin": name.encode() * 100 for name in ("data_1", "test")}


def archive(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def archived(server, cache, monkeypatch):
    """`cifar10` as a small archive: a function that serves the given bytes, proved or not."""

    def serve(content):
        remote = data.Remote(
            "cifar-10-binary.tar.gz",
            sha256(content),
            len(content),
            members={name: (sha256(body), len(body)) for name, body in MEMBERS.items()},
        )
        server.files = {"/cifar-10-binary.tar.gz": content}
        small = replace(sources.BUILT_IN["cifar10"], remotes=(remote,), mirrors=(server.url,))
        monkeypatch.setitem(sources.BUILT_IN, "cifar10", small)

    return serve


def test_an_archive_becomes_its_known_members_and_nothing_else(archived, server, cache):
    archived(archive(MEMBERS | {"../evil": b"x", "cifar-10-batches-bin/readme.html": b"x"}))
    data.fetch("cifar10")
    assert sorted(left_behind(cache)) == sorted(cache / name for name in MEMBERS)
    assert all((cache / name).read_bytes() == body for name, body in MEMBERS.items())
    assert not (cache.parent / "evil").exists()
    server.asked.clear()
    data.fetch("cifar10")
    assert server.asked == []


NAMES = list(MEMBERS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({NAMES[0]: MEMBERS[NAMES[0]][:-1]}), "bytes, expected"),
        (archive({NAMES[0]: MEMBERS[NAMES[0]][::-1]}), "is not the official file"),
        (archive({}), "is not the archive expected"),
        (b"no archive", "is not the archive expected"),
        (archive(MEMBERS)[:60], "is not the archive expected"),
    ],
    ids=["size", "content", "empty", "foreign", "cut"],
)
def test_an_archive_without_the_known_members_leaves_nothing_behind(
    archived, cache, content, message
):
    archived(content)
    with pytest.raises(DataError, match=message):
        data.fetch("cifar10")
    assert left_behind(cache) == []


# --- what needs no network


@pytest.mark.parametrize("name", ["mnist5k", "digits"])
def test_a_packaged_data_set_is_checked_where_it_is(name, cache):
    assert str(data.fetch(name)) == data.available()[name].path
    assert not cache.exists()


def test_a_data_set_in_the_given_folder_is_read_and_never_replaced(
    two_files, server, tmp_path, monkeypatch
):
    given = tmp_path / "given/MNIST/raw"
    given.mkdir(parents=True)
    (given / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path / "given"))
    with pytest.raises(DataError, match=str(given)):
        data.fetch("mnist")
    assert server.asked == []


def test_an_unknown_name_is_a_matter_of_usage():
    with pytest.raises(ConfigError, match=r"'cifar' \(did you mean 'cifar10'\?\)"):
        data.fetch("cifar")


def test_every_remote_file_of_ours_has_a_checksum_a_size_and_a_mirror():
    for source in sources.BUILT_IN.values():
        assert bool(source.remotes) == bool(source.mirrors)
        assert all(mirror.startswith("http") for mirror in source.mirrors)
        for remote in source.remotes:
            members = remote.members or {remote.file: (remote.sha256, remote.size)}
            for digest, size in (*members.values(), (remote.sha256, remote.size)):
                assert len(bytes.fromhex(digest)) == 32
                assert size > 1_000
