"""Finding faces, aligning them to a template and pasting them back."""
