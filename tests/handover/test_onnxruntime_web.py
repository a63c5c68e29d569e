"""The files of onnxruntime-web: fetched by npm, and nothing but the published ones."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from iavit.errors import UserError
from iavit.handover import onnxruntime_web


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "iavit" / "onnxruntime-web-1.30.0"


def test_without_npm(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        UserError, match=r"there is no npm to fetch it: install Node\.js"
    ) as refused:
        onnxruntime_web.onnxruntime_web()
    assert str(no_cache) in str(refused.value)  # where to put the files by hand
    assert not no_cache.exists()


def test_another_file_than_the_published_one_is_refused(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A false npm, which packs a file of its own; and one that cannot reach its registry."""
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\nmkdir -p package/dist\n"
        "echo evil > package/dist/ort.wasm.bundle.min.mjs\n"
        "tar czf onnxruntime-web.tgz package\n"
    )
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(UserError, match=r"from npm is not that of onnxruntime-web@1\.30\.0"):
        onnxruntime_web.onnxruntime_web()
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"cannot fetch onnxruntime-web@1.30.0 \(.*ENOTFOUND\)"):
        onnxruntime_web.onnxruntime_web()
    npm.write_text("#!/bin/sh\necho half > half.tgz\necho 'npm error code EPIPE' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"cannot fetch onnxruntime-web@1.30.0 \(.*EPIPE\)"):
        onnxruntime_web.onnxruntime_web()
    npm.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(UserError, match=r"cannot fetch onnxruntime-web@1.30.0 \(status 0\)"):
        onnxruntime_web.onnxruntime_web()
    assert not no_cache.exists()


def test_what_was_fetched_is_kept_whole_for_the_next_page(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = {"a.mjs": b"a module", "b.wasm": b"a program"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(onnxruntime_web, "FILES", digests)
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\nmkdir -p package/dist\nprintf 'a module' > package/dist/a.mjs\n"
        "printf 'a program' > package/dist/b.wasm\ntar czf onnxruntime-web.tgz package\n"
    )
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    assert onnxruntime_web.onnxruntime_web() == content
    assert {path.name: path.read_bytes() for path in no_cache.iterdir()} == content
    monkeypatch.setattr(shutil, "which", lambda name: pytest.fail("fetched again"))
    assert onnxruntime_web.onnxruntime_web() == content
    (no_cache / "a.mjs").write_bytes(b"something else")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is no npm"):
        onnxruntime_web.onnxruntime_web()


def test_files_are_kept_where_a_system_keeps_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for cache in (None, ""):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if cache is not None:
            monkeypatch.setenv("XDG_CACHE_HOME", cache)
        expected = tmp_path / ".cache" / "iavit" / "onnxruntime-web-1.30.0"
        assert onnxruntime_web.cache_folder() == expected


def test_npm_is_waited_for_and_runs_no_script_of_a_package(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(command: list[str], *, timeout: float, cwd: str, **options: object) -> None:
        package, folder = "onnxruntime-web@1.30.0", cwd
        assert command == ["npm", "pack", package, "--ignore-scripts", "--pack-destination", folder]
        assert Path(cwd).is_dir()
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(UserError) as refused:
        onnxruntime_web.onnxruntime_web()
    assert str(refused.value) == (
        "npm did not fetch onnxruntime-web@1.30.0 within 300 s; or put ort.wasm.bundle.min.mjs "
        f"and ort-wasm-simd-threaded.wasm of onnxruntime-web@1.30.0 into {no_cache}"
    )


def test_a_file_of_the_cache_is_replaced_where_it_is_another(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"a.mjs": b"a module"}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(onnxruntime_web, "FILES", digests)
    monkeypatch.setattr(onnxruntime_web, "_from_npm", lambda folder: content)
    no_cache.mkdir(parents=True)
    (no_cache / "a.mjs").write_bytes(b"something else")
    assert onnxruntime_web.onnxruntime_web() == content
    assert (no_cache / "a.mjs").read_bytes() == b"a module"
