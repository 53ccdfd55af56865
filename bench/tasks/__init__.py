"""Tasks: one corpus in one language, decoded, with folds, ready to be fitted, predicted and scored."""

from bench.tasks.building import build_task, split_speakers
from bench.tasks.names import VARIANTS, match_tasks, split_task_name
from bench.tasks.splits import recheck
from bench.tasks.task import Task

__all__ = [
    "VARIANTS",
    "Task",
    "build_task",
    "match_tasks",
    "recheck",
    "split_speakers",
    "split_task_name",
]
