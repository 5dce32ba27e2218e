"""Rows for BENCHMARKS.md: each script prints what it measured, with n, spread and versions."""
