"""Makes a bundle smaller: variants that are measured, and kept only where they earn it."""
