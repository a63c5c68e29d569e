"""Images with parts missing: what stands in for them, and what a model answers."""
