"""Released classifiers and regressors in Hugging Face format, by a system card alone: nothing is learnt here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.transformers_classifier.predictors import TransformersClassifier, TransformersRegressor

__all__ = ["TransformersClassifier", "TransformersRegressor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("adapters.transformers_classifier.predictors"), name)
