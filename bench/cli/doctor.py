"""``serbench doctor``: what is installed, which GPUs, which data, what is missing and the command that mends it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from bench.cli import doctor_checks, doctor_systems
from bench.cli.doctor_checks import ImportProbe, run_probe
from bench.cli.findings import Finding, State
from bench.cli.printing import console, print_json

S3PRL = ImportProbe(
    "s3prl",
    "from importlib.metadata import version; from adapters.s3prl_upstream.compat import import_s3prl; "
    "names = import_s3prl().S3PRLUpstream.available_names(); print(f's3prl {version(\"s3prl\")}, {len(names)} upstreams')",
    "pip install 's3prl==0.4.18' 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'",
)
QUICK_SECONDS = 4.0
"""How old this process may become while it waits for torch to be imported, unless it is asked to look at everything."""
LEAST_WAIT = 1.0
AREAS = ("python", "imports", "machine", "data", "weights", "systems")
HEADINGS: dict[State, tuple[str, str]] = {
    "wrong": ("wrong, until mended", "bold red"),
    "unseen": ("not seen", "yellow"),
    "missing": ("missing, and optional", "yellow"),
    "ok": ("fine", "green"),
}
"""In the order in which they are told."""


def diagnose(data: Sequence[Path], *, thorough: bool, as_json: bool) -> int:
    """Diagnose this installation.

    Args:
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        thorough: import everything, resolve every system as a run does, and name each.
        as_json: print JSON, every system among it.

    Returns:
        The exit code: 1 when something is broken, not when something optional is missing.
    """
    findings = diagnose_all(data, thorough=thorough)
    if as_json:
        print_json([f.as_json() for f in findings])
    else:
        _print(findings, findings if thorough else summed_up(findings))
    return 1 if any(f.state == "wrong" for f in findings) else 0


def _print(findings: Sequence[Finding], told: Sequence[Finding]) -> None:
    """Print how many things are in which state, then those told: what is wrong before what is optional."""
    counts = {s: sum(f.state == s for f in findings) for s in HEADINGS}
    out = console()
    beyond = f", {counts['unseen']} not seen" if counts["unseen"] else ""
    out.print(
        f"{len(findings)} looked at: {counts['wrong']} wrong, {counts['missing']} missing (optional){beyond}",
        style="bold red" if counts["wrong"] else "bold green",
    )
    width = max(len(f.name) for f in told)
    for state, (heading, style) in HEADINGS.items():
        part = [f for f in told if f.state == state]
        if part:
            out.print(heading, style=style)
        for finding in part:
            out.print(f"  {finding.name:<{width}}  {finding.found}", soft_wrap=True, markup=False)
            if finding.mend:
                out.print(f"{'':{width + 4}}→ {finding.mend}", soft_wrap=True, markup=False)


def diagnose_all(data: Sequence[Path], *, thorough: bool) -> list[Finding]:
    """Look at everything.

    Args:
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        thorough: wait for all imports, and resolve every system as a run does; else torch is waited for a few seconds, and systems
            are only looked for.

    Returns:
        What was found, area by area.
    """
    probes = [doctor_checks.torch_probe()]
    if thorough:
        probes += [*doctor_systems.adapter_probes(), S3PRL]
    limit = doctor_checks.PROBE_SECONDS if thorough else max(LEAST_WAIT, QUICK_SECONDS - _age())
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = [pool.submit(run_probe, p, limit=limit, patient=thorough) for p in probes]
        quick = [
            *doctor_checks.python_and_packages(),
            *doctor_checks.name_clashes(),
            *doctor_checks.machine(),
            *doctor_checks.cache(),
            *doctor_checks.corpora(data),
            *doctor_systems.weights(),
            *doctor_systems.find_systems(thorough=thorough),
        ]
        imports = [f.result() for f in running]
    return sorted([*quick, *imports, *doctor_checks.gpus(imports)], key=lambda f: AREAS.index(f.area))


def _age() -> float:
    """Seconds since this process began."""
    return max(0.0, time.time() - psutil.Process().create_time())


def summed_up(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with one line for all systems that can run, and one for all that lack something."""
    told, sums = [], dict[State, list[Finding]]()
    for finding in findings:
        if finding.area == "systems" and finding.state != "wrong":
            sums.setdefault(finding.state, []).append(finding)
        else:
            told.append(finding)
    for state, part in sums.items():
        if state == "ok":
            told.append(Finding("systems", "systems", state, f"{len(part)} can run here"))
            continue
        servers = sum(f.found.startswith("needs a server") for f in part)
        found = (
            f"{len(part)} cannot run here: {servers} for want of a server, {len(part) - servers} of weights"
        )
        told.append(Finding("systems", "systems", state, found, "serbench doctor --systems"))
    return told
