"""Tasks: one corpus in one language, decoded, with folds, ready to be fitted, predicted and scored."""

from bench.task.building import build_task, split_speakers
from bench.task.definition import Task
from bench.task.names import VARIANTS, match_tasks, split_task_name
from bench.task.splitting import recheck

__all__ = [
    "VARIANTS",
    "Task",
    "build_task",
    "match_tasks",
    "recheck",
    "split_speakers",
    "split_task_name",
]
