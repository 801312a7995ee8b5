"""An authority of our own and a certificate for 127.0.0.1, made with openssl for one test run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files lie."""

    authority: Path
    key: Path
    certificate: Path
    #: both in one file, as Kafka wants them
    key_and_certificate: Path


def make_certificates(folder: Path) -> Certificates:
    """Write them into a folder; they are good for a day."""

    def openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    made = Certificates(*(folder / name for name in ("authority.pem", "key.pem", "certificate.pem", "both.pem")))
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(
        "req", "-x509", *KEY, "-keyout", "authority.key", "-out", made.authority, "-days", "1", "-subj", "/CN=tests"
    )
    openssl("req", *KEY, "-keyout", made.key, "-out", "request.pem", "-subj", "/CN=127.0.0.1")
    signing = ("-CA", made.authority, "-CAkey", "authority.key", "-CAcreateserial", "-days", "1", "-extfile", names)
    openssl("x509", "-req", "-in", "request.pem", *signing, "-out", made.certificate)
    made.key_and_certificate.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    return made
