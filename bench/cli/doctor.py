"""``serbench doctor``: what is installed, which GPUs, which data, what is missing and the command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.cli.doctor_checks import ImportProbe, diagnose_all
from bench.cli.printing import console, print_json

S3PRL = ImportProbe(
    "s3prl",
    "from importlib.metadata import version; from adapters.s3prl_upstream.compat import import_s3prl; "
    "names = import_s3prl().S3PRLUpstream.available_names(); print(f's3prl {version(\"s3prl\")}, {len(names)} upstreams')",
    "pip install 's3prl==0.4.18' 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'",
)
STYLES = {"ok": "green", "missing": "yellow", "wrong": "bold red"}


def diagnose(data: Sequence[Path], *, as_json: bool) -> int:
    """Diagnose this installation; returns the exit code: 1 when something is broken, not when something optional is missing."""
    findings = diagnose_all(data, [S3PRL])
    broken = sum(f.state == "wrong" for f in findings)
    if as_json:
        print_json([f.as_json() for f in findings])
        return 1 if broken else 0
    out = console()
    width = max(len(f.name) for f in findings)
    for area, part in groupby(findings, key=lambda f: f.area):
        out.print(area, style="bold")
        for finding in part:
            out.print(f"  {finding.state:<8}", style=STYLES[finding.state], end="")
            out.print(f"{finding.name:<{width}}  {finding.found}", soft_wrap=True, markup=False)
            if finding.mend:
                out.print(f"{'':10}{'':{width}}  → {finding.mend}", soft_wrap=True, markup=False)
    missing = sum(f.state == "missing" for f in findings)
    out.print(f"{len(findings)} looked at: {broken} wrong, {missing} missing (optional)")
    return 1 if broken else 0
