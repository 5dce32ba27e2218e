"""Ukita (2020): orientation selectivity."""
