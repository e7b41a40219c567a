"""What a result is worth: checks, confidence, and what to try when a check fails."""
