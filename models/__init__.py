"""Things that predict: denoisers, interatomic potentials and the energies made from them."""
