"""Other people's tools on the same images, each in its own environment."""
