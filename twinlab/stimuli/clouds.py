"""Motion clouds: drifting noise in a band of orientation, spatial frequency and speed."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed
from twinlab.stimuli.parameters import (
    Values,
    aliased_gratings,
    alike,
    broadcast,
    in_pixels,
    label,
    mark_aliased,
    pixels,
    video_times,
)

__all__ = ["make_motion_clouds"]


def make_motion_clouds(
    direction: Values,
    spatial_frequency: Values,
    seed: int,
    *,
    speed: Values,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    orientation: Values | None = None,
    orientation_bandwidth: Values = 15.0,
    spatial_frequency_bandwidth: Values = 0.5,
    speed_bandwidth: Values | None = None,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 0.25,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    r"""Gaussian noise that drifts, one video for each set of parameters.

    White noise in space and time whose power is shaped as the product of a Gaussian of
    :math:`\log_2 f` (per octave of spatial frequency :math:`f`), a von Mises function of
    orientation, and at each :math:`f` a Gaussian of temporal frequency about the plane of the
    velocity :math:`v`, :math:`f_t = -(f_x v_x + f_y v_y)`, of standard deviation
    :math:`f \sigma_v`. It holds no more objects or edges than noise does, while its motion,
    scale and orientation are each as precise as wished. Opposite edges join, and so do the last
    frame and the first.

    Parameters
    ----------
    direction : float or array of shape (n_video,)
        Of the motion, in degrees: 0 is rightwards, 90 upwards.
    spatial_frequency : float or array of shape (n_video,)
        Centre of the band in cycles per pixel, or per degree of visual angle where
        `degrees_per_pixel` is given.
    seed : int
        Video i depends on `seed`, i and its own parameters alone.
    speed : float or array of shape (n_video,)
        In pixels or degrees per second.
    n_frame : int
    frame_rate_hz : float
    height, width, channel : int
        Size of the frames; all channels are alike.
    orientation : float or array of shape (n_video,), optional
        Of the bars, in degrees as in `make_gratings`; across the motion where absent.
    orientation_bandwidth : float or array of shape (n_video,)
        Standard deviation, in degrees; above about 60 all orientations are nearly alike.
    spatial_frequency_bandwidth : float or array of shape (n_video,)
        Standard deviation, in octaves.
    speed_bandwidth : float or array of shape (n_video,), optional
        Standard deviation, in pixels or degrees per second; a quarter of the speed where absent.
        What moves at one speed keeps its form; the broader, the sooner it changes. The band
        is never finer than a video of this length can show.
    mean : float
        Grey level of every frame.
    contrast : float or array of shape (n_video,)
        Expected RMS contrast: the standard deviation divided by `mean`. Grey levels are not
        clipped; see `clip_stimulus`.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels. `aliased` marks those
        with under two pixels or two frames to a cycle at the centre of the band, of which
        a warning tells.

    Raises
    ------
    InputError
        If a parameter is out of range, or no frequency of a video of this size is in the band.

    References
    ----------
    Leon, Vanzetta, Masson & Perrinet (2012), Journal of Neurophysiology 107: 3217-3226.

    """
    video_times(n_frame, frame_rate_hz)
    pixels(height, width, channel)
    parameters = broadcast(
        direction=direction,
        spatial_frequency=spatial_frequency,
        speed=speed,
        orientation=np.subtract(direction, 90) % 180 if orientation is None else orientation,
        orientation_bandwidth=orientation_bandwidth,
        spatial_frequency_bandwidth=spatial_frequency_bandwidth,
        speed_bandwidth=np.divide(speed, 4) if speed_bandwidth is None else speed_bandwidth,
        rms_contrast=contrast,
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    n = len(drawn["direction"])
    shape = (n_frame, height, width)
    videos = np.empty((n, *shape), np.float32)
    check_seed(seed)
    for i in range(n):
        one = {name: float(value[i]) for name, value in drawn.items()}
        amplitude = _amplitude(shape, frame_rate_hz, one)
        power = (amplitude**2).mean()
        if not power > 0:
            msg = (
                f"No frequency of a {height} x {width} image is in a band about "
                f"`spatial_frequency` {parameters['spatial_frequency'][i]:g}, or "
                f"{one['spatial_frequency']:.3g} cycles per pixel; it can be 0.5 at most and must "
                "be above 0."
            )
            raise InputError(msg)
        noise = np.random.default_rng([seed, i]).standard_normal(shape)
        cloud = np.fft.ifftn(np.fft.fftn(noise) * amplitude).real / np.sqrt(power)
        videos[i] = mean * (1 + one["rms_contrast"] * cloud)
    stimulus = label(
        alike(videos, channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    stimulus.attrs |= {"kind": "motion clouds", "seed": seed}
    turn = np.deg2rad(drawn["direction"] - 90 - drawn["orientation"])
    passing = drawn["spatial_frequency"] * drawn["speed"] * np.cos(turn)
    aliased = aliased_gratings(
        drawn["orientation"], drawn["spatial_frequency"], passing, frame_rate_hz
    )
    return mark_aliased(stimulus, aliased)


def _amplitude(
    shape: tuple[int, int, int], frame_rate_hz: float, one: dict[str, float]
) -> np.ndarray:
    """Amplitude spectrum (frame, y, x) of one cloud, of any scale, symmetric about 0."""
    n_frame, height, width = shape
    temporal = np.fft.fftfreq(n_frame, 1 / frame_rate_hz)[:, None, None]
    down = np.fft.fftfreq(height)[:, None]
    right = np.fft.fftfreq(width)
    frequency = np.hypot(down, right)
    frequency[0, 0] = np.inf  # has no orientation and is left out: all frames have one mean
    if not one["spatial_frequency"] > 0:
        return np.zeros(shape)

    octaves = np.log2(frequency / one["spatial_frequency"])
    # A ring of frequencies an octave wide has an area of frequency ** 2; the power per octave
    # is what is Gaussian.
    radial = np.exp(-((octaves / one["spatial_frequency_bandwidth"]) ** 2) / 2) / frequency**2
    # The wave vector of horizontal bars points down, that of bars at 90 degrees right.
    bars = np.arctan2(right, down)
    concentration = 1 / (4 * np.deg2rad(one["orientation_bandwidth"]) ** 2)
    apart = bars - np.deg2rad(one["orientation"])
    angular = np.exp(concentration * (np.cos(2 * apart) - 1))

    heading = np.deg2rad(one["direction"])
    passing = one["speed"] * (right * np.cos(heading) - down * np.sin(heading))
    off_plane = temporal + passing
    # Frames at a finite rate repeat the spectrum: what is too fast is seen as slower.
    off_plane -= frame_rate_hz * np.round(off_plane / frame_rate_hz)
    finest = frame_rate_hz / n_frame / 2
    spread = np.maximum(one["speed_bandwidth"] * np.where(frequency < 1, frequency, 0), finest)
    in_time = np.exp(-((off_plane / spread) ** 2) / 2)
    in_time /= in_time.sum(0)  # the spatial spectrum is the same at every speed
    return np.sqrt(radial * angular * in_time)
