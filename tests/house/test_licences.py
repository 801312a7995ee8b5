"""Whoever installs Flipside gets no GPL or AGPL with it: the licences of all that requirements.lock names."""

import re
from importlib.metadata import Distribution, distribution

import pytest
from packaging.requirements import Requirement

from flipside.schemas import ROOT

#: what a package may say of itself: an SPDX identifier, the end of a classifier, or the line that older ones write
PERMISSIVE = {
    "0BSD", "Apache 2", "Apache 2.0", "Apache Software License", "Apache-2.0", "BSD License", "BSD-2-Clause",
    "BSD-3-Clause", "CC0-1.0", "ISC License (ISCL)", "LLVM-exception", "MIT", "MIT License", "PSF-2.0",
    "Python Software Foundation License", "Repoze Public License", "Zlib",
}  # fmt: skip
#: packages of the lock that are for another system, which this one cannot look into
ELSEWHERE = {"colorama": "BSD-3-Clause; Windows alone"}
#: permissive packages that carry something under the (L)GPL, and why that binds nobody
WITHIN = {
    "numpy": "the libraries that gfortran links: GPL with the runtime library exception, libquadmath LGPL",
    "scipy": "the same libraries as numpy",
    "setuptools": "a copy of autocommand (LGPL-3.0), which Flipside never imports",
}  # fmt: skip
TEXT_OF_GPL = re.compile(r"GNU (?:AFFERO |LESSER |LIBRARY )?GENERAL PUBLIC LICENSE")


def locked() -> list[Requirement]:
    """Every package that an installation gets, with the packages that those need."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[a-z0-9]", line)]


HERE = [found.name for found in locked() if found.marker is None or found.marker.evaluate()]


def licences(package: Distribution) -> set[str]:
    """The licences by which a package names its own: the newest way of naming them comes first."""
    expression = "".join(package.metadata.get_all("License-Expression") or [])
    if expression:
        return set(re.split(r" (?:AND|OR|WITH) ", expression.strip("()")))
    classifiers = package.metadata.get_all("Classifier") or []
    named = {line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")}
    text = "".join(package.metadata.get_all("License") or [])
    return named or {(text or "nothing").splitlines()[0]}


def texts(package: Distribution) -> str:
    """The licence files that came with a package, those of what it carries inside too."""
    files = [file for file in package.files or () if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE)]
    return "\n".join(file.read_text() for file in files if file.suffix not in {".py", ".pyc"})


def test_the_lock_names_many_packages_and_all_for_this_system_are_installed() -> None:
    assert len(HERE) > 40
    assert {found.name for found in locked()} - set(HERE) <= set(ELSEWHERE)


@pytest.mark.parametrize("name", HERE)
def test_a_package_at_run_time_is_under_a_permissive_licence(name: str) -> None:
    named = licences(distribution(name))
    assert named <= PERMISSIVE, f"{name} is under {named - PERMISSIVE}: replace it, or show that it is permissive"


def test_what_is_under_the_gpl_inside_a_permissive_package_is_listed_with_its_reason() -> None:
    assert {name for name in HERE if TEXT_OF_GPL.search(texts(distribution(name)))} == set(WITHIN)
