"""A family of systems is one package or module; what it rests on of another is covered by its code hash."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import adapters
import bench
from bench.storage.source_code import closure

ROOT = Path(adapters.__file__).parent
ARROWS = {
    ("meralion_ser", "transformers_encoder"),
    ("s3prl_upstream", "transformers_encoder"),
    ("audio_lm", "meralion_ser"),
    ("transformers_classifier", "meralion_ser"),
    ("transformers_classifier", "transformers_encoder"),
}
"""Three use frozen encoders; released classifiers answer by the released model's rules; what trains an Audio-LLM uses the kinds of settings and the training state of the proposed model."""


def family(module: str) -> str:
    """Second part of ``adapters.family.…``; "" for ``adapters`` itself."""
    return module.partition(".")[2].partition(".")[0]


def test_no_family_imports_another_but_for_those_that_are_named() -> None:
    files = [path.relative_to(ROOT.parent).with_suffix("") for path in ROOT.rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files} - {"adapters"}
    arrows = {(family(module), family(imported)) for module in modules for imported in closure(module)}
    assert {(own, other) for own, other in arrows if other not in ("", own)} == ARROWS


def test_no_adapters_class_has_the_name_of_another_class() -> None:
    names = {
        root: Counter(
            node.name
            for path in root.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef)
        )
        for root in (ROOT, Path(bench.__file__).parent)
    }
    own, others = names.values()
    assert [name for name, count in (own + others).items() if count > 1 and name in own] == []
