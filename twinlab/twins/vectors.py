"""Sixteen numbers at a time, in compiled kernels: vectors, and the blocks that take the time.

A compiler left alone does not keep a block of sums in registers, which is what makes a matrix
product or a convolution reach the speed of the machine. Here the blocks are spelled out once;
what calls them is plain Python that numba compiles. An array of unsigned 16-bit numbers holds
bfloat16 (the upper half of a float32) and is widened and rounded on the way; products of such
numbers are taken two at a time, in the processor's own instruction where it has one.
"""

# Compiled functions have no written types: numba infers them. Their calls stay in one line.
# ruff: noqa: ANN001, ANN201, ANN202, E501
# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

__all__ = [
    "FAST", "WIDTH", "add", "along_channel", "along_pixel", "correlate", "decay", "elu",
    "filter_row", "fma", "load", "multiply", "slope", "spread", "store", "subtract", "times",
    "total", "zero",
]  # fmt: skip

# Sums may be reordered and fused, which lets them run on vector units; NaN and infinity keep
# their meaning, so a failing fit is seen.
FAST = {"contract", "reassoc", "arcp", "nsz"}

WIDTH = 16  # numbers in a vector; narrower processors take several steps for one

_FEATURES = get_host_cpu_features()
_WIDE = _FEATURES.get("avx512f", False)
_PAIRS = _FEATURES.get("avx512bf16", False)
# Sums that stay in registers: rows and vectors of a product, points of a convolution.
_ROWS, _VECTORS, _POINTS = (4, 4, 8) if _WIDE else (6, 1, 4)

_I32 = ir.IntType(32)
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(_I32, WIDTH)
_SHORTS = ir.VectorType(ir.IntType(16), WIDTH)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


_vector = _Vector()


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * WIDTH)


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f32")
    return builder.call(function, [a, b, c])


def _spread(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, WIDTH)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        single, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, WIDTH), None)
    )


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [at])


def _read(builder: Any, place: Any, kind: ir.VectorType) -> Any:
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=kind.element.width // 8)


def _read_floats(builder: Any, place: Any) -> Any:
    """Vector of float32 or widened bfloat16 numbers."""
    if place.type.pointee == ir.FloatType():
        loaded = builder.load(builder.bitcast(place, _FLOATS.as_pointer()))
        loaded.align = 4
        return loaded
    whole = builder.zext(_read(builder, place, _SHORTS), _INTS)
    return builder.bitcast(builder.shl(whole, _constant(_INTS, 16)), _FLOATS)


class _BFloat(ir.Type):
    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _halves(builder: Any, value: Any) -> Any:
    """Bits of the nearest bfloat16 numbers, ties to even."""
    if _PAIRS:
        kind = ir.FunctionType(ir.VectorType(_BFloat(), WIDTH), [_FLOATS])
        function = cgutils.get_or_insert_function(
            builder.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512"
        )
        return builder.bitcast(builder.call(function, [value]), _SHORTS)
    bits = builder.bitcast(value, _INTS)
    odd = builder.and_(builder.lshr(bits, _constant(_INTS, 16)), _constant(_INTS, 1))
    rounded = builder.add(bits, builder.add(odd, _constant(_INTS, 0x7FFF)))
    return builder.trunc(builder.lshr(rounded, _constant(_INTS, 16)), _SHORTS)


def _write(builder: Any, place: Any, value: Any) -> None:
    if place.type.pointee == ir.FloatType():
        builder.store(value, builder.bitcast(place, _FLOATS.as_pointer()), align=4)
        return
    target = builder.bitcast(place, _SHORTS.as_pointer())
    builder.store(_halves(builder, value), target, align=2)


@intrinsic
def load(typing: Any, array: Any, at: Any) -> Any:
    """Vector of the numbers from `at` on in a flat array."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _read_floats(builder, _place(context, builder, signature.args[0], *values))

    return _vector(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """Put a vector to `at` in a flat array."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _write(builder, _place(context, builder, signature.args[0], *values[:2]), values[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, value), build


@intrinsic
def _store_pairs(typing: Any, array: Any, at: Any, even: Any, odd: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _place(context, builder, signature.args[0], *values[:2])
        low, high = (builder.zext(_halves(builder, value), _INTS) for value in values[2:])
        high = builder.shl(high, _constant(_INTS, 16))
        target = builder.bitcast(place, _INTS.as_pointer())
        builder.store(builder.or_(low, high), target, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, even, odd), build


def _elementwise(count: int, make: Any) -> Any:
    """Intrinsic of `count` vectors, from what builds one vector of them."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return make(builder, *values)

    def one(typing: Any, a: Any) -> Any:
        return _vector(a), build

    def two(typing: Any, a: Any, b: Any) -> Any:
        return _vector(a, b), build

    def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return _vector(a, b, c), build

    return intrinsic([one, two, three][count - 1])


def _build_decay(builder: Any, value: Any) -> Any:
    """Powers of two times a polynomial (Cephes' coefficients); NaN stays NaN."""

    def number(constant: float) -> ir.Constant:
        return _constant(_FLOATS, constant)

    above = builder.fcmp_ordered(">", value, number(0.0))
    value = builder.select(above, number(0.0), value)
    below = builder.fcmp_ordered("<", value, number(-87.0))
    value = builder.select(below, number(-87.0), value)
    # Adding 1.5 * 2**23 rounds to a whole number, which then stands in the lowest bits.
    shifted = _fused(builder, value, number(1.4426950216293335), number(12582912.0))
    power = builder.fsub(shifted, number(12582912.0))
    rest = _fused(builder, power, number(-0.693359375), value)
    rest = _fused(builder, power, number(2.1219444170128554e-4), rest)
    total = number(1.9875691214110702e-4)
    for coefficient in (
        1.3981999363750219e-3, 8.333452045917511e-3, 4.1665796190500259e-2,
        1.6666665673255920e-1, 0.5,
    ):  # fmt: skip
        total = _fused(builder, total, rest, number(coefficient))
    total = _fused(builder, total, builder.fmul(rest, rest), rest)
    total = builder.fadd(total, number(1.0))
    bits = builder.shl(builder.bitcast(shifted, _INTS), _constant(_INTS, 23))
    scale = builder.add(bits, _constant(_INTS, 0x3F800000))
    return builder.fmul(total, builder.bitcast(scale, _FLOATS))


def _build_elu(builder: Any, value: Any) -> Any:
    above = builder.fcmp_ordered(">", value, _constant(_FLOATS, 0.0))
    below = builder.fsub(_build_decay(builder, value), _constant(_FLOATS, 1.0))
    return builder.select(above, value, below)


def _build_slope(builder: Any, value: Any) -> Any:
    above = builder.fcmp_ordered(">", value, _constant(_FLOATS, 0.0))
    one = _constant(_FLOATS, 1.0)
    return builder.select(above, one, builder.fadd(value, one))


add = _elementwise(2, lambda builder, a, b: builder.fadd(a, b))
subtract = _elementwise(2, lambda builder, a, b: builder.fsub(a, b))
times = _elementwise(2, lambda builder, a, b: builder.fmul(a, b))
fma = _elementwise(3, _fused)  # a * b + c
elu = _elementwise(1, _build_elu)  # x above 0, exp(x) - 1 below
decay = _elementwise(1, _build_decay)  # exp(x) where x is below 0, and 1 above

slope = _elementwise(1, _build_slope)  # of an ELU, from its result


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """Vector of one number."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _spread(builder, values[0])

    return _vector(types.float32), build


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """Sum of a vector."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _FLOATS])
        name = f"llvm.vector.reduce.fadd.v{WIDTH}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        start = ir.Constant(ir.FloatType(), -0.0)
        return builder.call(function, [start, *values], fastmath=("reassoc",))

    return types.float32(vector), build


@intrinsic
def zero(typing: Any) -> Any:
    """Vector of zeros."""
    return _vector(), lambda context, builder, signature, values: _constant(_FLOATS, 0.0)


def _multiply_pairs(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Sum of c and the products of both halves of a and b, vectors of two bfloat16 each."""
    if _PAIRS:
        halves = ir.VectorType(_BFloat(), 2 * WIDTH)
        kind = ir.FunctionType(_FLOATS, [_FLOATS, halves, halves])
        function = cgutils.get_or_insert_function(
            builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512"
        )
        return builder.call(function, [c, builder.bitcast(a, halves), builder.bitcast(b, halves)])
    for pick in (
        lambda x: builder.shl(x, _constant(_INTS, 16)),
        lambda x: builder.and_(x, _constant(_INTS, 0xFFFF0000)),
    ):
        low, high = (builder.bitcast(pick(x), _FLOATS) for x in (a, b))
        c = _fused(builder, low, high, c)
    return c


@intrinsic(prefer_literal=True)
def _multiply_block(
    typing: Any, rows: Any, vectors: Any, adds: Any, left: Any, left_at: Any, left_row: Any,
    left_step: Any, right: Any, right_at: Any, right_step: Any, out: Any, out_at: Any,
    out_row: Any, steps: Any,
) -> Any:  # fmt: skip
    """One block of `multiply` whose sums fit the registers."""
    n_row, n_vector, add_to = rows.literal_value, vectors.literal_value, adds.literal_value
    pairs = left.dtype == types.uint32

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args
        source = _place(context, builder, kinds[3], values[3], values[4])
        left_row, left_step = values[5:7]
        weights = _place(context, builder, kinds[7], values[7], values[8])
        right_step = values[9]
        target = _place(context, builder, kinds[10], values[10], values[11])
        out_row, steps = values[12:]

        def of(base: Any, index: Any, stride: Any) -> Any:
            return builder.gep(base, [builder.mul(index, stride)])

        def number(value: int) -> Any:
            return ir.Constant(steps.type, value)

        starts = [of(source, number(row), left_row) for row in range(n_row)]
        targets = [
            [builder.gep(of(target, number(row), out_row), [number(WIDTH * vector)])
             for vector in range(n_vector)]
            for row in range(n_row)
        ]  # fmt: skip
        sums = [[cgutils.alloca_once(builder, _FLOATS) for _ in line] for line in targets]
        for line, places in zip(sums, targets, strict=True):
            for total, place in zip(line, places, strict=True):
                first = _read_floats(builder, place) if add_to else _constant(_FLOATS, 0.0)
                builder.store(first, total)
        with cgutils.for_range(builder, steps) as loop:
            begin = of(weights, loop.index, right_step)
            shared = []
            for vector in range(n_vector):
                place = builder.gep(begin, [number(WIDTH * vector)])
                shared.append(
                    _read(builder, place, _INTS) if pairs else _read_floats(builder, place)
                )
            for start, line in zip(starts, sums, strict=True):
                single = _spread(builder, builder.load(of(start, loop.index, left_step)))
                for total, weight in zip(line, shared, strict=True):
                    product = _multiply_pairs if pairs else _fused
                    builder.store(product(builder, single, weight, builder.load(total)), total)
        for line, places in zip(sums, targets, strict=True):
            for total, place in zip(line, places, strict=True):
                _write(builder, place, builder.load(total))
        return context.get_dummy_value()

    sizes = [types.intp] * 3
    return types.void(
        rows, vectors, adds, left, *sizes, right, *sizes[:2], out, *sizes[:2], types.intp
    ), build


# fmt: off
@numba.njit(nogil=True, fastmath=FAST)
def multiply(adds, left, left_at, left_row, left_step, right, right_at, right_step, out, out_at, out_row, rows, columns, steps): # noqa: ANN001, ANN202, E501
    """Matrix product into `out` (rows, columns), or added to it; `columns` in whole vectors.

    ``out[i, j] = sum_k left[i, k] * right[k, j]``; `left` has any two strides, the columns of
    `right` and `out` are next to each other. Unsigned 32-bit numbers are pairs of bfloat16
    along k, multiplied and summed in float32.
    """
    column = 0
    while column < columns:
        wide = columns - column >= _VECTORS * WIDTH
        row = 0
        while row < rows:
            many = rows - row >= _ROWS
            a = left_at + row * left_row
            b = right_at + column
            c = out_at + row * out_row + column
            if wide and many:
                _multiply_block(_ROWS, _VECTORS, adds, left, a, left_row, left_step, right, b, right_step, out, c, out_row, steps)
            elif wide:
                _multiply_block(1, _VECTORS, adds, left, a, left_row, left_step, right, b, right_step, out, c, out_row, steps)
            elif many:
                _multiply_block(_ROWS, 1, adds, left, a, left_row, left_step, right, b, right_step, out, c, out_row, steps)
            else:
                _multiply_block(1, 1, adds, left, a, left_row, left_step, right, b, right_step, out, c, out_row, steps)
            row += _ROWS if many else 1
        column += _VECTORS * WIDTH if wide else WIDTH
# fmt: on


@intrinsic(prefer_literal=True)
def _filter_block(
    typing: Any, kernel: Any, points: Any, source: Any, at: Any, source_row: Any, weight: Any,
    weight_at: Any, out: Any, out_at: Any, channels: Any,
) -> Any:  # fmt: skip
    """`points` neighbouring points of `filter_row`, one vector of channels."""
    size, n_point = kernel.literal_value, points.literal_value

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args
        begin = _place(context, builder, kinds[2], values[2], values[3])
        source_row, channels = values[4], values[9]
        weights = _place(context, builder, kinds[5], values[5], values[6])
        target = _place(context, builder, kinds[7], values[7], values[8])

        def step(base: Any, number: int) -> Any:
            stride = builder.mul(channels, ir.Constant(channels.type, number))
            return builder.gep(base, [stride])

        sums = [cgutils.alloca_once(builder, _FLOATS) for _ in range(n_point)]
        for total in sums:
            builder.store(_constant(_FLOATS, 0.0), total)
        with cgutils.for_range(builder, ir.Constant(channels.type, size)) as loop:
            line = builder.gep(begin, [builder.mul(loop.index, source_row)])
            taps = builder.gep(
                weights,
                [builder.mul(builder.mul(loop.index, ir.Constant(channels.type, size)), channels)],
            )
            tap = [_read_floats(builder, step(taps, right)) for right in range(size)]
            for place in range(n_point + size - 1):
                value = _read_floats(builder, step(line, place))
                for right in range(size):
                    if 0 <= place - right < n_point:
                        total = sums[place - right]
                        builder.store(
                            _fused(builder, value, tap[right], builder.load(total)), total
                        )
        for number, total in enumerate(sums):
            _write(builder, step(target, number), builder.load(total))
        return context.get_dummy_value()

    size_type = types.intp
    return types.void(
        kernel, points, source, size_type, size_type, weight, size_type, out, size_type, size_type
    ), build


@intrinsic(prefer_literal=True)
def _correlate_block(
    typing: Any, kernel: Any, points: Any, source: Any, at: Any, gradient: Any, gradient_at: Any,
    out: Any, out_at: Any, channels: Any, blocks: Any,
) -> Any:  # fmt: skip
    """`blocks` times `points` points of one row of `correlate`, one vector of channels."""
    size, n_point = kernel.literal_value, points.literal_value

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args
        begin = _place(context, builder, kinds[2], values[2], values[3])
        given = _place(context, builder, kinds[4], values[4], values[5])
        target = _place(context, builder, kinds[6], values[6], values[7])
        channels, blocks = values[8:]

        def step(base: Any, number: int) -> Any:
            stride = builder.mul(channels, ir.Constant(channels.type, number))
            return builder.gep(base, [stride])

        sums = [cgutils.alloca_once(builder, _FLOATS) for _ in range(size)]
        for right, total in enumerate(sums):
            builder.store(_read_floats(builder, step(target, right)), total)
        with cgutils.for_range(builder, blocks) as loop:
            stride = builder.mul(channels, ir.Constant(channels.type, n_point))
            ahead = builder.mul(loop.index, stride)
            line, wanted = builder.gep(begin, [ahead]), builder.gep(given, [ahead])
            point = [_read_floats(builder, step(wanted, number)) for number in range(n_point)]
            for place in range(n_point + size - 1):
                value = _read_floats(builder, step(line, place))
                for right in range(size):
                    if 0 <= place - right < n_point:
                        total = sums[right]
                        product = _fused(builder, value, point[place - right], builder.load(total))
                        builder.store(product, total)
        for right, total in enumerate(sums):
            _write(builder, step(target, right), builder.load(total))
        return context.get_dummy_value()

    size_type = types.intp
    return types.void(
        kernel, points, source, size_type, gradient, size_type, out, size_type, size_type,
        size_type,
    ), build  # fmt: skip


# fmt: off
@numba.njit(nogil=True, fastmath=FAST)
def filter_row(kernel, source, at, source_row, weight, out, out_at, points, channels): # noqa: ANN001, ANN202
    """One row of a depthwise convolution: `points` points of all channels, channels innermost.

    `at` is the upper left of the first point's window in a padded map whose rows lie
    `source_row` apart; `weight` is (y, x, channel).
    """
    point = 0
    while point < points:
        if points - point < _POINTS < points:
            point = points - _POINTS  # some again: cheaper than the rest one by one
        many = points - point >= _POINTS
        for channel in range(0, channels, WIDTH):
            a = at + point * channels + channel
            c = out_at + point * channels + channel
            if many:
                _filter_block(kernel, _POINTS, source, a, source_row, weight, channel, out, c, channels)
            else:
                _filter_block(kernel, 1, source, a, source_row, weight, channel, out, c, channels)
        point += _POINTS if many else 1


@numba.njit(nogil=True, fastmath=FAST)
def correlate(kernel, source, at, source_row, gradient, gradient_at, out, points, channels): # noqa: ANN001, ANN202
    """Add one row's part of the gradient of depthwise weights (y, x, channel) to `out`.

    `at` and `source_row` as in `filter_row`; `gradient` (point, channel) is that of the row.
    """
    whole = points // 4
    for channel in range(0, channels, WIDTH):
        for down in range(kernel):
            a = at + down * source_row + channel
            g = gradient_at + channel
            c = down * kernel * channels + channel
            _correlate_block(kernel, 4, source, a, gradient, g, out, c, channels, whole)
            a += 4 * whole * channels
            g += 4 * whole * channels
            _correlate_block(kernel, 1, source, a, gradient, g, out, c, channels, points - 4 * whole)
# fmt: on


def along_channel(values, points, channels, room):  # noqa: ANN001, ANN201
    """Rows (point, channel) as an operand of `multiply` that is summed over channels."""
    raise NotImplementedError


def along_pixel(values, points, channels, room):  # noqa: ANN001, ANN201
    """Rows (point, channel) as an operand of `multiply` that is summed over points."""
    raise NotImplementedError


@overload(along_channel, inline="never")
def _along_channel(values, points, channels, room):  # noqa: ANN001, ANN202
    if room.dtype == types.float32:
        return lambda values, points, channels, room: values

    def rounded(values, points, channels, room):  # noqa: ANN001, ANN202
        halves = room.view(np.uint16)
        for at in range(0, points * channels, WIDTH):
            store(halves, at, load(values, at))
        return room

    return rounded


@overload(along_pixel, inline="never")
def _along_pixel(values, points, channels, room):  # noqa: ANN001, ANN202
    if room.dtype == types.float32:
        return lambda values, points, channels, room: values

    def rounded(values, points, channels, room):  # noqa: ANN001, ANN202
        for pair in range((points + 1) // 2):
            for channel in range(0, channels, WIDTH):
                at = 2 * pair * channels + channel
                odd = load(values, at + channels) if 2 * pair + 1 < points else zero()
                _store_pairs(room, pair * channels + channel, load(values, at), odd)
        return room

    return rounded
