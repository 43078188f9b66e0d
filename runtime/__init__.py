"""Restores a face, given weights: the lowest room, which imports none of the others and no torch until asked."""
