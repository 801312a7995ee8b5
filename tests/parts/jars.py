"""The broker's jars: fetched once by Maven, kept in the user's cache folder, shared by all checkouts.

``python -m tests.parts.class_archive`` fetches them ahead of time and says where they are.
"""

import contextlib
import fcntl
import functools
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from streams.runtime import settings

POM = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "pom.xml"
GOAL = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
FETCH_SECONDS = 900
OLDEST_JAVA = 17


def cache_folder() -> Path:
    """Where the jars of this very pom lie, or will lie."""
    recipe = POM.read_bytes()
    version = re.search(rb"<kafka.version>([^<]+)<", recipe)
    assert version is not None, f"{POM} names no kafka.version"
    users = settings.cache_folder()
    assert users is not None, "no HOME is set, and nobody knows this user: set XDG_CACHE_HOME"
    return users / f"kafka-{version[1].decode()}-{hashlib.sha256(recipe).hexdigest()[:8]}"


def lacking() -> str | None:
    """What this machine lacks to run the broker, said so that its owner can mend it; None where nothing."""
    found = java_version()
    if found is None:
        return "there is no java on the PATH (version 17 or newer)"
    if found < OLDEST_JAVA:
        return f"java is version {found}, and Kafka 4 needs {OLDEST_JAVA} or newer"
    if not cache_folder().is_dir() and shutil.which("mvn") is None:
        return "there is no mvn on the PATH to fetch the broker's jars with"
    return None


def java_version() -> int | None:
    """Major version of the java on the PATH."""
    if shutil.which("java") is None:
        return None
    version = re.search(r'version "(?:1\.)?(\d+)', _java_names_itself())
    return int(version[1]) if version else None


@functools.cache
def _java_names_itself() -> str:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    return said.stderr + said.stdout


def class_archive() -> Path:
    """Where this very java's archive of their classes lies, or will lie; see `tests.parts.class_archive`."""
    java = hashlib.sha256(_java_names_itself().encode()).hexdigest()[:8]
    return cache_folder().with_name(f"{cache_folder().name}-java-{java}.jsa")


def class_sharing() -> tuple[str, ...]:
    """Java's option to map the archive of classes, where there is one."""
    archive = class_archive()
    return (f"-XX:SharedArchiveFile={archive}",) if archive.is_file() else ()


def jars() -> Path:
    """The folder of jars, filled first where it is not there yet; two that fill it at once do not clash."""
    folder = cache_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Maven's own folder bears only one writer
        if not folder.is_dir():
            _fill(folder)
    return folder


def _fill(folder: Path) -> None:
    """Fetch into a folder beside it and rename, so that it is there whole or not at all."""
    print(f"fetching the jars of {folder.name} (54 MB, once) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as scratch:
        # A copy of the pom, because Maven writes beside the one it reads.
        shutil.copy(POM, scratch)
        target = Path(scratch) / "jars"
        command = ["mvn", "--quiet", "--batch-mode", *GOAL, f"-DoutputDirectory={target}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise RuntimeError(f"Maven could not fetch the broker's jars ({' '.join(command)}):\n{tail}")
        with contextlib.suppress(FileExistsError):
            target.rename(folder)
