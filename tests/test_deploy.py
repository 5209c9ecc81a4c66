"""The files for running the server elsewhere: their commands are ones that exist, and a container gets all that it copies."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from memgpt_rag.cli.serve import serve

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "memgpt-rag.service").read_text(encoding="utf-8")


def commands() -> dict[str, list[str]]:
    docker = [*json.loads(line("ENTRYPOINT", DOCKERFILE)), *json.loads(line("CMD", DOCKERFILE))]
    return {"Dockerfile": docker, "memgpt-rag.service": shlex.split(re.findall(r"ExecStart=(.*)", UNIT)[0])}


def line(instruction: str, text: str) -> str:
    return re.findall(rf"^{instruction} (.*)$", text, flags=re.M)[-1]


@pytest.mark.parametrize("name, command", commands().items())
def test_the_server_is_started_with_options_that_it_has(name, command):
    program, subcommand, *options = command
    assert (Path(program).name, subcommand) == ("memgpt-rag", "serve")
    given = serve.make_context(subcommand, options).params
    assert given["port"] == 8000 and given["files"] is not None
    assert given["host"] == ("0.0.0.0" if name == "Dockerfile" else "127.0.0.1")


def test_a_container_gets_what_it_copies_and_nothing_else():
    copied = {
        name for names in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.M) for name in names.split()
    }
    listed = {name[1:] for name in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if name.startswith("!")}
    assert copied == listed
    assert all((ROOT / name).exists() for name in copied)


def test_volumes_of_the_compose_file_are_those_of_the_image():
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["memgpt-rag"]
    assert {volume.partition(":")[2] for volume in service["volumes"]} == set(json.loads(line("VOLUME", DOCKERFILE)))
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "other machines reach it through a proxy"
    assert line("USER", DOCKERFILE) != "root" and service["read_only"]
