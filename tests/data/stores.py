"""Servers on this machine that answer as Amazon S3, Google Cloud Storage and the Hugging Face hub do, for reading.

They serve the files of a folder, whose first level is buckets (of the hub: owners).  Only what their clients ask for
when a file is read is answered.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REVISION = "0" * 40
WRITTEN = "2026-01-01T00:00:00.000Z"


class Store(http.server.BaseHTTPRequestHandler):
    """Answers one kind of client; others get 404."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, root: Path, asked: list[str]) -> None:
        self.root, self.asked = root, asked
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:  # noqa: N802
        """Answer without a body."""
        self._answer()

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        self._answer()

    def do_POST(self) -> None:  # noqa: N802
        """Answer; the body is a question of the hub's."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes = b"") -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.route(unquote(urlsplit(self.path).path), body)

    def route(self, path: str, body: bytes) -> None:
        """Answer a path."""
        raise NotImplementedError

    def say(self, value: Any, status: int = 200) -> None:
        """Send JSON, or text."""
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send(content, {"Content-Type": "application/json"}, status)

    def send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        """Send bytes, or those of the range that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and status == 200:
            first, last = int(asked[1]), int(asked[2] or len(content))
            headers = {**headers, "Content-Range": f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"}
            content, status = content[first : last + 1], 206
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def file(self, name: str) -> Path | None:
        """A file of the folder."""
        path = self.root / name
        return path if path.is_file() else None


class S3(Store):
    """``GET`` and ``HEAD`` of /BUCKET/KEY, and lists of keys."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a path."""
        found = self.file(path.strip("/"))
        if found is not None:
            facts = {"ETag": '"0"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Accept-Ranges": "bytes"}
            self.send(found.read_bytes(), facts)
        elif "list-type" in parse_qs(urlsplit(self.path).query):
            self.say("<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>")
        else:
            self.say("<Error><Code>NoSuchKey</Code><Message>it is not there</Message></Error>", 404)


class GoogleCloudStorage(Store):
    """Facts and contents of an object, by the JSON interface."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a path."""
        asked = re.fullmatch(r"(/download)?/storage/v1/b/([^/]+)/o/(.+)", path)
        found = self.file(f"{asked[2]}/{asked[3]}") if asked else None
        if asked and found is not None:
            size = found.stat().st_size
            if asked[1] or "alt=media" in self.path:
                self.send(found.read_bytes(), {})
            else:
                facts = {
                    "name": asked[3],
                    "bucket": asked[2],
                    "size": str(size),
                    "updated": WRITTEN,
                    "generation": "1",
                }
                self.say(
                    {**facts, "timeCreated": WRITTEN, "mediaLink": f"http://{self.headers['Host']}/download{path}"}
                )
        elif re.fullmatch(r"/storage/v1/b/[^/]+/o", path):
            self.say({"items": [], "prefixes": []})
        else:
            self.say({"error": {"code": 404, "message": "it is not there"}}, 404)


class HuggingFaceHub(Store):
    """A dataset's facts, its files' facts and their contents."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a path."""
        repository = re.match(r"/(?:api/)?datasets/([^/]+/[^/]+)", path)
        name = repository[1] if repository else ""
        found = None
        if "/resolve/" in path:
            found = self.file(f"{name}/{path.split('/resolve/')[1].split('/', 1)[1]}")
        if found is not None:
            self.send(found.read_bytes(), {"ETag": '"0"', "X-Repo-Commit": REVISION})
        elif "/paths-info/" in path:
            asked = parse_qs(body.decode()).get("paths") or json.loads(body or b"{}").get("paths", [])
            files = [(each, self.file(f"{name}/{each}")) for each in asked]
            self.say([facts(each, file) for each, file in files if file is not None])
        elif "/tree/" in path:
            under = path.split("/tree/")[1].partition("/")[2]
            folder = self.root / name / under
            self.say([facts(f"{under}/{file.name}".strip("/"), file) for file in sorted(folder.glob("*"))])
        elif path.startswith("/api/datasets/") and (self.root / name).is_dir():
            self.say({"id": name, "sha": REVISION, "siblings": [], "private": False, "tags": [], "downloads": 0})
        else:
            self.send(b"{}", {"X-Error-Code": "EntryNotFound"}, 404)


def facts(path: str, file: Path) -> dict[str, Any]:
    """What the hub says of a file."""
    return {"type": "file", "path": path, "size": file.stat().st_size, "oid": "0" * 40}


@contextmanager
def served(kind: type[Store], root: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server for a folder, and what it has been asked for."""
    asked: list[str] = []
    handler = functools.partial(kind, root=root, asked=asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()
