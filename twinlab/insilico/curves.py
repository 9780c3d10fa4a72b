"""Curves fitted to tuning: of all neurons at once, from several starts, failures as NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["CURVES", "Curve", "evaluate_curve", "fit_curve"]

N_STEP = 200
CHUNK = 4096  # fits done side by side
FLAT = 1e-6  # range of a curve, as a share of its largest value, below which it is constant
SETTLED = 1e-6  # relative fall of the squared error below which a fit is done
EXACT = 1e-9  # squared error, of curves of height 1, below which a fit is done as well
REACH = 8.0  # a positive parameter moves at most by a factor of exp(8), 3,000, from its start
BEYOND = 10.0  # what is in units of the axis is at most this many times its largest value


@dataclass(frozen=True)
class Curve:
    """A formula with parameters, and where a fit of it begins.

    Attributes
    ----------
    formula : callable
        ``formula(x, *parameters)``, in tensors that broadcast.
    parameters : dict of str to (str, str, bool)
        Long name, units ("x" and "y" stand for those of the axes) and whether the parameter
        is positive.
    starts : callable
        From x (n_point,) or (n_point, 2) and curves (n, n_point) to starts
        (n, n_start, n_parameter).
    source : str
        Paper the form is from.

    """

    formula: Callable[..., Tensor]
    parameters: dict[str, tuple[str, str, bool]]
    starts: Callable[[Tensor, Tensor], Tensor]
    source: str


def _von_mises(x: Tensor, base: Tensor, height: Tensor, peak: Tensor, kappa: Tensor) -> Tensor:
    return base + height * torch.exp(kappa * (torch.cos(torch.deg2rad(2 * (x - peak))) - 1))


def _two_von_mises(
    x: Tensor, base: Tensor, height: Tensor, other: Tensor, peak: Tensor, kappa: Tensor
) -> Tensor:
    cosine = torch.cos(torch.deg2rad(x - peak))
    return (
        base + height * torch.exp(kappa * (cosine - 1)) + other * torch.exp(-kappa * (cosine + 1))
    )


def _naka_rushton(x: Tensor, base: Tensor, most: Tensor, half: Tensor, power: Tensor) -> Tensor:
    # In logarithms: x ** power has no derivative where x is 0.
    drive = torch.sigmoid(power * (torch.log(x.clamp(min=1e-12)) - torch.log(half)))
    return base + most * torch.where(x > 0, drive, torch.zeros_like(drive))


def _difference_of_gaussians(
    x: Tensor, center: Tensor, width: Tensor, surround: Tensor, extra: Tensor
) -> Tensor:
    return center * torch.erf(x / width) - surround * torch.erf(x / (width + extra))


def _ratio_of_gaussians(
    x: Tensor, center: Tensor, width: Tensor, surround: Tensor, extra: Tensor
) -> Tensor:
    numerator = center * torch.erf(x / width) ** 2
    return numerator / (1 + surround * torch.erf(x / (width + extra)) ** 2)


def _log_gaussian(
    x: Tensor, base: Tensor, height: Tensor, peak: Tensor, octaves: Tensor
) -> Tensor:
    away = torch.log2(x.clamp(min=1e-12)) - torch.log2(peak)
    return base + height * torch.exp(-(away**2) / (2 * octaves**2))


def _gaussian_patch(
    x: Tensor, base: Tensor, height: Tensor, cx: Tensor, cy: Tensor, sx: Tensor, sy: Tensor
) -> Tensor:
    dx, dy = (x[..., 0] - cx) / sx, (x[..., 1] - cy) / sy
    return base + height * torch.exp(-(dx**2 + dy**2) / 2)


def _extremes(y: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest value, kept a little above 0 for a base to start at, and range of each curve."""
    low, high = y.amin(1), y.amax(1)
    span = (high - low).clamp(min=1e-12)
    return torch.maximum(low, 0.02 * span), span


def _grid(*parts: Tensor | tuple[float, ...], n: int) -> Tensor:
    """Every combination of values per curve (n,) and candidates (floats): (n, n_start, p)."""
    columns = [
        part[:, None] if isinstance(part, Tensor) else torch.tensor(part, dtype=torch.float64)
        for part in parts
    ]
    sizes = [column.shape[-1] for column in columns]
    index = torch.cartesian_prod(*[torch.arange(size) for size in sizes]).reshape(-1, len(sizes))
    return torch.stack(
        [column[..., index[:, i]].expand(n, -1) for i, column in enumerate(columns)], -1
    )


def _start_von_mises(x: Tensor, y: Tensor) -> Tensor:
    low, span = _extremes(y)
    return _grid(low, span, x[y.argmax(1)], (0.7, 2.0, 6.0), n=len(y))


def _start_two_von_mises(x: Tensor, y: Tensor) -> Tensor:
    low, span = _extremes(y)
    peak = x[y.argmax(1)]
    away = torch.cos(torch.deg2rad(x - peak[:, None] - 180))
    opposite = y.gather(1, away.argmax(1)[:, None])[:, 0] - low
    return _grid(low, span, opposite.clamp(min=0.05 * span), peak, (0.7, 2.0, 6.0), n=len(y))


def _start_naka_rushton(x: Tensor, y: Tensor) -> Tensor:
    low, span = _extremes(y)
    above = (y - low[:, None] >= 0.5 * span[:, None]).to(torch.int8)
    half = x[above.argmax(1)].clamp(min=float(x[x > 0].min()) / 2)
    far = torch.full_like(half, float(x.max()))
    first = _grid(low, span, half, (1.0, 2.0, 4.0), n=len(y))
    return torch.cat([first, _grid(low, 2 * span, far, (1.0, 2.0), n=len(y))], 1)


def _start_sizes(x: Tensor, y: Tensor) -> Tensor:
    high = y.amax(1).clamp(min=1e-12)
    radius = x[y.argmax(1)].clamp(min=float(x[x > 0].min()))
    starts = []
    for width in (0.4, 0.8):
        for surround in (0.1, 0.7):
            for extra in (0.5, 2.0):
                parts = (1.2 * high, width * radius, surround * high, extra * radius)
                starts.append(torch.stack(parts, -1))
    return torch.stack(starts, 1)


def _start_ratio(x: Tensor, y: Tensor) -> Tensor:
    starts = _start_sizes(x, y)
    starts[..., 2] /= y.amax(1).clamp(min=1e-12)[:, None]  # the surround divides: no units
    return starts


def _start_log_gaussian(x: Tensor, y: Tensor) -> Tensor:
    low, span = _extremes(y)
    return _grid(low, span, x[y.argmax(1)], (0.5, 1.0, 2.0), n=len(y))


def _start_patch(x: Tensor, y: Tensor) -> Tensor:
    low, span = _extremes(y)
    best = x[y.argmax(1)]
    extent = float((x.amax(0) - x.amin(0)).max())
    return torch.cat(
        [
            _grid(
                low, span, best[:, 0], best[:, 1], (share * extent,), (share * extent,), n=len(y)
            )
            for share in (0.05, 0.15)
        ],
        1,
    )


# Not negative: else a broad curve is as well the tip of an endlessly high and wide one.
BASE, HEIGHT = ("response at rest", "y", True), ("height of the peak", "y", True)
SIZES = {
    "center": ("strength of the centre", "y", True),
    "center_width": ("width of the centre", "x", True),
    "surround": ("strength of the surround", "y", True),
    "extra_width": ("width of the surround beyond the centre's", "x", True),
}
CURVES: dict[str, Curve] = {
    "von_mises": Curve(
        _von_mises,
        {
            "base": BASE,
            "height": HEIGHT,
            "peak": ("preferred orientation", "deg", False),
            "kappa": ("concentration", "1", True),
        },
        _start_von_mises,
        "Swindale (1998), Biological Cybernetics 78: 45-56",
    ),
    "two_von_mises": Curve(
        _two_von_mises,
        {
            "base": BASE,
            "height": HEIGHT,
            "other_height": ("height of the peak opposite", "y", True),
            "peak": ("preferred direction", "deg", False),
            "kappa": ("concentration", "1", True),
        },
        _start_two_von_mises,
        "Swindale (1998), Biological Cybernetics 78: 45-56",
    ),
    "naka_rushton": Curve(
        _naka_rushton,
        {
            "base": BASE,
            "height": ("response at saturation, above rest", "y", True),
            "c50": ("contrast at half saturation", "x", True),
            "exponent": ("exponent", "1", True),
        },
        _start_naka_rushton,
        "Albrecht & Hamilton (1982), Journal of Neurophysiology 48: 217-237",
    ),
    "difference_of_gaussians": Curve(
        _difference_of_gaussians,
        SIZES,
        _start_sizes,
        "Sceniak, Hawken & Shapley (2001), Journal of Neurophysiology 85: 1873-1887",
    ),
    "ratio_of_gaussians": Curve(
        _ratio_of_gaussians,
        SIZES | {"surround": ("strength of the surround", "1", True)},
        _start_ratio,
        "Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88: 2530-2546",
    ),
    "log_gaussian": Curve(
        _log_gaussian,
        {
            "base": BASE,
            "height": HEIGHT,
            "peak": ("preferred value", "x", True),
            "octaves": ("standard deviation in octaves", "octave", True),
        },
        _start_log_gaussian,
        "DeAngelis, Ohzawa & Freeman (1993), Journal of Neurophysiology 69: 1091-1117",
    ),
    "gaussian_patch": Curve(
        _gaussian_patch,
        {
            "base": BASE,
            "height": HEIGHT,
            "center_x": ("horizontal centre", "px", False),
            "center_y": ("vertical centre", "px", False),
            "size_x": ("horizontal standard deviation", "px", True),
            "size_y": ("vertical standard deviation", "px", True),
        },
        _start_patch,
        "",
    ),
}


def evaluate_curve(name: str, x: np.ndarray, fit: dict[str, np.ndarray]) -> np.ndarray:
    """Fitted curves at any points, (..., n_point), where parameters have shape (...).

    Parameters
    ----------
    name : str
        One of `CURVES`.
    x : ndarray of shape (n_point,), or (n_point, 2) for places
    fit : dict of str to ndarray of shape (...)
        As `fit_curve` returns it.

    """
    curve = CURVES[name]
    values = [
        torch.tensor(np.asarray(fit[key]), dtype=torch.float64)[..., None]
        for key in curve.parameters
    ]
    return curve.formula(torch.tensor(np.asarray(x), dtype=torch.float64), *values).numpy()


def fit_curve(
    name: str, x: np.ndarray, curves: np.ndarray, *, job: Job | None = None
) -> dict[str, np.ndarray]:
    """Least-squares fit of a curve to each neuron's tuning.

    Levenberg-Marquardt steps for all neurons and starts at once; the best start counts.

    Parameters
    ----------
    name : {"von_mises", "two_von_mises", "naka_rushton", "difference_of_gaussians", \
"ratio_of_gaussians", "log_gaussian", "gaussian_patch"}
        Line of `CURVES`, where its parameters are.
    x : ndarray of shape (n_point,), or (n_point, 2) for places
        Angles in degrees, contrasts, radii, or frequencies.
    curves : ndarray of shape (..., n_point)
        Responses: the base of a curve is not negative.
    job : Job, optional

    Returns
    -------
    dict of str to ndarray of shape (...)
        The parameters and `r2`, the share of a curve's variance over points that the fit
        explains. NaN where a curve is constant, is not finite, has fewer points than
        the form has parameters, or no start settled.

    Raises
    ------
    InputError
        If `name` is unknown or `curves` do not run along `x`.

    """
    if name not in CURVES:
        msg = f"No curve is called {name!r}; known: {', '.join(CURVES)}."
        raise InputError(msg)
    form, points = CURVES[name], torch.tensor(np.asarray(x), dtype=torch.float64)
    values = np.asarray(curves, np.float64)
    if values.shape[-1:] != (len(points),):
        msg = (
            f"Curves must run along the {len(points)} points of x in their last axis, but have "
            f"shape {values.shape}."
        )
        raise InputError(msg)
    job = job or Job()
    flat = values.reshape(-1, len(points))
    found = np.full((len(flat), len(form.parameters)), np.nan)
    r2 = np.full(len(flat), np.nan)
    known = np.where(np.isfinite(flat).all(1, keepdims=True), flat, 0.0)
    varies = known.max(1) - known.min(1) > FLAT * np.abs(known).max(1)
    enough = len(points) >= len(form.parameters)
    which = np.flatnonzero(varies) if enough else np.empty(0, int)
    for start in range(0, len(which), CHUNK):
        part = which[start : start + CHUNK]
        stage = job.part(start / len(which), min(start + CHUNK, len(which)) / len(which), "fits")
        scale = np.abs(flat[part]).max(1)
        y = torch.as_tensor(flat[part] / scale[:, None])
        theta, error, settled = _descend(form, points, y, stage)
        total = (y - y.mean(1, keepdim=True)).square().sum(1)
        parameters = theta.numpy()
        units = np.array([unit for _, unit, _ in form.parameters.values()])
        parameters[:, units == "y"] *= scale[:, None]
        good = settled.numpy()
        found[part[good]] = parameters[good]
        r2[part[good]] = (1 - error / total).numpy()[good]
    fit = {key: found[:, i].reshape(values.shape[:-1]) for i, key in enumerate(form.parameters)}
    if "von_mises" in name:
        fit["peak"] = fit["peak"] % (360 if name == "two_von_mises" else 180)
    if name == "two_von_mises":
        _put_largest_first(fit)
    return fit | {"r2": r2.reshape(values.shape[:-1])}


def _put_largest_first(fit: dict[str, np.ndarray]) -> None:
    """Make the larger of two peaks the preferred one."""
    swap = fit["other_height"] > fit["height"]
    high, low = np.maximum(fit["height"], fit["other_height"]), fit["other_height"].copy()
    low[swap] = fit["height"][swap]
    fit["height"], fit["other_height"] = high, low
    fit["peak"] = np.where(swap, (fit["peak"] + 180) % 360, fit["peak"])


def _descend(form: Curve, x: Tensor, y: Tensor, job: Job) -> tuple[Tensor, Tensor, Tensor]:
    """Best parameters (n, p) of any start, their squared error (n,), and whether it settled."""
    positive = torch.tensor([flag for _, _, flag in form.parameters.values()])
    starts = form.starts(x, y)
    n, n_start, n_parameter = starts.shape
    free = torch.where(positive, starts.clamp(min=1e-6).log(), starts).flatten(0, 1)
    # What the points do not bear on (the width of a surround that is absent) must not run away.
    reach = torch.where(positive, REACH, torch.inf).to(free)
    lowest, highest = free - reach, free + reach
    of_axis = torch.tensor([unit == "x" for _, unit, _ in form.parameters.values()])
    highest = torch.where(of_axis, highest.clamp(max=float((BEYOND * x.max()).log())), highest)
    target = y.repeat_interleave(n_start, 0)

    def model(free: Tensor) -> Tensor:
        """Curves (m, n_point) of parameters (m, n_parameter), or (m, n_point, n_parameter)."""
        free = free if free.ndim == 3 else free[:, None]
        return form.formula(x, *torch.where(positive, free.exp(), free).unbind(-1))

    error = (model(free) - target).square().sum(1)
    damping = torch.full_like(error, 1e-2)
    settled = torch.zeros_like(error, dtype=torch.bool)
    for step in range(N_STEP):
        job.report(step / N_STEP, f"step {step}")
        open_ = torch.nonzero(~settled)[:, 0]
        if not len(open_):
            break
        here, aim = free[open_], target[open_]
        # Each point gets parameters of its own, so that one backward pass gives every slope.
        each = here[:, None].expand(-1, len(x), -1).detach().requires_grad_()
        value = model(each)
        (jacobian,) = torch.autograd.grad(value.sum(), each)
        residual = value.detach() - aim
        normal = jacobian.mT @ jacobian
        gradient = (jacobian.mT @ residual[..., None])[..., 0]
        diagonal = normal.diagonal(dim1=1, dim2=2)
        floor = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-15
        ridge = damping[open_, None] * (diagonal + floor) + floor * 1e-3
        move = torch.linalg.solve_ex(normal + torch.diag_embed(ridge), gradient)[0]
        tried = (here - move).clamp(lowest[open_], highest[open_])
        new = (model(tried) - aim).square().sum(1)
        old = error[open_]
        better = torch.isfinite(new) & (new < old)
        free[open_[better]] = tried[better]
        error[open_[better]] = new[better]
        damping[open_] = torch.where(better, damping[open_] * 0.3, damping[open_] * 5)
        done = (better & (old - new <= SETTLED * old)) | (damping[open_] > 1e12)
        settled[open_] = done | (error[open_] < EXACT)
    error = torch.where(torch.isfinite(error) & settled, error, torch.inf).reshape(n, n_start)
    best = error.argmin(1)
    row = torch.arange(n)
    chosen = free.reshape(n, n_start, -1)[row, best]
    theta = torch.where(positive, chosen.exp(), chosen)
    least = error[row, best]
    return theta, least, torch.isfinite(least) & torch.isfinite(theta).all(1)
