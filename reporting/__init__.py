"""What a person or another program sees of a run: result.json, overlay, report and their folder."""
