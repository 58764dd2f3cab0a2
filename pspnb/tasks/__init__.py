"""The tasks of the paper (section 4): what the encoder sees, what it should return, and with which weights.

The published options differ in places from the paper's text. `weights` holds the published ones, which made the official
checkpoints, `paper_weights` the text's, and `differs` says in words what a reader should know. Book: one chapter a task.
"""

from pspnb.tasks.damaged import LowResolution, Masked
from pspnb.tasks.drawn import Labels, Sketch, Strokes
from pspnb.tasks.published import published_command
from pspnb.tasks.registry import TASKS, task_named
from pspnb.tasks.source import Photograph, Source
from pspnb.tasks.task import Task

__all__ = [
    "TASKS",
    "Labels",
    "LowResolution",
    "Masked",
    "Photograph",
    "Sketch",
    "Source",
    "Strokes",
    "Task",
    "published_command",
    "task_named",
]
