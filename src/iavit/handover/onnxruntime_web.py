"""onnxruntime-web, which runs ONNX graphs in a browser: fetched from npm once, then kept.

Its 14 MB of WebAssembly would be most of the wheel, for the few who export a page.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from iavit.errors import UserError
from iavit.files import write_bytes

PACKAGE = "onnxruntime-web@1.30.0"
# Name to SHA-256: nothing else is ever put beside a page.
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
SECONDS = 300  # that npm may take for 33 MB


def onnxruntime_web() -> dict[str, bytes]:
    """The files that a page needs, by name; from the cache, or from npm into it.

    Raises `UserError` where they are not in the cache and npm is missing or cannot fetch them.
    """
    folder = cache_folder()
    kept = {name: _read(folder / name) for name in FILES}
    if all(_is_genuine(name, content) for name, content in kept.items()):
        return kept
    fetched = _from_npm(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in fetched.items():
        write_bytes(folder / name, content)
    return fetched


def cache_folder() -> Path:
    """Where the files are kept for the next page."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "iavit" / PACKAGE.replace("@", "-")


def _from_npm(folder: Path) -> dict[str, bytes]:
    by_hand = f"or put {' and '.join(FILES)} of {PACKAGE} into {folder}"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"a web page needs {PACKAGE} and there is no npm to fetch it: "
            f"install Node.js (nodejs.org), {by_hand}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        try:
            done = subprocess.run(
                [npm, "pack", PACKAGE, "--ignore-scripts", "--pack-destination", temporary],
                cwd=temporary,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"npm did not fetch {PACKAGE} within {SECONDS} s; {by_hand}") from error
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            last = " ".join(done.stderr.split()[-20:]) or f"status {done.returncode}"
            raise UserError(f"npm cannot fetch {PACKAGE} ({last}); try again later, {by_hand}")
        fetched = {name: _member(archives[0], f"package/dist/{name}") for name in FILES}
    for name, content in fetched.items():
        if not _is_genuine(name, content):
            raise UserError(f"{name} from npm is not that of {PACKAGE}; check npm's registry")
    return fetched


def _member(archive: Path, name: str) -> bytes:
    """One file's content; nothing is unpacked, so nothing can leave a folder."""
    with tarfile.open(archive) as packed:
        try:
            file = packed.extractfile(name)
        except KeyError:
            return b""
        return b"" if file is None else file.read()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is_genuine(name: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == FILES[name]
