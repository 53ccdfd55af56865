"""Which clips are trained, chosen and tested on: one corpus in one language, decoded, with folds, ready to be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.tasks.building import build_task as build_task
    from bench.tasks.building import split_speakers as split_speakers
    from bench.tasks.folds import Fold as Fold
    from bench.tasks.names import VARIANTS as VARIANTS
    from bench.tasks.names import match_tasks as match_tasks
    from bench.tasks.names import split_task_name as split_task_name
    from bench.tasks.splits import recheck as recheck
    from bench.tasks.task import Task as Task
    from bench.tasks.training_data import TrainingData as TrainingData

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "building": ["build_task", "split_speakers"],
        "folds": ["Fold"],
        "names": ["VARIANTS", "match_tasks", "split_task_name"],
        "splits": ["recheck"],
        "task": ["Task"],
        "training_data": ["TrainingData"],
    },
)
