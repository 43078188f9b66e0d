"""CMYK photographs: shown as sRGB while they are worked on, and inked again only where that was changed.

Many mixtures of four inks show one colour. What a restorer leaves alone therefore keeps its very inks, and what it
changes gets the change of inks that the profile gives for the change of colour, on top of the inks that were there: an
edge between the two does not show, whatever separation the photograph was made with.

Convention: inks are (H, W, 4) uint8, cyan, magenta, yellow, black, 0 for none and 255 for all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .errors import ImageError, OutputError

Bytes: TypeAlias = NDArray[np.uint8]
_ROWS = 256  # at a time, so that a large scan needs no third copy
_CLOSED = 9  # pixels: see `Ink.private`
# As photo editors do by default; of the intents and flags tried it serves best for adding changes and for inking afresh
# (docs/photos.md).
_INTENT, _FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION


@dataclass(frozen=True, eq=False)
class Ink:
    """What a CMYK file holds.

    Args:
        pixels: the inks, (H, W, 4) uint8.
        icc: profile that says how they look; None means by subtraction, as browsers show such files.
        private: nothing of the old inks may be left where the colour was changed, because it was changed to hide what
            they showed.
    """

    pixels: Bytes
    icc: bytes | None = None
    private: bool = False

    @cached_property
    def _way(self) -> _BySubtraction | _ByProfile:
        return _BySubtraction() if self.icc is None else _ByProfile(self.icc)

    def shown(self) -> Bytes:
        """The colours that the inks show, (H, W, 3) sRGB.

        Raises:
            ImageError: the profile is damaged or not one for CMYK.
        """
        rgb = np.empty((*self.pixels.shape[:2], 3), np.uint8)
        for rows in _bands(len(rgb)):
            rgb[rows] = self._way.show(self.pixels[rows])
        return rgb

    def check_return(self) -> None:
        """Make sure that colours can be inked again.

        Raises:
            OutputError: the profile only leads from inks to colours.
        """
        self._way.check_return()

    def showing(self, rgb: Bytes) -> Bytes:
        """Inks that show other colours; where the colour is what it was, the very inks that were there.

        Args:
            rgb: (H, W, 3) sRGB of the same size.

        Raises:
            OutputError: as `check_return`.
        """
        inks = self.pixels.copy()
        for rows in _bands(len(inks)):
            before, after = self._way.show(inks[rows]), rgb[rows]
            changed = self._changed(before, after)
            if changed.any():
                there = None if self.private else inks[rows][changed]
                inks[rows][changed] = self._way.ink(there, before[changed], after[changed])
        return inks

    def _changed(self, before: Bytes, after: Bytes) -> NDArray[np.bool_]:
        changed = (before != after).any(axis=2)
        if self.private:  # pixels inside what was hidden whose colour is the same by chance
            square = np.ones((_CLOSED, _CLOSED), np.uint8)
            changed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, square) > 0
        return changed


class _BySubtraction:
    """Each ink swallows its share of one primary, black of all three: an arithmetic that can be undone exactly."""

    def show(self, inks: Bytes) -> Bytes:
        """Colours (..., 3) of inks (..., 4)."""
        light = 255 - inks[..., 3:].astype(np.int32)
        return (light - _quotient(inks[..., :3] * light, 255)).astype(np.uint8)

    def check_return(self) -> None:
        """There always is one."""

    def ink(self, inks: Bytes | None, old: Bytes, new: Bytes) -> Bytes:  # noqa: ARG002 - the other way needs it
        """Ink colours; with as much black as before where the colour allows it.

        Args:
            inks: (N, 4) that were there; None for as much black as the colours allow.
            old: (N, 3), the colours that they showed.
            new: (N, 3), the colours to show.

        Returns:
            (N, 4).
        """
        light = new.max(axis=1, keepdims=True).astype(np.int32)
        if inks is not None:
            light = np.maximum(light, 255 - inks[:, 3:].astype(np.int32))
        share = _quotient((light - new.astype(np.int32)) * 255, np.maximum(light, 1))
        return np.concatenate([share, 255 - light], axis=1).astype(np.uint8)


class _ByProfile:
    """Through the file's own profile.

    Args:
        icc: the profile.

    Raises:
        ImageError: it is damaged or not one for CMYK.
    """

    def __init__(self, icc: bytes) -> None:
        try:
            self._profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            self._show = _transform(self._profile, _srgb(), "CMYK", "RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            expected, fix = "a profile for CMYK in a CMYK file", "take the profile out of the file"
            raise ImageError(expected, "a damaged one, or one for something else", fix) from error

    @cached_property
    def _ink(self) -> ImageCms.ImageCmsTransform:
        try:
            return _transform(_srgb(), self._profile, "RGB", "CMYK")
        except ImageCms.PyCMSError as error:
            expected = "a CMYK profile that also leads from colours to inks"
            raise OutputError(expected, "one for showing alone", "write .png, whose colours are sRGB") from error

    def show(self, inks: Bytes) -> Bytes:
        """Colours (H, W, 3) of inks (H, W, 4)."""
        return _apply(self._show, inks, "CMYK")

    def check_return(self) -> None:
        """Build the way back now."""
        _ = self._ink

    def ink(self, inks: Bytes | None, old: Bytes, new: Bytes) -> Bytes:
        """Ink colours: by their change, on top of the inks that were there; arguments as in `_BySubtraction`."""
        fresh = _apply(self._ink, new[None], "RGB")[0]
        if inks is None:
            return fresh
        change = fresh.astype(np.int32) - _apply(self._ink, old[None], "RGB")[0]
        return np.clip(inks + change, 0, 255).astype(np.uint8)


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _transform(
    source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile, given: str, wanted: str
) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(source, target, given, wanted, renderingIntent=_INTENT, flags=_FLAGS)


def _apply(transform: ImageCms.ImageCmsTransform, pixels: Bytes, mode: str) -> Bytes:
    height, width = pixels.shape[:2]
    image = Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    return np.asarray(transform.apply(image), np.uint8)


def _quotient(dividend: NDArray[np.int32], divisor: NDArray[np.int32] | int) -> NDArray[np.int32]:
    """The nearest whole number to a quotient of numbers that are not negative."""
    return (2 * dividend + divisor) // (2 * np.asarray(divisor))


def _bands(height: int) -> Iterator[slice]:
    return (slice(top, min(height, top + _ROWS)) for top in range(0, height, _ROWS))
