"""A whole photograph before and after, for the page: restored by each network, with a close-up of its best face."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..runtime.faces.align import invert, transform_points
from ..runtime.faces.detect import Detector
from ..runtime.images import Photo, to_uint8
from ..runtime.options import PhotoOptions
from ..runtime.photo import PhotoResult, RestoredFace, restore_photo
from ..runtime.restorer import Restorer
from .faces_set import Pixels
from .report import BeforeAfter

_UNGUARDED = PhotoOptions(guard=None, hidden="ignore")


def restore_with_all(photo: Photo, restorers: Mapping[str, Restorer], detector: Detector) -> dict[str, PhotoResult]:
    """Restore a photograph with each restorer, and show what each does by itself: nothing guards or weakens it.

    Args:
        photo: any depth.
        restorers: label -> restorer.
        detector: finds the faces, afresh for each.
    """
    return {label: restore_photo(photo, restorer, detector, _UNGUARDED) for label, restorer in restorers.items()}


def show_photo(
    photo: Photo, results: Mapping[str, PhotoResult], about: str, original: Pixels | None = None
) -> BeforeAfter:
    """Put a photograph and its restorations side by side.

    Args:
        photo: what was given.
        results: label -> what became of it; the first is the one that the page's wipe shows.
        about: what the photograph is, as a sentence.
        original: what it was before it aged, same height and width; None where nobody knows.
    """
    before = to_uint8(photo.rgb)
    after = {label: to_uint8(result.photo.rgb) for label, result in results.items()}
    faces = next(iter(results.values())).faces
    count = f"{len(faces)} face{'s were' if len(faces) > 1 else ' was'} found and restored"
    said = f"{count}; every pixel outside the soft mask is untouched." if faces else "No face was found in it."
    close_up = region_of_crop(faces[0], before.shape[:2]) if faces else None
    return BeforeAfter(before, after, f"{about} {said}", close_up, original)


def region_of_crop(face: RestoredFace, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Where a face's aligned crop lies in its photograph: left, top, width, height in whole pixels, inside the picture.

    Args:
        face: a restored face.
        shape: height and width of the photograph.
    """
    side = face.given.shape[0] - 1.0
    corners = transform_points(invert(face.matrix), np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float64))
    corners = corners.round(3)  # so that rounding noise does not cost a pixel
    limit = np.array(shape[1::-1])
    low = np.clip(np.floor(corners.min(0)), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, low + 1, limit).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
