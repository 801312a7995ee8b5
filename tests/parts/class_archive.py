"""The broker's classes, loaded and verified once: a broker that maps them computes half as much until it answers.

``python -m tests.parts.class_archive`` fetches the broker's jars, archives the classes that a broker has loaded when it
ends (class data sharing of Java), and says where both are: in the user's cache folder. What is there is not made again.
"""

import sys
import tempfile
from pathlib import Path

from controller.errors import CannotStart
from tests.parts import jars
from tests.parts.kafka import SHORT_LIVED, Kafka

#: a broker that ends, and writes 50 MB, on a machine that has other things to do
END_SECONDS = 120.0


def archived() -> Path:
    """The file of classes, made first where it is not there yet; two that make it at once do not clash."""
    archive = jars.class_archive()
    if not archive.is_file():
        with tempfile.TemporaryDirectory(prefix=f"{archive.name}.", dir=archive.parent) as folder:
            made = Path(folder) / archive.name
            with Kafka(jvm=(*SHORT_LIVED, f"-XX:ArchiveClassesAtExit={made}")) as kafka:
                kafka.stop(timeout=END_SECONDS)
            made.rename(archive)
    return archive


if __name__ == "__main__":
    missing = jars.lacking()
    if missing:
        sys.exit(f"cannot fetch the broker: {missing}")
    try:
        print(jars.jars(), archived(), sep="\n")
    except (RuntimeError, CannotStart, OSError) as error:
        sys.exit(str(error))
