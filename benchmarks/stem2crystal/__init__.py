"""The protocol of STEM2Crystal-Bench on our own materials."""
