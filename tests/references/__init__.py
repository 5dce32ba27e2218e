"""Independent answers: float64 loops in NumPy, and PyTorch."""
