"""Weights of other frameworks, turned into jaxsel checkpoints and checked on the way.

The only place that knows their names and layouts. Run as `python -m ports NAME`.
"""
