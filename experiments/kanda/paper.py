"""What Kanda et al. (2020), arXiv:2001.07811, report for AlexNet on ImageNet.

On the five best images of each category. By site, so that a network with other sites is
never given the numbers of these.
"""

# Mean and SD of P(correct), top-5 and top-1 (table 1).
TABLE_1 = {
    "all": ("0.4599", "0.3918", "0.7951", "0.5645"),
    "best": ("0.9361", "0.1266", "1.0000", "0.9942"),
}
# CSI, sparseness and loss ratio (%) of the two examples in fc6 (figure 1A).
EXAMPLES = {"selective": ("0.96", "0.95", "-0.051"), "non-selective": ("0.71", "0.76", "0.293")}
# Median index (figures 1B and 1C).
MEDIAN = {
    "csi": {"fc6": "0.90", "fc7": "0.91"},
    "sparseness": {"fc6": "0.90", "fc7": "0.90"},
}
# Median loss ratio (%) and z (figure 2).
LOSS_RATIO = {"fc6": ("0.053", "41.4"), "fc7": ("0.064", "54.9")}
# Spearman correlation of an index and the loss ratio (figure 3).
RHO = {
    "csi": {"fc6": "-0.43", "fc7": "-0.09"},
    "sparseness": {"fc6": "-0.51", "fc7": "-0.08"},
}
# Median loss ratio as a fraction, and z, printed without sign (figure 5, fc6, n = 597).
RELATED = {"related": ("1.96e-4", "16.6"), "others": ("-1.38e-4", "21.2, without sign")}
