"""BM3D told the spectrum of the noise, which is what it needs for iDPC: its authors' extension to coloured noise.

Mäkinen, Azzari and Foi, IEEE Trans. Image Process. 29 (2020) 8339. The noise is read where no lens passes a signal, and
is white there or falls as 1/q² in power; whichever fits better holds for the whole plane. Runs in the peer's own
environment.
"""

import numpy as np

np.trapz = np.trapezoid  # this release of BM3D calls it by the name that NumPy 2 has dropped  # noqa: NPY201

import bm3d  # noqa: E402

CUTOFF = 2.3
"""1/Å: beyond, 300 kV and 21 mrad pass nothing."""

PROFILE = bm3d.BM3DProfile()
PROFILE.num_threads = 1


def answer(query):
    """Denoised image in the unit of the recorded one."""
    image = query["image"].astype(float)
    low, span = image.min(), max(image.max() - image.min(), 1e-30)
    scaled = (image - low) / span
    return bm3d.bm3d(scaled, noise_power(scaled, query["pixel_size"]), profile=PROFILE) * span + low


def noise_power(image, pixel_size):
    """Power spectrum of the noise as BM3D wants it: of an unnormalised FFT, whole plane."""
    height, width = image.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2 / np.mean(window**2)
    q = np.hypot(np.fft.fftfreq(height, pixel_size[0])[:, None], np.fft.fftfreq(width, pixel_size[1]))
    beyond = (q > CUTOFF) & (q < 0.5 / max(pixel_size))
    shapes = [np.ones_like(q), 1 / np.maximum(q, 0.5 / (height * pixel_size[0])) ** 2]
    # Likelihood of exponential power with its level profiled out: the model of the least mean logarithm.
    levels = [np.mean(power[beyond] / shape[beyond]) for shape in shapes]
    misfits = [np.mean(np.log(level * shape[beyond])) for level, shape in zip(levels, shapes, strict=True)]
    best = int(np.argmin(misfits))
    return levels[best] * shapes[best]
