"""darknet's own files: weights, and descriptions of networks."""

from train.darknet.weights import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
