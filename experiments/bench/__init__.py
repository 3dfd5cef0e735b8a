"""How fast the paths are that people wait for: ratios, taken side by side in one run."""
