"""Plans for `python -m pocketface.bench.ablation`."""
