"""The r_em network for high-resolution STEM, on the whole image at once as its documentation shows.

Lobato, Friedrich and Van Aert, npj Comput. Mater. 10 (2024) 10. The network normalises its input: no unit is asked for.
"""

import tk_r_em

NETWORK = tk_r_em.load_network("sfr_hrstem")
"""Loaded here, as loading is not part of an image's time."""


def answer(query):
    """Denoised image in the unit of the recorded one."""
    return NETWORK.predict(query["image"])
