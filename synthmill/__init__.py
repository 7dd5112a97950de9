"""Synthmill: a recipe in, a released synthetic dataset out. Third parties import from here alone."""
