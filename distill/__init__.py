"""Gets weights: crops, degradations, losses, recipes and the loop that trains teacher and student."""
