"""The page: sections in the order in which a reader asks, from the verdict to the provenance."""

from __future__ import annotations

from html import escape
from importlib.resources import files

import cv2
import numpy as np

from .faces_set import Pixels
from .markup import definitions, details, paragraph, picture, section, typeset
from .report import BeforeAfter, Example, Report, machine_facts
from .sections import latency_section, parity_section, quality_section, size_section

# Faces shown at once; the others wait behind a click, not to bury the figures.
_SHOWN = 5
_LEAST_SIDE = 400
_SIGNS = {"pass": "✓ within tolerance", "fail": "✗ beyond tolerance", "reported": "figures only"}


def render_page(report: Report) -> str:
    """Render a report as one HTML document that fetches nothing."""
    sections = [
        section("photo", "The photograph", _photo(report.photo)) if report.photo else "",
        section("faces", "Face by face", *_faces(report)),
        section("parity", "Does every file restore alike?", *parity_section(report.trials)),
        section("quality", "How good is the restoration?", *quality_section(report.quality)),
        section("latency", "How long does one face take?", *latency_section(report.timings)),
        section("size", "How big is it?", *size_section(report.sizes)),
        section("provenance", "Where the figures come from", _provenance(report)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(report.headline)} – PocketFace</title><style>{_template('page.css')}</style></head>"
        f"<body>{_header(report)}<main>{''.join(sections)}</main><script>{_template('page.js')}</script></body></html>\n"
    )


def _template(name: str) -> str:
    return files("pocketface.bench").joinpath(name).read_text(encoding="utf-8")


def _header(report: Report) -> str:
    when = report.created.strftime("%-d %B %Y, %H:%M UTC")
    notes = "".join(paragraph(note, "note") for note in report.notes)
    failures = "".join(
        f"<li><strong>{escape(trial.label)}</strong> {escape(_shortened(trial.violations))}</li>"
        for trial in report.failed
    )
    return (
        f'<header><p class="eyebrow">PocketFace · {escape(report.title)}</p><h1>{escape(report.headline)}</h1>'
        f'<p class="badge {report.verdict}">{_SIGNS[report.verdict]}</p>'
        f'<p class="when"><time datetime="{report.created.isoformat()}">{when}</time></p>'
        f"{f'<ul class=failures>{failures}</ul>' if failures else ''}{_key_figures(report)}{notes}</header>"
    )


def _shortened(violations: list[str]) -> str:
    more = len(violations) - 2
    return "; ".join(violations[:2]) + (f"; and {more} more" if more > 0 else "")


def _key_figures(report: Report) -> str:
    pairs: list[tuple[str, str]] = []
    if report.held:
        passed = sum(trial.verdict == "pass" for trial in report.held)
        pairs.append(("files within tolerance", f"{passed} of {len(report.held)}"))
    if drift := [trial.report.max_identity_drift for trial in report.held if trial.report is not None]:
        known = [value for value in drift if value is not None]
        pairs += [("largest identity drift of a file", f"{max(known):.4f}")] if known else []
    devices = [size for size in report.sizes if size.parameters is None]
    if devices:
        smallest = min(devices, key=lambda size: size.bytes)
        pairs.append((f"smallest file: {smallest.label}", f"{smallest.bytes / 1e6:.2f} MB"))
    timed = [timing for timing in report.timings if timing.median_ms is not None and timing.threads == 1]
    if timed:
        fastest = min(timed, key=lambda timing: timing.median_ms or 0.0)
        pairs.append((f"fastest face, one thread: {fastest.label}", f"{fastest.median_ms:.1f} ms"))
    return definitions(pairs, "key")


def _photo(photo: BeforeAfter) -> str:
    label, after = next(iter(photo.after.items()))
    wipes = _wipe(photo.before, after, label, "the photograph")
    named = {"before": photo.before, **{f"restored by {key}": value for key, value in photo.after.items()}}
    named |= {} if photo.original is None else {"original": photo.original}
    if photo.close_up is not None:
        left, top, width, height = photo.close_up
        part = (slice(top, top + height), slice(left, left + width))
        wipes += _wipe(photo.before[part], after[part], label, "the face")
        named = {name: image[part] for name, image in named.items()}
    views = "".join(
        f"<figure>{picture(_enlarged(image), name)}<figcaption>{escape(name)}</figcaption></figure>"
        for name, image in named.items()
    )
    return f'<div class="wipes">{wipes}</div><div class="views">{views}</div>{paragraph(photo.caption, "caption")}'


def _wipe(before: Pixels, after: Pixels, label: str, what: str) -> str:
    """Two pictures side by side, which the script lays over each other with a border to move."""
    height, width = before.shape[:2]
    return (
        f'<div class="wipe" style="--ratio:{width}/{height}">{picture(_enlarged(before), f"{what}, before")}'
        + picture(_enlarged(after), f"{what}, restored by {label}", 'class="over"')
        + f'<span class="tag left">before</span><span class="tag right">{escape(label)}</span>'
        f'<span class="line"></span><input type="range" min="0" max="100" value="50" step="0.5" '
        f'aria-label="Move the border across {what}"></div>'
    )


def _enlarged(image: Pixels) -> Pixels:
    """Enlarge small pictures as a viewer would, so that every browser shows the same pixels."""
    factor = -(-_LEAST_SIDE // max(image.shape[:2]))
    if factor == 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)


def _faces(report: Report) -> list[str]:
    if not report.examples:
        return []
    figures = "Decibels are PSNR against the original, whose sharpness counts as 1."
    source = f"{figures} The faces: {report.faces_source}."
    strips = [_example(example) for example in report.examples]
    first, more = strips[:_SHOWN], strips[_SHOWN:]
    return [paragraph(source), *first, details(f"{len(more)} more faces", "".join(more)) if more else ""]


def _example(example: Example) -> str:
    pictures = ""
    for shown in example.pictures:
        note = f" <span>{escape(typeset(shown.figures))}</span>" if shown.figures else ""
        image = picture(shown.pixels, f"{example.name}: {shown.label}", 'loading="lazy" decoding="async"')
        pictures += f"<figure>{image}<figcaption>{escape(shown.label)}{note}</figcaption></figure>"
    return f'<article class="strip"><h3>{escape(example.name)}</h3><div>{pictures}</div></article>'


def _provenance(report: Report) -> str:
    pairs = [*report.provenance.items(), *machine_facts().items()]
    return definitions(pairs, "facts") + f"<h3>The command</h3><pre><code>{escape(report.command)}</code></pre>"
