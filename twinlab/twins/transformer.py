"""Vision-transformer core: patches that attend to each other, told what the animal does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins.cores import Core, laplace_roughness

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = ["TransformerBlock", "VisionTransformerCore", "build_vision_transformer"]


class TransformerBlock(nn.Module):
    """Behaviour added to the tokens, then attention, then a network for each token alone.

    Both are normalised before and added to what they were given. Where there is behaviour, a
    small network of it is added to all tokens alike.

    Parameters
    ----------
    channel, heads : int
        Channels of a token, and heads that share them.
    n_behavior : int
        Behaviour channels; none where 0.
    dropout : float
        Share of attention weights and of units silenced while learning.

    """

    def __init__(
        self, channel: int, heads: int, n_behavior: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.behavior = None
        if n_behavior:
            self.behavior = nn.Sequential(
                nn.Linear(n_behavior, max(channel // 2, 1)), nn.Tanh(), nn.Dropout(dropout),
                nn.Linear(max(channel // 2, 1), channel), nn.Tanh(),
            )  # fmt: skip
        self.attention_norm = nn.LayerNorm(channel)
        self.to_qkv = nn.Linear(channel, 3 * channel, bias=False)
        self.from_heads = nn.Linear(channel, channel)
        self.network = nn.Sequential(
            nn.LayerNorm(channel), nn.Linear(channel, 4 * channel), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(4 * channel, channel), nn.Dropout(dropout),
        )  # fmt: skip

        # Small, so that a block begins by changing little; behaviour is heard from the start.
        for part in (self.to_qkv, self.from_heads, *self.network):
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def attend(self, tokens: Tensor) -> Tensor:
        """What each token takes from all, (batch, token, channel) as given."""
        qkv = self.to_qkv(self.attention_norm(tokens)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (batch, head, token, channel) each
        dropped = self.dropout if self.training else 0.0
        taken = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped)
        return F.dropout(self.from_heads(taken.transpose(1, 2).flatten(2)), dropped)

    def forward(self, tokens: Tensor, behavior: Tensor | None = None) -> Tensor:
        """Tokens (batch, token, channel) as given; behaviour (batch, n_behavior) in z units."""
        if self.behavior is not None and behavior is not None:
            tokens = tokens + self.behavior(behavior)[:, None]
        tokens = tokens + self.attend(tokens)
        return tokens + self.network(tokens)


class VisionTransformerCore(Core):
    """Small vision transformer; its tokens, put back in their places, are the map.

    Each patch of the image becomes a token, to which its learned place is added; blocks of
    attention follow, and behaviour enters every block. The image is widened evenly with grey
    where patches do not fill it, so that no pixel is left out.

    Parameters
    ----------
    channel, height, width : int
        Shape of the image; places are learned for this size.
    layers, hidden : int
        Number of blocks, and channels of a token.
    patch, stride : int
        Side of the patches and distance between neighbours, in pixels; they overlap where the
        distance is shorter. The map has one point a patch, and attention grows with the square
        of their number.
    heads : int
        Attention heads; they share the channels of a token, so `hidden` is a multiple.
    dropout : float
        Share of units silenced while learning.
    n_behavior : int
        Behaviour channels it is told.

    Raises
    ------
    InputError
        If the heads cannot share the channels, or patches are larger than the image, too small
        to be called smooth or rough (below 3 pixels), or leave pixels between them.

    Notes
    -----
    The form is V1T's, with the usual division of the channels among the heads (there, each has
    as many as a token), no class token (there, it is dropped at the end) and a last layer norm.
    As filters are the only thing in it that lies in the plane of the image, the regulariser is
    the roughness of the patch embedding; dropout restrains the rest.

    References
    ----------
    Li et al. (2023), TMLR, "V1T: large-scale mouse V1 response prediction using a vision
    transformer". Dosovitskiy et al. (2021), ICLR.

    """

    takes_behavior = True

    def __init__(
        self,
        channel: int = 1,
        height: int = 36,
        width: int = 64,
        *,
        layers: int = 4,
        hidden: int = 64,
        patch: int = 8,
        stride: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        n_behavior: int = 0,
    ) -> None:
        super().__init__()
        _check_sizes(height, width, hidden, patch, stride, heads)
        self.patch, self.stride = patch, stride
        self.out_channel = hidden
        self.embedding = nn.Conv2d(channel, hidden, patch, stride=stride)
        self.size = self.map_shape(height, width)
        self.place = nn.Parameter(torch.empty(self.size[0] * self.size[1], hidden))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden, heads, n_behavior, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        nn.init.trunc_normal_(self.place, std=0.02)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Patches (y, x) that cover an image of this size."""
        rows, columns = (-(-(size - self.patch) // self.stride) + 1 for size in (height, width))
        return rows, columns

    def _border(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Grey added left, right, above and below."""
        border: list[int] = []
        for size, patches in zip(
            (width, height), self.map_shape(height, width)[::-1], strict=True
        ):
            added = (patches - 1) * self.stride + self.patch - size
            border += [added // 2, added - added // 2]
        return border[0], border[1], border[2], border[3]

    def map_corners(self, height: int, width: int) -> tuple[tuple[float, float], ...]:
        """Centres of the first and last patch, (y, x) in pixels of the image."""
        left, _, above, _ = self._border(height, width)
        first = ((self.patch - 1) / 2 - above, (self.patch - 1) / 2 - left)
        rows, columns = self.map_shape(height, width)
        last = (first[0] + (rows - 1) * self.stride, first[1] + (columns - 1) * self.stride)
        return first, last

    def forward(self, image: Tensor, behavior: Tensor | None = None) -> Tensor:
        """Map (batch, hidden, y, x) of an image (batch, channel, y, x) in z units.

        Behaviour (batch, n_behavior) is in z units; without it, nothing is added.
        """
        widened = F.pad(image, self._border(*image.shape[2:]))
        tokens = self.embedding(widened).flatten(2).transpose(1, 2)
        tokens = self.dropout(tokens + self.place)
        for block in self.blocks:
            tokens = block(tokens, behavior)
        return self.norm(tokens).transpose(1, 2).unflatten(2, self.size)

    def regularizer(self) -> Tensor:
        """Roughness of the patch embedding's filters."""
        return laplace_roughness(self.embedding.weight)


def _check_sizes(
    height: int, width: int, hidden: int, patch: int, stride: int, heads: int
) -> None:
    wrong = []
    if hidden % heads:
        wrong.append(f"`hidden` ({hidden}) must be a multiple of `heads` ({heads})")
    if not 3 <= patch <= min(height, width):
        wrong.append(
            f"`patch` must be from 3 to the smaller side of the image, {min(height, width)} "
            f"pixels, but is {patch}"
        )
    if not 1 <= stride <= patch:
        wrong.append(
            f"the distance between patches must be from 1 to `patch` ({patch}), but is {stride}"
        )
    if wrong:
        msg = "; ".join(wrong) + "."
        raise InputError(msg)


def build_vision_transformer(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    """Core of a deep twin, as its architecture says."""
    return VisionTransformerCore(
        channel,
        height,
        width,
        layers=architecture.layers,
        hidden=architecture.hidden,
        patch=architecture.patch,
        stride=architecture.patch_stride,
        heads=architecture.heads,
        dropout=architecture.dropout,
        n_behavior=n_behavior,
    )
