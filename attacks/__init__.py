"""Perturbations and poison as pure functions, the threat models, and checks that an evaluation is to be believed."""
