"""A headless Chromium: what a page looks like to a reader, and what it says on its console."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: names under which Debian and others ship it
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """A page after its scripts have run."""

    #: the document as it is then
    dom: str
    #: every line that the page or the browser wrote to the console: warnings too
    console: tuple[str, ...]


def lacking() -> str | None:
    """What keeps this machine from opening a page, or None."""
    return None if executable() else "there is no chromium on the PATH"


def executable() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def see(page: Path, profile: Path, width: int = 1200) -> Seen:
    """Open a file in a browser that reaches no network, and wait until its scripts are done."""
    program = executable()
    assert program, "no Chromium here: `apt-get install chromium`; .ci/run installs it"
    done = subprocess.run(
        [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--hide-scrollbars", "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", f"--window-size={width},3000",
            "--virtual-time-budget=20000", "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Seen(done.stdout, tuple(re.findall(r":CONSOLE[:(].*", done.stderr)))
