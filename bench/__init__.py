"""The room that judges: parity, quality, latency, size, and the page that shows them."""
