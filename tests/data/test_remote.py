"""Remote shards: fetched once, checked, bounded, retried; only allowed schemes are opened."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

import mmcontrast.data.remote as remote
from mmcontrast.cli import main
from mmcontrast.data.indexing import IndexOptions, index_set
from mmcontrast.data.manifest import file_sha256
from mmcontrast.data.remote import Cache, check_url, read_remote, retried
from mmcontrast.data.shards import ShardSet
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, ShardError
from tests.fixtures import make_set


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(functools.partial(Quiet, directory=str(folder))) as address:
        yield folder, address


def storage(tmp_path: Path, **fields: object) -> Storage:
    return Storage(cache=tmp_path / "cache", schemes=("http", "memory"), backoff_seconds=0, **fields)  # type: ignore[arg-type]


def test_a_served_set_reads_as_the_local_one(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    local = make_set(folder / "set", columns=("image", "text"))
    index_set(local)
    ours, theirs = ShardSet(local), ShardSet(f"{address}/set", storage=storage(tmp_path))
    assert [ours[row].members for row in range(24)] == [theirs[row].members for row in range(24)]
    for shard in (folder / "set").glob("*.tar"):
        shard.unlink()  # what was fetched stays in the cache
    again = ShardSet(f"{address}/set", storage=storage(tmp_path))
    assert again[23].members == ours[23].members


def test_remote_tars_of_others_are_indexed_by_a_pattern(
    served: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = served
    make_set(folder / "set", columns=("image", "text"))
    out = tmp_path / "indexed"
    pattern = f"{address}/set/set-{{000000..000002}}.tar"
    assert (
        main(["data", "index", pattern, "--out", str(out), "--cache", str(tmp_path / "cache"), "--workers", "1"]) == 0
    )
    assert "24 rows in 3 shards" in capsys.readouterr().out
    shards = ShardSet(out, storage=storage(tmp_path))
    assert shards[20].key.endswith("row-0020") and shards.manifest.shards[0].path.startswith("http://")


def test_a_shard_that_is_missing_or_changed_at_its_origin_is_named(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    index_set(make_set(folder / "set", columns=("image", "text")))
    shards = ShardSet(f"{address}/set", storage=storage(tmp_path, retries=1))
    (folder / "set/set-000000.tar").unlink()
    with pytest.raises(ShardError, match="set-000000.tar"):
        shards[0]
    changed = folder / "set/set-000001.tar"
    content = bytearray(changed.read_bytes())
    content[700] ^= 1
    changed.write_bytes(bytes(content))
    with pytest.raises(ShardError, match="not what the manifest says"):
        shards[10]
    assert not [path for path in (tmp_path / "cache").iterdir() if "partial" in path.name]
    assert shards[20].key.endswith("row-0020")


def test_the_cache_keeps_to_its_bound_and_drops_the_oldest(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for name in "abc":
        files.pipe(f"/bound/{name}.tar", name.encode() * 1000)
    cache = Cache(storage(tmp_path, cache_bytes=2500))
    paths = [cache.fetch(f"memory://bound/{name}.tar") for name in "abc"]
    assert [path.exists() for path in paths] == [False, True, True]
    with pytest.raises(ShardError, match="larger than the cache"):
        Cache(storage(tmp_path, cache_bytes=500)).fetch("memory://bound/a.tar")


def test_what_is_fetched_is_checked(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/checked/a.tar", b"content")
    (tmp_path / "a").write_bytes(b"content")
    cache = Cache(storage(tmp_path, retries=0))
    path = cache.fetch("memory://checked/a.tar", sha256=file_sha256(tmp_path / "a"), size=7)
    assert path.read_bytes() == b"content"
    for sha256, size in (("0" * 64, 7), (file_sha256(tmp_path / "a"), 8)):
        with pytest.raises(ShardError, match="not what the manifest says"):
            cache.fetch("memory://checked/a.tar", sha256=sha256, size=size)


def test_a_full_disk_is_named_once_there_is_nothing_left_to_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").pipe("/full/a.tar", b"content")
    cache = Cache(storage(tmp_path))
    kept = cache.fetch("memory://full/a.tar")
    copy = Cache._copy
    monkeypatch.setattr(Cache, "_copy", lambda self, url, _: copy(self, url, Path("/dev/full")))
    fsspec.filesystem("memory").pipe("/full/b.tar", b"x" * (1 << 20))
    with pytest.raises(ShardError, match="disk of the cache .* is full"):
        cache.fetch("memory://full/b.tar")
    assert not kept.exists()


def test_failures_are_retried_with_growing_pauses() -> None:
    pauses: list[float] = []
    tries = 0

    def flaky() -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ConnectionError("reset")
        return "content"

    assert retried(Storage(), "x", flaky, sleep=pauses.append) == "content" and pauses == [0.5, 1.0, 2.0]
    tries = -100
    with pytest.raises(ShardError, match="failed 5 times. The last: ConnectionError: reset"):
        retried(Storage(), "x", flaky, sleep=pauses.append)


class Failing(Quiet):
    """Answers so many requests with a failure before it serves."""

    status, failures = 503, 6

    def do_HEAD(self) -> None:  # noqa: N802
        """Fail, or serve."""
        self._or_fail(super().do_HEAD)

    def do_GET(self) -> None:  # noqa: N802
        """Fail, or serve."""
        self._or_fail(super().do_GET)

    def _or_fail(self, serve: Callable[[], None]) -> None:
        kind = type(self)
        kind.failures -= 1
        if kind.failures >= 0:
            self.send_error(kind.status)
        else:
            serve()


@pytest.mark.parametrize(("status", "tries"), [(503, 4), (429, 4), (404, 1), (403, 1)])
def test_a_web_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    status: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(Failing, "failures", 6)  # HEAD and GET of each try
    monkeypatch.setattr(Failing, "status", status)
    pauses: list[float] = []
    handler = functools.partial(Failing, directory=str(tmp_path))
    with serving(handler) as address:
        monkeypatch.setattr(remote, "retried", functools.partial(retried, sleep=pauses.append))
        if tries > 1:
            assert read_remote(f"{address}/file", storage(tmp_path), most_bytes=100) == b"content"
        else:
            with pytest.raises(ShardError, match=r"/file"):
                read_remote(f"{address}/file", storage(tmp_path), most_bytes=100)
    assert len(pauses) == tries - 1


def test_a_server_that_is_down_is_asked_again_and_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"failed 3 times. The last: ClientConnectorError: .*refused|Connect call"):
        read_remote("http://127.0.0.1:9/file", storage(tmp_path, retries=2), most_bytes=100)


@pytest.mark.parametrize(
    "url",
    [
        "pipe:cat /etc/passwd",
        "file:///etc/passwd",
        "memory://x",
        "http::pipe://x",
        "simplecache::http://x/y.tar",
        "ftp://x",
    ],
)
def test_other_schemes_are_never_opened(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "opened", lambda *_: pytest.fail("opened"))
    with pytest.raises(ConfigError, match="may not be opened"):
        check_url(url, Storage())


def test_small_remote_files_have_a_limit(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/small/manifest.json", b"x" * 100)
    assert len(read_remote("memory://small/manifest.json", storage(tmp_path), most_bytes=100)) == 100
    with pytest.raises(ShardError, match="larger than 99 bytes"):
        read_remote("memory://small/manifest.json", storage(tmp_path), most_bytes=99)


def test_indexing_refuses_schemes_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="may not be opened"):
        index_set("ftp://host/x.tar", out=tmp_path, options=IndexOptions(storage=storage(tmp_path)))
