"""The depth mapper: one latent of a volume to the codes of all its slices."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import MapperSpec
from liftnet.ops.compute.precision import without_autocast
from liftnet.ops.depth import fourier_depth, relative_depth

__all__ = ["DepthMapper", "depth_waves"]

LEAST_VARIANCE = 1e-12  # ours: of codes that are all alike
NEGLIGIBLE = 1e-12  # ours: of the largest; rounding, whose direction differs from run to run
FINE_START = 0.1  # ours: the trunk's share of a code's spread at first; smooth waves have the rest


def depth_waves(positions: Tensor, waves: int) -> Tensor:
    """A constant and cosines (D, waves + 1) of positions (D,) in (-1, 1), scaled.

    Wave k has k half turns from end to end, as in a discrete cosine transform, and the amplitude
    1 / (1 + k), before all are scaled so that the squares of a row sum to one: independent
    coefficients of unit variance give values of unit variance at every depth, and smooth ones
    along it.
    """
    orders = torch.arange(waves + 1, device=positions.device, dtype=positions.dtype)
    columns = (math.pi / 2 * orders * (positions[:, None] + 1)).cos() / (1 + orders)
    return columns / columns.square().sum(dim=1, keepdim=True).sqrt()


class FilmBlock(nn.Module):
    """A residual layer at each depth, scaled and shifted by the style of the volume."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.normalize = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.modulate = nn.Linear(hidden_size, 2 * hidden_size)
        self.widen = nn.Linear(hidden_size, hidden_size)
        self.leave = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Hidden values (B, D, h) of hidden values (B, D, h) and styles (B, h)."""
        scale, shift = self.modulate(style)[:, None].chunk(2, -1)
        y = self.normalize(x) * (1 + scale) + shift
        out: Tensor = x + self.leave(F.silu(self.widen(F.silu(y))))
        return out


class DepthMapper(nn.Module):
    """M_phi: latents z and depths to codes, a smooth part and a trunk's correction to it.

    The smooth part is linear in z: low waves along depth, with coefficients that at first are
    orthonormal per code dimension. For z ~ N(0, I) the codes of a new mapper so have mean 0 and
    variance 1 at every depth: it varies with z from the start, as training by drift needs. The
    trunk is an MLP over the Fourier encoding of depth, with FiLM by z.

    Source: LiFT Eq. 2; 1.455 M parameters in Sec. 5.1.
    Differs: positions are halved before gamma, since at the full range its waves have the same
        values at both ends of the volume; the smooth part is ours.
    """

    coefficients: nn.Parameter

    def __init__(self, spec: MapperSpec):
        super().__init__()
        terms = spec.waves + 1
        if spec.latent_size < terms:
            raise ValueError(f"expected a latent size of at least {terms}, got {spec.latent_size}")
        self.spec = spec
        hidden = spec.hidden_size
        self.mean = nn.Parameter(torch.zeros(terms, spec.code_size))
        drawn = torch.randn(spec.code_size, spec.latent_size, terms)
        self.coefficients = nn.Parameter(torch.linalg.qr(drawn)[0].permute(2, 0, 1).contiguous())
        self.style = nn.Sequential(
            nn.Linear(spec.latent_size, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.enter = nn.Linear(2 * spec.fourier_frequencies, hidden)
        self.blocks = nn.ModuleList(FilmBlock(hidden) for _ in range(spec.num_blocks))
        self.normalize = nn.LayerNorm(hidden, elementwise_affine=False)
        self.leave = nn.Linear(hidden, spec.code_size)
        nn.init.normal_(self.leave.weight, std=FINE_START / math.sqrt(hidden))
        nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor, positions: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Codes (B, D, c), float32, of latents z (B, L) at relative depths (D,) in (-1, 1).

        z is multiplied by the temperature (LiFT App. F samples with 1.25).
        """
        with without_autocast(z.device):  # a code of 8 bits would show as steps along depth
            z = z.float() * temperature
            positions = positions.to(device=z.device, dtype=torch.float32)
            return self._smooth(z, positions) + self._fine(z, positions)

    @torch.no_grad()
    def start_at(self, codes: Tensor) -> None:
        """Set the smooth part so that its codes vary as these (N, D, c) do, of N real volumes.

        Their mean and principal components, as far as the waves can follow them; what components
        beyond the latent's size would add to the variance goes to the others in proportion.

        Raises:
            ValueError: If there are fewer than 2 volumes, or codes of another size.
        """
        if codes.ndim != 3 or len(codes) < 2 or codes.shape[2] != self.spec.code_size:
            raise ValueError(
                f"expected codes (N >= 2, D, {self.spec.code_size}), got {tuple(codes.shape)}"
            )
        codes = codes.to(self.mean).double()
        depth = codes.shape[1]
        positions = relative_depth(depth, device=codes.device).double()
        amounts = torch.linalg.lstsq(
            depth_waves(positions, self.spec.waves).expand(len(codes), -1, -1), codes
        ).solution
        centre = amounts.mean(dim=0)
        offsets = (amounts - centre).flatten(1) / math.sqrt(len(codes) - 1)
        _, sizes, directions = torch.linalg.svd(offsets, full_matrices=False)
        real = int((sizes > sizes[0] * NEGLIGIBLE).sum())
        kept = min(real, self.spec.latent_size)
        lost = sizes.square().sum() / sizes[:kept].square().sum().clamp(min=LEAST_VARIANCE)
        components = (sizes[:kept] * lost.sqrt())[:, None] * directions[:kept]
        nn.init.zeros_(self.leave.weight)  # the trunk begins with no correction
        nn.init.zeros_(self.leave.bias)
        self.mean.copy_(centre)
        self.coefficients.zero_()
        self.coefficients[..., :kept] = components.view(kept, *centre.shape).permute(1, 2, 0)

    def _smooth(self, z: Tensor, positions: Tensor) -> Tensor:
        amounts = self.mean + torch.einsum("tcl,bl->btc", self.coefficients, z)
        return torch.einsum("dt,btc->bdc", depth_waves(positions, self.spec.waves), amounts)

    def _fine(self, z: Tensor, positions: Tensor) -> Tensor:
        style = self.style(z)
        encoded = fourier_depth(positions / 2, self.spec.fourier_frequencies)
        x = self.enter(encoded).expand(len(z), -1, -1)
        for block in self.blocks:
            x = block(x, style)
        fine: Tensor = self.leave(self.normalize(x))
        return fine
