"""The analysis of Kanda et al. (2020), arXiv:2001.07811, figure by figure.

Each figure function takes what was measured and a folder, writes its drawings there and
returns the numbers and the sentence that go with them.
"""
