"""Templates: the known monolayers, their fingerprints, and the search among them."""
