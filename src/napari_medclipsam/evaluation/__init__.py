"""Measuring on data sets with known masks."""
