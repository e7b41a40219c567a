"""What denoisers are worth: fidelity, vacancies, invented lattices, the gate of experts, and reconstruction.

    python -m benchmarks.denoiser SUITE --source structures.db --ids ids.txt --limit 6 --seed 1 --out DIR

A denoiser is anything that ``DenoiseOptions(expert=...)`` names. Every suite prints its tables, and writes them to
``SUITE.md`` beside the rows they are made of, ``SUITE.jsonl``.
"""
