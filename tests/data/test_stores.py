"""Sets at s3://, gs:// and hf:// are read as local ones, by those stores' clients from servers of this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmcontrast.data.indexing import index_set
from mmcontrast.data.shards import ShardSet
from tests.data.stores import S3, GoogleCloudStorage, HuggingFaceHub, Store, served
from tests.fixtures import make_set

READ = """
import hashlib, sys
from mmcontrast.data.shards import ShardSet
from mmcontrast.data.storage import Storage
from mmcontrast.errors import MMContrastError
from pathlib import Path
try:
    shards = ShardSet(sys.argv[1], storage=Storage(cache=Path(sys.argv[2]), retries=1, backoff_seconds=0))
    rows = [(shards[row].key, sorted(shards[row].members.items())) for row in range(len(shards))]
    print(hashlib.sha256(repr(rows).encode()).hexdigest())
except MMContrastError as error:
    print(type(error).__name__, error)
"""


@dataclass(frozen=True)
class Kind:
    """One kind of store."""

    client: str  # package
    server: type[Store]
    url: str  # of the folder "team/sets/" of what is served
    settings: Callable[[str], dict[str, str]]  # address -> environment of the client


KINDS = {
    "s3": Kind(
        "s3fs",
        S3,
        "s3://team/sets/",
        lambda address: {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    ),
    "gs": Kind(
        "gcsfs",
        GoogleCloudStorage,
        "gs://team/sets/",
        lambda address: {"STORAGE_EMULATOR_HOST": address},
    ),
    "hf": Kind(
        "huggingface_hub",
        HuggingFaceHub,
        "hf://datasets/team/sets/",
        lambda address: {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"},
    ),
}


def read(kind: Kind, address: str, name: str, cache: Path) -> str:
    """What a process of its own reads: these clients keep their settings from their first import on."""
    environment = {**os.environ, **kind.settings(address), "HF_HOME": str(cache / "hub"), "NO_PROXY": "*"}
    command = [sys.executable, "-c", READ, kind.url + name, str(cache)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_set_in_a_store_reads_as_the_local_one(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    pytest.importorskip(kind.client)
    folder = tmp_path / "served/team/sets"
    local = make_set(folder / "set", columns=("image", "text"))
    index_set(local)
    shards = ShardSet(local)
    rows = [(shards[row].key, sorted(shards[row].members.items())) for row in range(24)]
    expected = hashlib.sha256(repr(rows).encode()).hexdigest()
    with served(kind.server, tmp_path / "served") as (address, asked):
        assert read(kind, address, "set", tmp_path / "cache") == expected
        assert sum("000001.tar" in each for each in asked) >= 1
        assert read(kind, address, "no-such-set", tmp_path / "cache").startswith("ShardError")
        (folder / "set/set-000001.tar").unlink()
        assert read(kind, address, "set", tmp_path / "cache") == expected  # what was fetched stays in the cache
        said = read(kind, address, "set", tmp_path / "another")
        assert said.startswith("ShardError") and "set-000001.tar" in said
        changed = folder / "set/set-000002.tar"
        changed.write_bytes(changed.read_bytes()[:-1] + b"x")
        (folder / "set/set-000001.tar").write_bytes(b"")
        said = read(kind, address, "set", tmp_path / "third")
        assert "not what the manifest says" in said
