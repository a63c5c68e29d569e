"""A stand-in for the hub's HTTP API: repositories, commits and files, held in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Hub:
    """repositories: name to file to content. private: those that were made so.

    requests: what was asked, in order.
    """

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def revision(self, repository: str) -> str:
        """A commit's hash: of the names and contents."""
        files = self.repositories[repository]
        whole = b"".join(name.encode() + files[name] for name in sorted(files))
        return hashlib.sha1(whole).hexdigest()


def _oid(content: bytes) -> str:
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._get(body=False)

        def do_GET(self) -> None:
            self._get(body=True)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            hub.requests.append(f"POST {path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._json({"error": "Invalid username or password."}, 401)
            elif path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked.get('organization', 'owner')}/{asked['name']}"
                known = name in hub.repositories
                hub.repositories.setdefault(name, {})
                if asked.get("private") or asked.get("visibility") == "private":
                    hub.private.add(name)
                self._json({"url": f"{hub.address}/{name}", "name": name}, 409 if known else 200)
            elif path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = json.loads(content)["files"]
                self._json(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                            for f in files
                        ]
                    }
                )
            elif "/commit/" in path:
                name = "/".join(path.split("/")[3:5])
                for line in content.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        value = entry["value"]
                        hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
                revision = hub.revision(name)
                self._json(
                    {"commitUrl": f"{hub.address}/{name}/commit/{revision}", "commitOid": revision}
                )
            else:
                self._json({"error": "not here"}, 404)

        def _get(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            hub.requests.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if path == "/":
                self._json({})
            elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in hub.repositories:
                name = "/".join(parts[2:4])
                if parts[4:5] == ["tree"]:
                    self._json(
                        [
                            {
                                "type": "file",
                                "path": file,
                                "size": len(content),
                                "oid": _oid(content),
                            }
                            for file, content in hub.repositories[name].items()
                        ]
                    )
                    return
                files = [{"rfilename": file} for file in hub.repositories[name]]
                self._json({"id": name, "sha": hub.revision(name), "siblings": files, "tags": []})
            elif parts[2:3] == ["resolve"] and "/".join(parts[:2]) in hub.repositories:
                name, file = "/".join(parts[:2]), "/".join(parts[4:])
                content = hub.repositories[name].get(file)
                if content is None:
                    self._json({"error": "Entry not found"}, 404, "EntryNotFound")
                else:
                    self._answer(content, 200, hub.revision(name), body=body)
            else:
                self._json({"error": "Repository not found"}, 404, "RepoNotFound")

        def _json(self, value: object, status: int = 200, code: str = "") -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _answer(self, content: bytes, status: int, revision: str, *, body: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{_oid(content)}"')
            self.send_header("X-Repo-Commit", revision)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
