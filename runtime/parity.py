"""Does a copy of a restorer still restore as the original does? One report a pair; what is tolerated, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .errors import ContractError
from .restorer import Faces, Restorer, check_faces

# Aligned faces (N, 3, S, S) -> embeddings (N, D); the network's own alignment and size are its own business.
Embed: TypeAlias = Callable[[Faces], NDArray[np.floating]]


@dataclass(frozen=True)
class Tolerance:
    """How far a copy may stray on its worst face.

    Args:
        min_psnr_db: PSNR against the reference, peak 1.0.
        max_abs: largest difference of any value, in [0, 1].
        max_identity_drift: 1 - cosine between the embeddings of the two outputs.
        reason: why these figures and no others.
    """

    min_psnr_db: float
    max_abs: float
    max_identity_drift: float
    reason: str


TOLERANCES = {
    "fp32": Tolerance(
        80.0, 1e-3, 0.01,
        "The same arithmetic in another order: engines agree to about 1e-7 a value (above 120 dB). 80 dB leaves room "
        "for an engine that fuses or approximates, yet a clip, padding or resize of another convention falls below it.",
    ),
    "fp16": Tolerance(
        50.0, 1e-2, 0.01,
        "Rounding every operation to 11 bits measures 78 dB and 5.5e-4; 50 dB leaves room for accelerators that also "
        "accumulate in half precision, and is still below one grey level (rms), so nobody sees it.",
    ),
    "int8": Tolerance(
        35.0, 0.15, 0.01,
        "Full 8-bit activations measure 46-52 dB; below 35 dB the error (4.5 grey levels rms) shows on skin. Single "
        "values stray by 0.05, more where calibrated ranges clip a rare edge: hence the loose largest difference.",
    ),
    "dynamic8": Tolerance(
        45.0, 0.05, 0.01,
        "8-bit weights under float activations measure 55 dB and 0.014 on the worst of 215 faces; 45 dB leaves room "
        "for engines that round activations a tensor instead of a row.",
    ),
    "palette8": Tolerance(
        45.0, 0.05, 0.01,
        "256 values a layer with half-precision arithmetic measure about 60 dB; below 45 dB a table was cut short.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ParityRow:
    """How one face fared; the figures are None where `problem` says why there are none.

    Args:
        name: of the face.
        psnr_db: candidate against reference, peak 1.0.
        residual_snr_db: power of what the reference changed over power of the candidate's error.
        max_abs: largest difference of any value, in [0, 1].
        beyond_grey_level: share of pixels more than one grey level off, in [0, 1].
        identity_drift: 1 - cosine of the embeddings; None where no identity network was given.
        problem: what broke the contract; empty where nothing did.
        mean_abs: mean difference of all values, in [0, 1].
        ssim: structural similarity of the two outputs; None for faces smaller than its window.
    """

    name: str
    psnr_db: float | None = None
    residual_snr_db: float | None = None
    max_abs: float | None = None
    beyond_grey_level: float | None = None
    identity_drift: float | None = None
    problem: str = ""
    mean_abs: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class ParityReport:
    """A candidate against its reference, face by face.

    Args:
        reference: name of the restorer that is taken as right.
        candidate: name of the restorer that is judged.
        rows: one a face, in the order given.
    """

    reference: str
    candidate: str
    rows: tuple[ParityRow, ...]

    @property
    def worst(self) -> ParityRow:
        """The face with a problem, else the face with the lowest PSNR."""
        return min(self.rows, key=lambda row: -1e9 if row.psnr_db is None else row.psnr_db)

    @property
    def min_psnr_db(self) -> float | None:
        """PSNR of the worst face; None where a face has a problem."""
        return self.worst.psnr_db

    @property
    def mean_psnr_db(self) -> float | None:
        """Mean PSNR of the faces that have one; None where none has."""
        values = [row.psnr_db for row in self.rows if row.psnr_db is not None]
        return float(np.mean(values)) if values else None

    @property
    def min_residual_snr_db(self) -> float | None:
        """The lowest SNR of the residual; None where no face has one."""
        return min((row.residual_snr_db for row in self.rows if row.residual_snr_db is not None), default=None)

    @property
    def max_abs(self) -> float | None:
        """The largest difference on any face; None where no face has one."""
        return max((row.max_abs for row in self.rows if row.max_abs is not None), default=None)

    @property
    def max_identity_drift(self) -> float | None:
        """The largest identity drift of any face; None where none was measured."""
        return max((row.identity_drift for row in self.rows if row.identity_drift is not None), default=None)

    @property
    def mean_abs(self) -> float | None:
        """The mean difference of all values of all faces; None where no face has one."""
        values = [row.mean_abs for row in self.rows if row.mean_abs is not None]
        return float(np.mean(values)) if values else None

    @property
    def min_ssim(self) -> float | None:
        """The lowest structural similarity of any face; None where none was measured."""
        return min((row.ssim for row in self.rows if row.ssim is not None), default=None)

    @property
    def beyond_grey_level(self) -> float | None:
        """The largest share of pixels beyond one grey level of any face; None where none was measured."""
        shares = (row.beyond_grey_level for row in self.rows if row.beyond_grey_level is not None)
        return max(shares, default=None)

    def violations(self, tolerance: Tolerance) -> list[str]:
        """Say in words what goes beyond the tolerance, face by face; empty where nothing does."""
        return [f"{row.name}: {words}" for row in self.rows for words in _violations(row, tolerance)]

    def passes(self, tolerance: Tolerance) -> bool:
        """Whether every face stays within the tolerance; identity counts where it was measured."""
        return not self.violations(tolerance)

    def summary(self) -> str:
        """One line for people."""
        worst = self.worst
        if worst.problem:
            return f"{self.candidate} against {self.reference}: {worst.name}: {worst.problem}"
        drift = "not measured" if self.max_identity_drift is None else f"{self.max_identity_drift:.4f}"
        return (
            f"{self.candidate} against {self.reference}: {self.min_psnr_db:.1f} dB on the worst face ({worst.name}), "
            f"largest difference {self.max_abs:.2g}, identity drift {drift}"
        )

    def to_json(self) -> dict[str, object]:
        """The report as JSON values: summary figures first, then the rows."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "faces": len(self.rows),
            "worst_face": self.worst.name,
            "min_psnr_db": self.min_psnr_db,
            "mean_psnr_db": self.mean_psnr_db,
            "min_residual_snr_db": self.min_residual_snr_db,
            "max_abs": self.max_abs,
            "mean_abs": self.mean_abs,
            "min_ssim": self.min_ssim,
            "beyond_grey_level": self.beyond_grey_level,
            "max_identity_drift": self.max_identity_drift,
            "problems": [f"{row.name}: {row.problem}" for row in self.rows if row.problem],
            "rows": [asdict(row) for row in self.rows],
        }


def compare(
    reference: Restorer | Faces,
    candidate: Restorer | Faces,
    faces: Faces,
    names: Sequence[str],
    embed: Embed | None = None,
) -> ParityReport:
    """Compare what two restorers make of the same faces, one face at a time, so that memory stays constant.

    NaN, another shape, another type or values outside [0, 1] in an output are rows with a `problem`, not exceptions.

    Args:
        reference: the restorer taken as right, or what it made of `faces`, (N, 3, S, S).
        candidate: the restorer that is judged, or what it made of `faces`.
        faces: (N, 3, S, S) float32 RGB in [0, 1], real degraded faces.
        names: one a face, for the report.
        embed: aligned faces -> embeddings, for identity drift; None leaves identity out.

    Raises:
        ContractError: `faces` break the contract, `names` are not one a face, or a restorer refuses the faces.
    """
    check_faces(faces)
    if len(names) != len(faces):
        raise ContractError(f"one name a face, {len(faces)} in all", f"{len(names)} names")
    rows = []
    for index, name in enumerate(names):
        face = faces[index : index + 1]
        rows.append(_row(name, face, _output(reference, face, index), _output(candidate, face, index), embed))
    return ParityReport(_name(reference), _name(candidate), tuple(rows))


def _name(restorer: Restorer | Faces) -> str:
    return "outputs given" if isinstance(restorer, np.ndarray) else restorer.info.name


def _output(restorer: Restorer | Faces, face: Faces, index: int) -> Faces:
    return restorer[index : index + 1] if isinstance(restorer, np.ndarray) else restorer(face)


def _row(name: str, face: Faces, reference: Faces, candidate: Faces, embed: Embed | None) -> ParityRow:
    problem = _problem("reference", reference, face) or _problem("candidate", candidate, face)
    if problem:
        return ParityRow(name, problem=problem)
    drift = None if embed is None else 1.0 - float(metrics.identity_cosine(embed(reference), embed(candidate))[0])
    if drift is not None and not np.isfinite(drift):
        return ParityRow(name, problem="the identity network's embeddings are not finite")
    return ParityRow(
        name,
        psnr_db=float(metrics.psnr(reference, candidate)[0]),
        residual_snr_db=float(metrics.snr_of_residual(reference, candidate, face)[0]),
        max_abs=float(metrics.max_abs(reference, candidate)[0]),
        beyond_grey_level=float(metrics.share_beyond_grey_level(reference, candidate)[0]),
        identity_drift=drift,
        mean_abs=float(np.abs(reference.astype(np.float64) - candidate).mean()),
        ssim=float(metrics.ssim(reference, candidate)[0]) if face.shape[-1] >= metrics.SSIM_WINDOW else None,
    )


def _problem(side: str, output: Faces, face: Faces) -> str:
    """What is wrong with an output, in words; empty where nothing is."""
    if not isinstance(output, np.ndarray) or output.shape != face.shape:
        return f"the {side}'s output has shape {np.shape(output)}, not {face.shape}"
    if not np.isfinite(output).all():
        return f"the {side}'s output holds {int((~np.isfinite(output)).sum())} values that are NaN or infinite"
    try:
        check_faces(output)
    except ContractError as error:
        return f"the {side}'s output breaks the contract: {error}"
    return ""


def _violations(row: ParityRow, tolerance: Tolerance) -> list[str]:
    if row.problem or row.psnr_db is None or row.max_abs is None:
        return [row.problem or "no figures"]
    words = []
    if row.psnr_db < tolerance.min_psnr_db:
        words.append(f"PSNR {row.psnr_db:.1f} dB, at least {tolerance.min_psnr_db:g} wanted")
    if row.max_abs > tolerance.max_abs:
        words.append(f"largest difference {row.max_abs:.3g}, at most {tolerance.max_abs:g} allowed")
    if row.identity_drift is not None and row.identity_drift > tolerance.max_identity_drift:
        words.append(f"identity drift {row.identity_drift:.4f}, at most {tolerance.max_identity_drift:g} allowed")
    return words
