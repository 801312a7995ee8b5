"""docker-compose.yml and the image: pinned, on loopback, and in settings that exist."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from flipside.schemas import ROOT
from streams.runtime.settings import Settings

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PINNED = re.compile(r"^[a-z/]+:\d+\.\d+\.\d+(-[a-z-]+)?$")


def variables(service: str) -> dict[str, str]:
    given = SERVICES[service].get("environment", {})
    return {name: value for name, value in given.items() if name.startswith("FLIPSIDE_")}


def test_every_variable_is_a_setting() -> None:
    settings = {f"FLIPSIDE_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"FLIPSIDE_[A-Z_]+", TEXT))
    assert named
    assert named <= settings, f"docker-compose.yml sets {sorted(named - settings)}, which no setting reads"


@pytest.mark.parametrize("service", [name for name in SERVICES if variables(name)])
def test_the_settings_of_a_service_are_valid(service: str) -> None:
    values = {name.removeprefix("FLIPSIDE_").lower(): value for name, value in variables(service).items()}
    assert Settings.model_validate_strings(values).kafka == "kafka:19092"


def test_images_are_pinned_to_the_patch() -> None:
    images = {service["image"] for service in SERVICES.values()} | set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert all(PINNED.match(image) for image in images), images


def test_ports_are_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_keeps_running_is_watched() -> None:
    watched = {name for name, service in SERVICES.items() if service.get("healthcheck", {}).get("test")}
    assert watched == set(SERVICES) - {"topics"}


def test_the_broker_is_the_one_that_the_tests_run_on() -> None:
    version = re.search(r"<kafka.version>([^<]+)<", (ROOT / "deploy" / "kafka" / "pom.xml").read_text())
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_redis_writes_its_file() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_image_is_not_run_by_root_and_installs_by_hash() -> None:
    assert re.search(r"^USER \d+$", DOCKERFILE, re.M)
    installs = re.findall(r"pip install .*?(?: -r (\S+)|$)", DOCKERFILE, re.M)
    assert [lock for lock in installs if lock] == ["requirements-uv.lock", "requirements.lock"]
    assert DOCKERFILE.count("--require-hashes") == 2


def test_what_the_image_copies_is_not_left_out_of_its_context() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {path for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for path in line.split()}
    assert copied == admitted
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.docker_compose
def test_docker_compose_finds_nothing_to_complain_of() -> None:
    done = subprocess.run(["docker-compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
