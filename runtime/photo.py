"""A photograph in, the same photograph with its faces restored out: detect, align, restore, guard, paste."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from .colour import correct_colour, grade
from .colouriser import colourise
from .companions import Companions, open_companions
from .faces.align import FFHQ, Matrix, align_face, estimate_similarity
from .faces.anonymise import anonymise_faces
from .faces.choose import choose_faces
from .faces.detect import Detection, Detector
from .faces.guard import guard_identity
from .faces.match import match_colour
from .faces.occlusion import MUCH, hidden_share, strength_for
from .faces.paste import Crop, paste_faces
from .faces.turned import detect_any_way_up
from .images import Photo, to_float
from .look import LUMA, style_face
from .options import DEFAULT, PhotoOptions
from .photo_result import ANONYMISED, HIDDEN, IDENTITY, KEPT, WEAKENED, PhotoResult, RestoredFace
from .restorer import Restorer
from .upscale import upscale_photo

__all__ = ["PhotoResult", "RestoredFace", "restore_photo"]


class _Clock:
    """Adds up how long each stage takes.

    Args:
        now: seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._now = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start


@dataclass(frozen=True, eq=False)
class _Known:
    """What the identity network says of all faces: embeddings (N, D) and covered shares (N,)."""

    embeddings: np.ndarray
    hidden: np.ndarray


def restore_photo(
    photo: Photo,
    restorer: Restorer,
    detector: Detector,
    options: PhotoOptions = DEFAULT,
    companions: Companions | None = None,
    *,
    overwrite: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> PhotoResult:
    """Restore the faces of a photograph.

    Args:
        photo: any depth; alpha and metadata pass through, grey stays grey unless it is coloured.
        restorer: keeps the contract of aligned faces.
        detector: finds the faces.
        options: what to do with which face and with the rest of the photograph.
        companions: the further networks that the options ask for; None opens them, for every photograph anew.
        overwrite: the photograph's own pixels may change, which spares a large one a copy: for who needs it no more.
        clock: seconds, for the result's time of each stage.

    Raises:
        ContractError: a size that the restorer does not take.
        PocketFaceError: a companion that cannot be opened.
    """
    companions = open_companions(options, detector) if companions is None else companions
    watch = _Clock(clock)
    with watch.stage("colour"):
        photo = _recolour(photo, options, companions)
    with watch.stage("detect"):
        # Whom nobody has found cannot be made anonymous.
        turns = options.turned if options.anonymise == "nobody" else "always"
        found = detect_any_way_up(detector, photo.rgb, turns)
    if options.anonymise != "nobody":
        photo = photo.with_private_metadata()
    faces: tuple[RestoredFace, ...] = ()
    if found:
        photo, faces = _treat(photo, found, restorer, options, companions, watch)
    with watch.stage("enlarge"):
        enlarged = upscale_photo(photo, options.upscale, companions.enlarger)
    with watch.stage("paste"):
        afresh = companions.enlarger is not None
        enlarged = _paste(enlarged, faces, options, afresh=afresh, overwrite=overwrite or enlarged is not photo)
    with watch.stage("grade"):
        if options.look.grade:
            enlarged = enlarged.with_rgb(grade(enlarged.rgb))
    return PhotoResult(enlarged, faces, watch.seconds)


def _recolour(photo: Photo, options: PhotoOptions, companions: Companions) -> Photo:
    if companions.colouriser is not None:
        photo = colourise(photo, companions.colouriser)
    return photo if options.colour == "keep" else photo.with_rgb(correct_colour(photo.rgb, options.colour))


def _treat(
    photo: Photo,
    found: Sequence[Detection],
    restorer: Restorer,
    options: PhotoOptions,
    companions: Companions,
    clock: _Clock,
) -> tuple[Photo, tuple[RestoredFace, ...]]:
    """Choose among faces, anonymise and restore; the photograph comes back anonymised, but nothing is pasted yet."""
    side = restorer.info.native_size if options.size is None else options.size
    with clock.stage("align"):
        matrices = [estimate_similarity(one.landmarks, FFHQ, side) for one in found]
        given = _cut(photo, matrices, side)
    with clock.stage("identify"):
        known = _identify(given, companions)
        likeness = None
        if known is not None and companions.reference is not None:
            likeness = (known.embeddings @ companions.reference).tolist()
    reasons = choose_faces(found, options, photo.rgb.shape, likeness)
    faces = [_left_alone(*parts) for parts in zip(found, matrices, given, reasons, strict=True)]
    if known is not None:
        faces = [replace(face, hidden=float(share)) for face, share in zip(faces, known.hidden, strict=True)]
    if likeness is not None:
        faces = [replace(face, likeness=value) for face, value in zip(faces, likeness, strict=True)]
    with clock.stage("anonymise"):
        photo, faces = _anonymise(photo, faces, options)
    chosen = [index for index, face in enumerate(faces) if not face.reason and face.status != ANONYMISED]
    with clock.stage("restore"):
        faces = _restore(faces, chosen, restorer, options, grey=photo.grey)
    with clock.stage("guard"):
        if options.guard is not None and known is not None and companions.identity is not None:
            faces = _guard(faces, known.embeddings, companions, options.guard)
    return photo, tuple(faces)


def _cut(photo: Photo, matrices: Sequence[Matrix], side: int) -> list[Crop]:
    return [to_float(align_face(photo.rgb, matrix, side)) for matrix in matrices]


def _identify(given: Sequence[Crop], companions: Companions) -> _Known | None:
    if companions.identity is None:
        return None
    embeddings, maps = companions.identity.embed_and_map(_as_batch(given))
    return _Known(embeddings, hidden_share(maps))


def _as_batch(crops: Sequence[Crop]) -> Crop:
    """Crops (S, S, 3) as faces under the contract."""
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))


def _left_alone(one: Detection, matrix: Matrix, given: Crop, reason: str) -> RestoredFace:
    return RestoredFace(one, matrix, given, given, KEPT, reason, strength=0.0)


def _anonymise(photo: Photo, faces: list[RestoredFace], options: PhotoOptions) -> tuple[Photo, list[RestoredFace]]:
    """Cover whom the options say; the others' crops are cut again, so that no covered face comes back in one."""
    if options.anonymise == "nobody":
        return photo, faces
    covered = [face for face in faces if face.reason or options.anonymise == "all"]
    if not covered:
        return photo, faces
    photo = photo.with_rgb(anonymise_faces(photo.rgb, [face.detection for face in covered]))
    treated = []
    for face in faces:
        crop = to_float(align_face(photo.rgb, face.matrix, face.given.shape[0]))
        status = ANONYMISED if face.reason or options.anonymise == "all" else face.status
        treated.append(replace(face, given=crop, restored=crop, status=status))
    return photo, treated


def _restore(
    faces: list[RestoredFace], chosen: Sequence[int], restorer: Restorer, options: PhotoOptions, *, grey: bool
) -> list[RestoredFace]:
    """Run all chosen faces as one batch, and give each its look and its dose."""
    doses = {index: _dose(faces[index], options) for index in chosen}
    faces = [_hide(face, doses[index], options) if index in doses else face for index, face in enumerate(faces)]
    worked = [index for index, dose in doses.items() if dose > 0 or options.look.strength == 0]
    if not worked:
        return faces
    restored = restorer(_as_batch([faces[index].given for index in worked])).transpose(0, 2, 3, 1)
    for index, crop in zip(worked, restored, strict=True):
        given = faces[index].given
        wanted = _finish(given, crop, options, grey=grey)
        mixed = (given + np.float32(doses[index]) * (wanted - given)).astype(np.float32, copy=False)
        faces[index] = replace(faces[index], restored=mixed, strength=doses[index])
    return faces


def _dose(face: RestoredFace, options: PhotoOptions) -> float:
    """The strength for a face: less where much of it is covered."""
    if options.hidden == "ignore" or face.hidden is None or face.hidden <= MUCH:
        return options.look.strength
    return 0.0 if options.hidden == "skip" else options.look.strength * strength_for(face.hidden)


def _hide(face: RestoredFace, dose: float, options: PhotoOptions) -> RestoredFace:
    """Say what is going to become of a chosen face."""
    if dose == options.look.strength:
        return replace(face, status="restored")
    return replace(face, status=WEAKENED if dose else KEPT, reason=HIDDEN)


def _finish(given: Crop, restored: Crop, options: PhotoOptions, *, grey: bool) -> Crop:
    """What the restorer gave, in the photograph's colours and the look asked for."""
    if grey:  # a restorer's faint tint has no place in a photograph without colour
        restored = np.repeat((restored @ LUMA)[:, :, None], 3, axis=2)
    if options.match_colour:
        restored = match_colour(given, restored)
    return style_face(restored, options)


def _guard(faces: list[RestoredFace], before: np.ndarray, companions: Companions, floor: float) -> list[RestoredFace]:
    """Weaken what no longer shows the same person."""
    assert companions.identity is not None  # noqa: S101 - the caller has looked
    worked = [index for index, face in enumerate(faces) if face.restored is not face.given]
    if not worked:
        return faces
    given, restored = [faces[index].given for index in worked], [faces[index].restored for index in worked]
    verdicts = guard_identity(given, restored, before[worked], companions.identity, floor)
    for index, verdict in zip(worked, verdicts, strict=True):
        face = replace(faces[index], cosine=verdict.cosine)
        if verdict.share < 1:
            mixed = face.given + np.float32(verdict.share) * (face.restored - face.given)
            face = replace(
                face,
                restored=mixed if verdict.share else face.given,
                strength=face.strength * verdict.share,
                status=WEAKENED if verdict.share else KEPT,
                reason=IDENTITY,
            )
        faces[index] = face
    return faces


def _paste(
    photo: Photo, faces: Sequence[RestoredFace], options: PhotoOptions, *, afresh: bool, overwrite: bool
) -> Photo:
    """Paste into the photograph, which may have been enlarged since the crops were cut.

    Args:
        photo: the destination.
        faces: those that were changed are pasted.
        options: `upscale` and `blend`.
        afresh: a network has redrawn the photograph: what is added is the difference to what it shows now.
        overwrite: the photograph's own pixels may change.
    """
    changed = [face for face in faces if face.restored is not face.given]
    if not changed:
        return photo
    matrices = [_enlarged(face.matrix, options.upscale) for face in changed]
    given = _cut(photo, matrices, changed[0].given.shape[0]) if afresh else [face.given for face in changed]
    restored = [face.restored for face in changed]
    return photo.with_rgb(paste_faces(photo.rgb, given, restored, matrices, options.blend, overwrite=overwrite))


def _enlarged(matrix: Matrix, factor: int) -> Matrix:
    """A photograph-to-crop matrix for the photograph `factor` times as large, about pixel edges."""
    larger = matrix.copy()
    larger[:, :2] /= factor
    larger[:, 2] += matrix[:, :2] @ np.full(2, 0.5 / factor - 0.5)
    return larger
