"""Definitions as files: YAML or JSON in, a checked experiment out."""

import json
from pathlib import Path

import yaml

from controller.errors import FlipsideError
from controller.experiment import Experiment
from controller.registration import parse


def read_experiment(file: Path) -> Experiment:
    """Read a definition; raises InvalidExperiment with every broken field, FlipsideError for no document at all."""
    if not file.is_file():
        raise FlipsideError(f"{file} is no file; examples/ has a definition of each design")
    try:
        # YAML knows dates and decimals of its own; the contract's are those of JSON.
        body = yaml.safe_load(file.read_text()) if file.suffix in (".yaml", ".yml") else json.loads(file.read_text())
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FlipsideError(f"{file} cannot be read: {error}") from error
    return parse(json.dumps(body, default=str))
