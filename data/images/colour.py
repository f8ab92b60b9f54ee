"""Colour of one image: hue, saturation and exposure, as darknet changes them."""

from typing import NamedTuple

import cv2
import numpy as np

from data.images.geometry import Image


class Colour(NamedTuple):
    """A change of one image's colours."""

    hue: float = 0.0  # shift, as a fraction of the colour circle
    saturation: float = 1.0  # factor
    exposure: float = 1.0  # factor


def distort_colour(canvas: Image, colour: Colour) -> None:
    """Changes colours in place, within a third of a grey level of the exact arithmetic of `data.images.on_device`.

    Only the hue needs HSV. In HSV the value V of a pixel is its largest channel, and a channel becomes V - S (V - c)
    for a saturation S times as large: the rest is a weighted sum of the picture and its V.
    """
    if colour == Colour():
        return
    hue, saturation, exposure = colour
    hsv = cv2.cvtColor(canvas, cv2.COLOR_RGB2HSV_FULL)
    value = cv2.extractChannel(hsv, 2)
    shift = np.zeros((canvas.shape[1], 3), np.uint8)
    shift[:, 0] = round(hue * 256) % 256  # the colour circle has 256 steps: unsigned bytes wrap around it
    rows = hsv.reshape(len(hsv), -1)
    np.add(rows, shift.reshape(-1), out=rows)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=canvas)
    values = cv2.cvtColor(value, cv2.COLOR_GRAY2RGB, dst=hsv)
    cv2.addWeighted(canvas, exposure * saturation, values, exposure * (1 - saturation), 0, dst=canvas)
