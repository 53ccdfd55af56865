"""Tasks: one corpus in one language, decoded, with folds, ready to be fitted, predicted and scored."""

from bench.task.building import build_task, split_speakers
from bench.task.definition import Task
from bench.task.names import VARIANTS, match_tasks, split_task_name
from bench.task.opening import CorpusTable, decode_missing, open_table
from bench.task.splitting import recheck

__all__ = [
    "VARIANTS",
    "CorpusTable",
    "Task",
    "build_task",
    "decode_missing",
    "match_tasks",
    "open_table",
    "recheck",
    "split_speakers",
    "split_task_name",
]
