"""The weights that PocketFace ships; LICENCES.md says where each comes from and under which terms."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError

SHIPPED = {
    "student-nano": "student_nano.safetensors",
    "student-base": "student_base.safetensors",
    "student-plus": "student_plus.safetensors",
    "student-nano-tflite": "student_nano_256_fp16.tflite",
    "student-base-tflite": "student_base_256_fp16.tflite",
    "student-plus-tflite": "student_plus_256_fp16.tflite",
    "teacher": "teacher.safetensors",
    "teacher-detail": "teacher_detail.safetensors",
    "identity": "identity.safetensors",
}
# What restores where nobody chose: it runs on the base install, without torch.
DEFAULT_RESTORER = "student-base-tflite"


def shipped_path(name: str) -> Path:
    """Return the file of a shipped network.

    Raises:
        InputError: no network of that name is shipped.
    """
    if name not in SHIPPED:
        raise InputError(f"one of {', '.join(SHIPPED)}", f"'{name}'", "or give the path of a file")
    return Path(__file__).parent / SHIPPED[name]


def find_checkpoint(name: str) -> Path:
    """Return the file that a name or path means: shipped names first, anything else is a path."""
    return shipped_path(name) if name in SHIPPED else Path(name)
