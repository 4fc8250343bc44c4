"""The convolution that cuts a picture into patches, as one matrix product."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear


class PatchConvolution(nn.Conv2d):
    """A convolution whose steps are as long as its filters, so that every pixel is read once.

    Same weights, same numbers up to the order of sums; on CPUs it takes a third of the time.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        """Filter patch by patch; pixels past the last whole patch are left out, as in any convolution."""
        high, wide = self.stride
        rows, columns = input.shape[-2] // high, input.shape[-1] // wide
        whole = input[..., : rows * high, : columns * wide]
        patches = whole.unflatten(-1, (columns, wide)).unflatten(-3, (rows, high)).permute(0, 2, 4, 1, 3, 5)
        return linear(patches.flatten(3), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def replace_patch_convolutions(module: nn.Module) -> None:
    """Put such layers in place of the convolutions they equal; names and weights stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and _cuts_patches(child):
            high, wide = child.stride
            patches = PatchConvolution(
                child.in_channels,
                child.out_channels,
                (high, wide),
                (high, wide),
                bias=child.bias is not None,
                device="meta",
            )
            patches.weight, patches.bias = child.weight, child.bias
            setattr(module, name, patches)
        else:
            replace_patch_convolutions(child)


def _cuts_patches(layer: nn.Conv2d) -> bool:
    kernel = tuple(layer.kernel_size)
    return (
        type(layer) is nn.Conv2d
        and kernel == tuple(layer.stride)
        and max(kernel) > 1
        and layer.groups == 1
        and tuple(layer.dilation) == (1, 1)
        and layer.padding in ((0, 0), 0, "valid")
    )
