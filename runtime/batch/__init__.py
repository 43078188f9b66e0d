"""Thousands of photographs: planned, restored by worker processes or a Ray cluster, recorded, resumed."""
