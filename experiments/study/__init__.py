"""Studies: grids of experiments, run in any order, each thing once, and drawn as figures, tables and claims."""
