"""Elementary functions that numba can vectorise: exp, tanh, sigmoid, erf, sin and cos, relatively accurate at small arguments.

numba calls the scalar C library for these, which does not vectorise. Each function here is straight-line code with selects, in
float64 (``_64``) or float32 (``_32``). Odd functions have a branch of their own near zero: condensation lives at
arguments of 1e-6 and below, where 2 sigmoid(2z) − 1 would lose every digit.

Only contraction is allowed to the compiler: reassociation would undo the range reductions.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = [
    "erf_32",
    "erf_64",
    "exp_32",
    "exp_64",
    "select",
    "sigmoid_32",
    "sigmoid_64",
    "sincos_32",
    "sincos_64",
    "tanh_32",
    "tanh_64",
]

exact = numba.njit(fastmath={"contract"}, error_model="numpy", forceinline=True)


@intrinsic
def power_of_two(typingctx, shifted):
    """2^k from a float whose lowest mantissa bits hold the integer k (k + 1.5·2^52, or k + 1.5·2^23 in single precision)."""
    if shifted == types.float64:
        word, real, bits, bias = ir.IntType(64), ir.DoubleType(), 52, 1023
    elif shifted == types.float32:
        word, real, bits, bias = ir.IntType(32), ir.FloatType(), 23, 127
    else:
        return None

    def generate(context, builder, signature, args):
        integer = builder.bitcast(args[0], word)
        exponent = builder.add(builder.shl(integer, ir.Constant(word, bits)), ir.Constant(word, bias << bits))
        return builder.bitcast(exponent, real)

    return shifted(shifted), generate


@intrinsic
def parity_sign(typingctx, shifted, value):
    """``value`` with its sign flipped when the integer in ``shifted`` has bit 1 set (k ≡ 2, 3 mod 4)."""
    return _flip(shifted, value, 1)


@intrinsic
def select(typingctx, condition, yes, no):
    """``yes if condition else no`` with both sides computed: branches would keep loops from being vectorised."""
    if condition != types.boolean or yes != no:
        return None

    def generate(context, builder, signature, args):
        return builder.select(*args)

    return yes(condition, yes, no), generate


@intrinsic
def with_sign(typingctx, size, sign):
    """``size`` (not negative) with the sign of ``sign``."""
    return _sign_of(size, sign)


@intrinsic
def odd(typingctx, shifted):
    """Whether the integer in ``shifted`` is odd."""
    if shifted not in (types.float64, types.float32):
        return None
    word = ir.IntType(64 if shifted == types.float64 else 32)

    def generate(context, builder, signature, args):
        bit = builder.and_(builder.bitcast(args[0], word), ir.Constant(word, 1))
        return builder.icmp_signed("!=", bit, ir.Constant(word, 0))

    return types.boolean(shifted), generate


def _flip(shifted, value, bit):
    if shifted != value or shifted not in (types.float64, types.float32):
        return None
    width, real = (64, ir.DoubleType()) if shifted == types.float64 else (32, ir.FloatType())
    word = ir.IntType(width)

    def generate(context, builder, signature, args):
        mask = builder.and_(builder.bitcast(args[0], word), ir.Constant(word, 1 << bit))
        mask = builder.shl(mask, ir.Constant(word, width - 1 - bit))
        return builder.bitcast(builder.xor(builder.bitcast(args[1], word), mask), real)

    return value(shifted, value), generate


def _sign_of(size, sign):
    if size != sign or size not in (types.float64, types.float32):
        return None
    width, real = (64, ir.DoubleType()) if size == types.float64 else (32, ir.FloatType())
    word = ir.IntType(width)

    def generate(context, builder, signature, args):
        top = builder.and_(builder.bitcast(args[1], word), ir.Constant(word, 1 << (width - 1)))
        return builder.bitcast(builder.or_(builder.bitcast(args[0], word), top), real)

    return size(size, sign), generate


# exp(x) = 2^k exp(r), r = x − k ln 2 in two parts (Cody and Waite), exp(r) by its Taylor polynomial: |r| ≤ 0.3466, so that the
# first term left out is below 5e-18 in double and 5e-9 in single precision.
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_LN2_HIGH_32, _LN2_LOW_32 = 0.693359375, -2.12194440e-4
_C = [1 / math.factorial(k) for k in range(14)]
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = _C[2:]
_F = [np.float32(c) for c in _C]
_F2, _F3, _F4, _F5, _F6, _F7, _F8 = _F[2:9]
_MAGIC, _MAGIC_32 = 1.5 * 2.0**52, np.float32(1.5 * 2.0**23)
_INV_LN2, _INV_LN2_32 = 1 / math.log(2), np.float32(1 / math.log(2))


@exact
def exp_64(x):
    """e^x in double precision; saturates at the ends of the normal range instead of over- or underflowing."""
    # exp(±708) is still a normal number; beyond, the power of two would wrap around.
    x = select(x > 709.0, 709.0, x)
    x = select(x < -708.0, -708.0, x)
    shifted = x * _INV_LN2 + _MAGIC
    k = shifted - _MAGIC
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _C13
    p = p * r + _C12
    p = p * r + _C11
    p = p * r + _C10
    p = p * r + _C9
    p = p * r + _C8
    p = p * r + _C7
    p = p * r + _C6
    p = p * r + _C5
    p = p * r + _C4
    p = p * r + _C3
    p = p * r + _C2
    return ((p * r) * r + r + 1.0) * power_of_two(shifted)


@exact
def exp_32(x):
    """e^x in single precision; saturates likewise."""
    one = np.float32(1.0)
    x = select(x > np.float32(88.0), np.float32(88.0), x)
    x = select(x < np.float32(-87.0), np.float32(-87.0), x)
    shifted = x * _INV_LN2_32 + _MAGIC_32
    k = shifted - _MAGIC_32
    r = (x - k * np.float32(_LN2_HIGH_32)) - k * np.float32(_LN2_LOW_32)
    p = _F8
    p = p * r + _F7
    p = p * r + _F6
    p = p * r + _F5
    p = p * r + _F4
    p = p * r + _F3
    p = p * r + _F2
    return ((p * r) * r + r + one) * power_of_two(shifted)


# tanh: z + z³ P(z²)/Q(z²) for |z| < 0.625 (Cephes), else 1 − 2/(exp(2|z|) + 1) with the sign of z.
@exact
def tanh_64(z):
    """tanh z in double precision."""
    size = abs(z)
    s = z * z
    top = ((-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3) * s
    bottom = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
    near = z + z * (top / bottom)
    far = 1.0 - 2.0 / (exp_64(2.0 * size) + 1.0)
    return select(size < 0.625, near, with_sign(far, z))


@exact
def tanh_32(z):
    """tanh z in single precision."""
    one, two = np.float32(1.0), np.float32(2.0)
    size = abs(z)
    s = z * z
    p = np.float32(-5.70498872745e-3)
    p = p * s + np.float32(2.06390887954e-2)
    p = p * s + np.float32(-5.37397155531e-2)
    p = p * s + np.float32(1.33314422036e-1)
    p = p * s + np.float32(-3.33332819422e-1)
    near = z + z * (p * s)
    far = one - two / (exp_32(two * size) + one)
    return select(size < np.float32(0.625), near, with_sign(far, z))


# erf: z T(z²)/U(z²) for |z| < 1, else 1 − exp(−z²) P(|z|)/Q(|z|) (Cephes); beyond 6 it is ±1 to the last bit.
@exact
def erf_64(z):
    """erf z in double precision."""
    s = z * z
    t = 9.60497373987051638749e0
    t = t * s + 9.00260197203842689217e1
    t = t * s + 2.23200534594684319226e3
    t = t * s + 7.00332514112805075473e3
    t = t * s + 5.55923013010394962768e4
    u = s + 3.35617141647503099647e1
    u = u * s + 5.21357949780152679795e2
    u = u * s + 4.59432382970980127987e3
    u = u * s + 2.26290000613890934246e4
    u = u * s + 4.92673942608635921086e4
    near = z * t / u
    size = abs(z)
    size = select(size > 6.5, 6.5, size)
    p = 2.46196981473530512524e-10
    p = p * size + 5.64189564831068821977e-1
    p = p * size + 7.46321056442269912687e0
    p = p * size + 4.86371970985681366614e1
    p = p * size + 1.96520832956077098242e2
    p = p * size + 5.26445194995477358631e2
    p = p * size + 9.34528527171957607540e2
    p = p * size + 1.02755188689515710272e3
    p = p * size + 5.57535335369399327526e2
    q = size + 1.32281951154744992508e1
    q = q * size + 8.67072140885989742329e1
    q = q * size + 3.54937778887819891062e2
    q = q * size + 9.75708501743205489753e2
    q = q * size + 1.82390916687909736289e3
    q = q * size + 2.24633760818710981792e3
    q = q * size + 1.65666309194161350182e3
    q = q * size + 5.57535340817727675546e2
    far = 1.0 - exp_64(-size * size) * p / q
    return select(s < 1.0, near, with_sign(far, z))


# sin and cos: z = k π/2 + r in three parts, |r| ≤ π/4; then the Taylor polynomials (first term left out below 1e-17, 1e-8).
_PIO2_1, _PIO2_2, _PIO2_3 = 1.57079632673412561417e0, 6.07710050630396597660e-11, 2.02226624879595063154e-21
_TWO_OVER_PI, _TWO_OVER_PI_32 = 2 / math.pi, np.float32(2 / math.pi)
_PIO2_1_32, _PIO2_2_32, _PIO2_3_32 = np.float32(1.5703125), np.float32(4.83751296997e-4), np.float32(7.54978995489e-8)


@exact
def sincos_64(z):
    """(sin z, cos z) in double precision, fully accurate for |z| up to about 1e6."""
    shifted = z * _TWO_OVER_PI + _MAGIC
    k = shifted - _MAGIC
    r = ((z - k * _PIO2_1) - k * _PIO2_2) - k * _PIO2_3
    s = r * r
    a = 2.8114572543455207632e-15
    a = a * s - 7.6471637318198164759e-13
    a = a * s + 1.6059043836821614599e-10
    a = a * s - 2.5052108385441718775e-8
    a = a * s + 2.7557319223985890653e-6
    a = a * s - 1.9841269841269841270e-4
    a = a * s + 8.3333333333333333333e-3
    a = a * s - 1.6666666666666666667e-1
    sine = r + r * (s * a)
    c = 4.7794773323873852974e-14
    c = c * s - 1.1470745597729724714e-11
    c = c * s + 2.0876756987868098979e-9
    c = c * s - 2.7557319223985890653e-7
    c = c * s + 2.4801587301587301587e-5
    c = c * s - 1.3888888888888888889e-3
    c = c * s + 4.1666666666666666667e-2
    cosine = 1.0 - 0.5 * s + s * s * c
    swap = odd(shifted)
    first = select(swap, cosine, sine)
    second = select(swap, sine, cosine)
    # sin turns negative for k ≡ 2, 3; cos for k ≡ 1, 2, i.e. when k + 1 ≡ 2, 3.
    return parity_sign(shifted, first), parity_sign(shifted + 1.0, second)


@exact
def sincos_32(z):
    """(sin z, cos z) in single precision, fully accurate for |z| up to about 1e4."""
    shifted = z * _TWO_OVER_PI_32 + _MAGIC_32
    k = shifted - _MAGIC_32
    r = ((z - k * _PIO2_1_32) - k * _PIO2_2_32) - k * _PIO2_3_32
    s = r * r
    a = np.float32(2.7557319e-6)
    a = a * s - np.float32(1.9841270e-4)
    a = a * s + np.float32(8.3333333e-3)
    a = a * s - np.float32(1.6666667e-1)
    sine = r + r * (s * a)
    c = np.float32(-2.7557319e-7)
    c = c * s + np.float32(2.4801587e-5)
    c = c * s - np.float32(1.3888889e-3)
    c = c * s + np.float32(4.1666667e-2)
    cosine = np.float32(1.0) - np.float32(0.5) * s + s * s * c
    swap = odd(shifted)
    first = select(swap, cosine, sine)
    second = select(swap, sine, cosine)
    return parity_sign(shifted, first), parity_sign(shifted + np.float32(1.0), second)


@exact
def erf_32(z):
    """erf z in single precision."""
    s = z * z
    t = np.float32(7.853861353153693e-5)
    t = t * s + np.float32(-8.010193625184903e-4)
    t = t * s + np.float32(5.188327685732524e-3)
    t = t * s + np.float32(-2.685381193529856e-2)
    t = t * s + np.float32(1.128358514861418e-1)
    t = t * s + np.float32(-3.761262582423300e-1)
    t = t * s + np.float32(1.128379165726710e0)
    size = abs(z)
    size = select(size > np.float32(4.5), np.float32(4.5), size)
    # Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, about two units in the last place where erf z > 0.84.
    u = np.float32(1.0) / (np.float32(1.0) + np.float32(0.3275911) * size)
    p = np.float32(1.061405429)
    p = p * u + np.float32(-1.453152027)
    p = p * u + np.float32(1.421413741)
    p = p * u + np.float32(-0.284496736)
    p = p * u + np.float32(0.254829592)
    far = np.float32(1.0) - exp_32(-size * size) * (p * u)
    return select(s < np.float32(1.0), z * t, with_sign(far, z))


@exact
def sigmoid_64(z):
    """1/(1 + e^−z) in double precision, without overflow."""
    return 1.0 / (1.0 + exp_64(-z))


@exact
def sigmoid_32(z):
    """1/(1 + e^−z) in single precision, without overflow."""
    return np.float32(1.0) / (np.float32(1.0) + exp_32(-z))
