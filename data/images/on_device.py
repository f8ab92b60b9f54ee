"""The loader's work that a device can do, on whole batches: lay packed images into canvases, change colours.

The same arithmetic as in `data.images.geometry` and `data.images.colour` for one image on the CPU: integers say which
pixels go where, and three numbers what happens to the colours.

    B images, S side of the canvas in px, P bytes of all decoded images of the batch, one after the other
"""

import torch

from data.images.geometry import GREY, Placement

#: Numbers: offset in P, width, source x1 y1 x2 y2, target x1 y1 x2 y2, flip, repeat_border, upside_down, transposed
LAYOUT = 14


def layout_row(offset: int, width: int, placement: Placement) -> tuple[int, ...]:
    """A row of `layout`. width: of the decoded image."""
    source, target, *flags, aligned = placement
    assert not aligned, "darknet's own resizing is for evaluation, where no geometry is left to the device"
    return (offset, width, *source, *target, *flags)


def place_packed(pixels_P: torch.Tensor, layout_BL: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [P] -> uint8 [B, S, S, 3]. Bilinear, at most one grey level from `place_image`."""
    columns_BL1 = layout_BL.long()[..., None].unbind(1)
    offset_B1, width_B1, sx1, sy1, sx2, sy2, tx1, ty1, tx2, ty2, *flags_B1 = columns_BL1
    flip_B1, repeat_B1, upside_down_B1, transposed_B1 = flags_B1
    down_B1 = torch.where(transposed_B1 > 0, 3, width_B1 * 3)  # bytes from one pixel to that below it
    right_B1 = torch.where(transposed_B1 > 0, width_B1 * 3, 3)
    along_1S = torch.arange(side, device=pixels_P.device)[None]
    across_BS = torch.where(flip_B1 > 0, side - 1 - along_1S, along_1S)
    down_BS = torch.where(upside_down_B1 > 0, side - 1 - along_1S, along_1S)
    left_BS, right_BS, part_x_BS, on_x_BS = _axis(across_BS, sx1, sx2, tx1, tx2)
    upper_BS, lower_BS, part_y_BS, on_y_BS = _axis(down_BS, sy1, sy2, ty1, ty2)

    channels_3 = torch.arange(3, device=pixels_P.device)

    def at(rows_BS: torch.Tensor, columns_BS: torch.Tensor) -> torch.Tensor:
        places_BSS = (offset_B1 + rows_BS * down_B1)[:, :, None] + (columns_BS * right_B1)[:, None, :]
        return pixels_P[places_BSS[..., None] + channels_3].float()

    part_x, part_y = part_x_BS[:, None, :, None], part_y_BS[:, :, None, None]
    above = torch.lerp(at(upper_BS, left_BS), at(upper_BS, right_BS), part_x)
    below = torch.lerp(at(lower_BS, left_BS), at(lower_BS, right_BS), part_x)
    canvas_BSS3 = torch.lerp(above, below, part_y).round().to(torch.uint8)
    covered_BSS = (on_x_BS[:, None, :] & on_y_BS[:, :, None]) | (repeat_B1[..., None] > 0)
    return torch.where(covered_BSS[..., None], canvas_BSS3, GREY)


def _axis(
    place_BS: torch.Tensor, source_from: torch.Tensor, source_to: torch.Tensor, target_from: torch.Tensor,
    target_to: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """The two source pixels of places on the canvas, the weight of the second, whether the image covers the place."""
    covered_BS = (place_BS >= target_from) & (place_BS < target_to)
    inside_BS = torch.minimum(torch.maximum(place_BS, target_from), target_to - 1) - target_from
    length = source_to - source_from
    ratio = length.float() / (target_to - target_from).float()
    exact_BS = torch.clamp((inside_BS + 0.5) * ratio - 0.5, min=0)
    first_BS = torch.minimum(exact_BS.long(), length - 1)
    second_BS = torch.minimum(first_BS + 1, length - 1)
    return source_from + first_BS, source_from + second_BS, exact_BS - first_BS, covered_BS


def distort_colours(images_BSS3: torch.Tensor, colour_B3: torch.Tensor) -> torch.Tensor:
    """Floats 0..1, darknet's arithmetic (src/image.c, distort_image): hue, saturation and exposure, then 0..1 again."""
    hue, saturation, exposure = colour_B3[:, :, None, None].unbind(1)
    red, green, blue = images_BSS3.unbind(-1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1)
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sextant = sextant + hue * 6
    parts = []
    for start in (5, 3, 1):  # red, green, blue
        place = torch.remainder(sextant + start, 6)
        less = torch.clamp(torch.minimum(place, 4 - place), 0, 1)
        parts.append(exposure * (value - saturation * chroma * less))
    return torch.stack(parts, -1).clamp(0, 1)
