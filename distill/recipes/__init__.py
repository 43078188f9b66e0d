"""Training recipes, one TOML file a run."""
