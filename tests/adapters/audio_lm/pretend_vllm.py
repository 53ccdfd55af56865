"""A stand-in for the Python that has vLLM: takes vLLM's command line and serves the fault server, quickly.

SERBENCH_VLLM_PYTHON=<script written by :func:`write_python`>
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.adapters.audio_lm.fault_server import Faults, FaultServer

ROOT = Path(__file__).parents[3]


def write_python(folder: Path, *, dies: str | None = None) -> Path:
    """Write an executable that behaves like that Python; with ``dies`` it prints this and ends."""
    path = folder / "pretend-python"
    body = (
        f"print({dies!r}); raise SystemExit(3)"
        if dies
        else "from tests.adapters.audio_lm.pretend_vllm import main; main()"
    )
    versions = "import json, os\nif sys.argv[1] == '-c':\n    print(os.environ.get('PRETEND_VERSIONS', json.dumps({'vllm': '0.32.0'}))); raise SystemExit\n"
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{versions}{body}\n")
    path.chmod(0o755)
    return path


def main() -> None:
    """Serve until told to stop; every start leaves a line in PRETEND_STARTS."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m")
    parser.add_argument("--model")
    parser.add_argument("--served-model-name")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    asked, _ = parser.parse_known_args()
    with Path(os.environ["PRETEND_STARTS"]).open("a") as starts:
        starts.write(f"{asked.served_model_name} {os.getpid()}\n")
    faults = Faults(
        models=(asked.served_model_name,), words=lambda body: str(body["structured_outputs"]["choice"][0])
    )
    server = FaultServer(faults)

    async def health(request: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    server.app.router.routes.append(Route("/health", health))
    uvicorn.run(server.app, host=asked.host, port=asked.port, log_level="critical")
