"""The science of image to crystal: lattice, hypotheses, likelihood, refinement, symmetry, CIF."""
