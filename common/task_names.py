"""What is learnt, by name, and what each is judged by; nothing heavy is needed to speak of it."""

from typing import Literal

Task = Literal["classification", "segmentation"]
"""What is learnt: one class an image, or one class a pixel."""
SCORES: dict[Task, str] = {"classification": "accuracy", "segmentation": "dice"}
"""What each task is judged by; a fraction in [0, 1] either way."""
