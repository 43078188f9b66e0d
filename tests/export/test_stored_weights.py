"""Decoded weights may differ by what storing does to them, and by no more."""

import numpy as np

from pocketface.export.stored_weights import differences, store


def test_a_step_in_half_precision_may_be_off_by_its_own_rounding_and_no_more() -> None:
    """Layers of tiny weights have subnormal steps, whose last bit is worth percents."""
    wanted = np.array([[9.46e-5, -4.0e-5]], np.float32)
    step = np.float16(wanted.max() / 127)
    assert abs(float(step) - wanted.max() / 127) > 0.005 * step  # this one is
    decoded = (np.rint(wanted / (wanted.max() / 127)) * np.float32(step)).astype(np.float16)
    stored = store("layer", decoded, np.full((1, 1), step, np.float16))
    assert differences([store("layer", wanted)], [stored]) == []
    assert differences([store("layer", wanted * np.float32(1.2))], [stored])
    single = store("layer", decoded, np.full((1, 1), step, np.float32))
    assert differences([store("layer", wanted)], [single])
