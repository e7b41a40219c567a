"""Template retrieval as AutoMat was published with: label images compared by the distances between their spots.

An image is thresholded (Otsu), opened, and cut into connected spots; the histogram of all distances between them,
normalised, describes it. A template is a label image, its columns drawn as spots at the same pixel size and field of
view. The nearest labels in Euclidean distance are kept, and the first of them with the right elements wins
(arXiv 2505.12650; written from the description).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.distance import pdist
from skimage.draw import disk
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops_table
from skimage.morphology import dilation, erosion

from benchmarks.columns import projected_columns, tiled
from library.records import Template
from microscopy.slab import plane_cell

KEPT = 3
"""Nearest labels among which the elements decide."""

MIN_AREA = 5
"""Pixels; smaller spots are noise."""

BIN = 5.0
"""Pixels per bin of the histogram of distances."""

ELLIPSE = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)
"""The 3×3 ellipse that opens the thresholded image."""

SPOT = 0.3
"""Å, radius of a column in a label image: closest columns (0.9 Å in all but a few monolayers) stay apart."""


@dataclass(frozen=True, eq=False)
class LabelMatcher:
    """Label images of a library, for one pixel size and field of view.

    Attributes
    ----------
    ids, elements
        Of the templates, in order.
    labels
        8-bit images, each (H, W).
    descriptors
        Of the labels.
    """

    ids: tuple[str, ...]
    elements: tuple[frozenset[str], ...]
    labels: tuple[UInt8[np.ndarray, "H W"], ...]
    descriptors: tuple[Float[np.ndarray, " D"], ...]

    @classmethod
    def of(cls, templates: Sequence[Template], pixel_size: tuple[float, float], shape: tuple[int, int]) -> LabelMatcher:
        """Draw the labels of templates at a pixel size (y, x) in Å and a shape (H, W)."""
        labels = tuple(label_image(template, pixel_size, shape) for template in templates)
        return cls(
            ids=tuple(template.id for template in templates),
            elements=tuple(frozenset(template.structure.symbol_set) for template in templates),
            labels=labels,
            descriptors=tuple(descriptor(spots(image, opened=False)) for image in labels),
        )

    def rank(self, image: Float[np.ndarray, "H W"], *, all_pairs: bool = False) -> list[tuple[str, float]]:
        """Rank all templates by distance, nearest first.

        Parameters
        ----------
        image
            Denoised, any unit.
        all_pairs
            Segment and describe every label again, as published; the ranking is the same.
        """
        query = descriptor(spots(eight_bit(image), opened=True))
        known = [descriptor(spots(each, opened=False)) for each in self.labels] if all_pairs else self.descriptors
        distances = [_distance(query, each) for each in known]
        return [(self.ids[i], distances[i]) for i in np.argsort(distances, kind="stable")]

    def choose(self, ranked: Sequence[tuple[str, float]], elements: Collection[str]) -> str:
        """Id of the first of the `KEPT` nearest with exactly these elements; without one, the nearest."""
        of = dict(zip(self.ids, self.elements, strict=True))
        nearest = [id for id, _ in ranked[:KEPT]]
        return next((id for id in nearest if of[id] == frozenset(elements)), nearest[0])


def eight_bit(image: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Grey levels from the darkest pixel to the brightest."""
    values = np.asarray(image, dtype=float)
    span = max(float(np.ptp(values)), np.finfo(float).tiny)
    return np.round((values - values.min()) / span * 255).astype(np.uint8)


def spots(image: UInt8[np.ndarray, "H W"], *, opened: bool) -> Float[np.ndarray, "N 2"]:
    """Centroids (row, column) in pixels of the bright spots of an image."""
    bright = image > threshold_otsu(image)
    if opened:
        bright = dilation(erosion(bright, ELLIPSE), ELLIPSE)
    found = regionprops_table(label(bright, connectivity=2), properties=("area", "centroid"))
    centroids = np.column_stack([found["centroid-0"], found["centroid-1"]])
    return np.asarray(centroids[found["area"] >= MIN_AREA])


def descriptor(centroids: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " D"]:
    """Share of all pairwise distances in each bin, up to the largest; empty for fewer than two spots."""
    if len(centroids) < 2:
        return np.zeros(0)
    distances = pdist(centroids)
    counts = np.bincount((distances / BIN).astype(int))
    return np.asarray(counts / len(distances))


def label_image(
    template: Template, pixel_size: tuple[float, float], shape: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """A template's columns as bright discs over the field of view, the slab's own axes being those of the image."""
    structure = template.structure
    cell = plane_cell(structure)
    weights = np.array([site.specie.Z for site in structure], dtype=float)
    columns = projected_columns(structure.frac_coords[:, :2] @ cell, weights, cell)
    extent = ((shape[1] - 1) * pixel_size[1], (shape[0] - 1) * pixel_size[0])
    image = np.zeros(shape, dtype=np.uint8)
    radius = SPOT / float(np.sqrt(pixel_size[0] * pixel_size[1]))
    for x, y in tiled(columns, cell, extent).positions:
        image[disk((y / pixel_size[0], x / pixel_size[1]), radius, shape=shape)] = 255
    return image


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """Euclidean distance of histograms, the shorter one continued by zeros."""
    size = max(len(first), len(second))
    return float(np.linalg.norm(np.pad(first, (0, size - len(first))) - np.pad(second, (0, size - len(second)))))
