"""The images that a training learns from, chooses its best epoch by, and is tested on."""

from dataclasses import replace

import numpy as np

from jaxsel import data
from jaxsel.data import PREPROCESS, Dataset

from .settings import Config

DIGITS_TEST = 0.25  # the digits have no test images of their own


def divided(config: Config) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test images.

    Of the first, a share is left out and labels are changed where that is asked for.

    Raises:
        ValueError: an unknown preprocessing, a share that is none, other classes in the test
            images.
    """
    if config.preprocess not in PREPROCESS:
        raise ValueError(
            f"unknown preprocessing {config.preprocess!r}: possible are {', '.join(PREPROCESS)}"
        )
    if not 0 < config.validation < 1:
        raise ValueError(
            f"validation is the share of the training images, between 0 and 1; found "
            f"{config.validation}"
        )
    preprocess = PREPROCESS[config.preprocess]
    if config.data == "digits":
        images = data.load("digits", preprocess=preprocess)
        rest, test = data.stratified(images, (1 - DIGITS_TEST, DIGITS_TEST), config.division)
    else:
        rest, test = (
            data.load(config.data, split=split, preprocess=preprocess)
            for split in (config.train_split, config.test_split)
        )
        if rest.class_names != test.class_names:
            raise ValueError(
                f"{config.data} has other classes in {config.train_split} "
                f"({len(rest.class_names)}) than in {config.test_split} "
                f"({len(test.class_names)}): their numbers would not mean the same"
            )
    shares = (1 - config.validation, config.validation)
    train, validation = data.stratified(rest, shares, config.division)
    return _spoilt(config, train), validation, test


def _spoilt(config: Config, train: Dataset) -> Dataset:
    """What is learnt from: some of the images, some of the labels drawn anew."""
    if not 0 < config.share <= 1:
        raise ValueError(
            f"--share is of the training images, above 0 to 1; found {config.share}"
        )
    if not 0 <= config.label_noise <= 1:
        raise ValueError(f"--label-noise is a share, 0 to 1; found {config.label_noise}")
    if config.share < 1:
        train, _ = data.stratified(train, (config.share, 1 - config.share), config.division)
    rng = np.random.default_rng([config.division, 1])  # not the draws that divided them
    chosen = rng.permutation(len(train))[: round(config.label_noise * len(train))]
    labels = train.labels.copy()
    labels[chosen] = rng.integers(len(train.class_names), size=len(chosen))
    return replace(train, labels=labels)
