"""The audit as a picture: one bar a layer, drawn as SVG without any plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from .sensitivity import LayerAudit

_ROW, _LEFT, _WIDTH, _TOP = 14, 190, 420, 46
_HIGHEST_DB = 70.0
_COLOURS = {"weights": "#4c78a8", "activations": "#e45756"}


def draw_chart(layers: Sequence[LayerAudit], name: str) -> str:
    """Draw the SNR of the residual that is left where one layer has 8 bits: short bars are sensitive layers.

    Args:
        layers: in the network's order, from top to bottom.
        name: of the network.

    Returns:
        An SVG document that needs no other file.
    """
    height = _TOP + _ROW * len(layers) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-size="13">{escape(name)}: SNR of the residual, dB, one layer in 8 bits</text>',
    ]
    for place, (kind, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 110 * place
        parts.append(f'<rect x="{x}" y="26" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 13}" y="34">its {kind} alone</text>')
    for decibels in range(0, int(_HIGHEST_DB) + 1, 10):
        x = _across(decibels)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{height - 24}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{decibels}</text>')
    for row, layer in enumerate(layers):
        parts += _bars(layer, _TOP + _ROW * row)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(layer: LayerAudit, y: int) -> list[str]:
    drawn = [f'<text x="{_LEFT - 6}" y="{y + 10}" text-anchor="end">{escape(layer.node)}</text>']
    found = {"weights": layer.weights, "activations": layer.activations}
    for half, (kind, fidelity) in enumerate(found.items()):
        if fidelity is not None:
            width = _across(fidelity.mean_snr_db) - _LEFT
            drawn.append(
                f'<rect x="{_LEFT}" y="{y + 1 + 6 * half}" width="{width:.1f}" height="5" fill="{_COLOURS[kind]}"/>'
            )
    return drawn


def _across(decibels: float) -> float:
    return _LEFT + _WIDTH * min(max(decibels, 0.0), _HIGHEST_DB) / _HIGHEST_DB
