"""One thin Prefect task per step, the store they exchange records through, and what their cache keys see."""
