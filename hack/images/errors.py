"""The one error of everything that makes images and models."""


class ImageError(Exception):
    """An image, or something in it, cannot be made; the message is one sentence, "Cannot <verb> <object>: <cause>"."""
