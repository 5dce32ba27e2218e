"""The images that a training learns from, chooses its best epoch by, and is tested on."""

from jaxsel import data
from jaxsel.data import PREPROCESS, Dataset

from .settings import Config

DIGITS_TEST = 0.25  # the digits have no test images of their own


def divided(config: Config) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test images."""
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
    return train, validation, test
