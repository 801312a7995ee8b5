"""Vega for a page without a network: one script with all that draws the charts, the same for all pages.

To bundle it takes seconds, during which Python stands still, and gives the same bytes each time. It is done once, by
another process while the page is made, and kept in a folder.
"""

import contextlib
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

EMBED = "window.embed = vegaEmbed;"
BUNDLE = f"import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle({EMBED!r}).encode())"
#: of a kept script, before the script itself
DIGEST = 64


@contextmanager
def bundled(folder: Path | None = None) -> Iterator[Callable[[], str]]:
    """Vega is being made ready for as long as this is held; what is given waits for it.

    ``folder``: where it is kept once it was made; it need not exist, and nothing depends on it but the time.
    """
    path = None if folder is None else place(folder)
    kept = None if path is None else _read(path)
    if kept is not None:
        yield lambda: kept
        return
    with subprocess.Popen([sys.executable, "-c", BUNDLE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield lambda: _finished(process, path)
        finally:
            process.kill()


def place(folder: Path) -> Path:
    """Where the script of this very version is kept, or will be."""
    recipe = hashlib.sha256(BUNDLE.encode()).hexdigest()[:8]
    return folder / f"vega-{version('vl-convert-python')}-{recipe}.js"


def _finished(process: "subprocess.Popen[bytes]", path: Path | None) -> str:
    code = process.communicate()[0].decode()
    if process.returncode:  # no second process here: then this one
        import vl_convert

        code = vl_convert.javascript_bundle(EMBED)
    if path is not None:
        _keep(path, code)
    return code


def _read(path: Path) -> str | None:
    """The kept script; None where there is none that is whole."""
    try:
        digest, code = (whole := path.read_bytes())[:DIGEST], whole[DIGEST:]
    except OSError:
        return None
    return code.decode() if hashlib.sha256(code).hexdigest().encode() == digest else None


def _keep(path: Path, code: str) -> None:
    """There whole or not at all; a folder that cannot be written to costs the next page its seconds, no more."""
    spelled = code.encode()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as beside:
            try:
                beside.write(hashlib.sha256(spelled).hexdigest().encode() + spelled)
                beside.close()
                Path(beside.name).replace(path)
            finally:
                Path(beside.name).unlink(missing_ok=True)
