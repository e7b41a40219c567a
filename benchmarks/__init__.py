"""Measures of accuracy and cost, and the commands that print them."""
