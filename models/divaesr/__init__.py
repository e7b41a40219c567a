"""MOE-DIVAESR: a trained mixture of denoising and super-resolving variational autoencoders.

After the first module of AutoMat (arXiv 2505.12650). A gate with the topology of ResNet-18 looks at the image and
weights experts, each a variational U-Net for one kind of image: what the detector sees (phase or incoherent
scattering) and how noisy it is. Working grid: 0.2 Å/px, which holds everything a probe of today transfers
(2α/λ < 2.5 1/Å); output: 0.1 Å/px.

=================  =====================================================================
``configuration``  what describes a network, stored beside its weights
``grids``          cosine transforms: resampling without aliasing, integration of gradients
``preparation``    what a network sees: scaled image, background, mask
``spectral``       a learned filter over the whole Fourier plane, which sees every unit cell at once
``expert``         the variational U-Net with sub-pixel output
``families``       pattern family, read from the vectors by which an image repeats itself
``residual``       what the residual blocks of both have in common
``gate``           ResNet-18 topology on one channel, and what is said of an image
``mixture``        routing: one expert, the best k, or all of them
``losses``         what is minimised, and why
``bank``           crystals as arrays, from which training images are made
``crystals``       banks from structures
``specimens``      atoms in a field of view: grains, edges, defects, amorphous patches
``optics``         pieces of image formation
``imaging``        atoms to noisy images and their truth
``training``       the LightningModule
``train``          one training run
``recipes``        the stages of a training: ``python -m models.divaesr BANK BANK --out DIR``
``manifest``       what weights are and where they come from, in plain text
``weights``        safetensors, loaded without pickle
``inference``      images of any size: tiles, no seams, spread of the experts
=================  =====================================================================

Training from a bank needs torch, lightning, NumPy and safetensors only, so that it also runs on a machine that has no
more.
"""
