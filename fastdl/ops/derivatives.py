"""Derivatives of functions of one variable as differentiable formulas, for create_graph.

g: the gradient of the result. s: what the forward pass saved, its output or its input (see UNARY of elementwise.pyx).
p, q: the function's parameters.
"""


def _gelu(g, s, p, q):
    cdf = 0.5 * (1 + (s * 0.7071067811865476).erf())
    return g * (cdf + s * (s * s * -0.5).exp() * 0.3989422804014327)


def _gelu_tanh(g, s, p, q):
    t = (0.7978845608028654 * (s + 0.044715 * s * s * s)).tanh()
    return g * (0.5 * (1 + t) + 0.5 * s * (1 - t * t) * 0.7978845608028654 * (1 + 0.134145 * s * s))


DERIVATIVES = {
    "abs": lambda g, s, p, q: g * s.sign(),
    "exp": lambda g, s, p, q: g * s,
    "log": lambda g, s, p, q: g / s,
    "sqrt": lambda g, s, p, q: g / (2 * s),
    "rsqrt": lambda g, s, p, q: g * -0.5 * s * s * s,
    "square": lambda g, s, p, q: g * 2 * s,
    "reciprocal": lambda g, s, p, q: -g * s * s,
    "tanh": lambda g, s, p, q: g * (1 - s * s),
    "sigmoid": lambda g, s, p, q: g * s * (1 - s),
    "relu": lambda g, s, p, q: g.where(s > 0, 0.0),
    "leaky_relu": lambda g, s, p, q: g.where(s > 0, g * p),
    "elu": lambda g, s, p, q: g.where(s > 0, g * p * s.exp()),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, s, p, q: g * s.sigmoid() * (1 + s * (1 - s.sigmoid())),
    "softplus": lambda g, s, p, q: g.where(s * p > q, g * (s * p).sigmoid()),
    "erf": lambda g, s, p, q: g * 1.1283791670955126 * (-s * s).exp(),
    "clamp": lambda g, s, p, q: g.where((s >= p) & (s <= q), 0.0),
    "log1p": lambda g, s, p, q: g / (1 + s),
    "expm1": lambda g, s, p, q: g * (s + 1),
    "sin": lambda g, s, p, q: g * s.cos(),
    "cos": lambda g, s, p, q: g * -s.sin(),
    "tan": lambda g, s, p, q: g * (1 + s * s),
    "asin": lambda g, s, p, q: g * (1 - s * s).rsqrt(),
    "acos": lambda g, s, p, q: g * -(1 - s * s).rsqrt(),
    "atan": lambda g, s, p, q: g / (1 + s * s),
    "sinh": lambda g, s, p, q: g * s.cosh(),
    "cosh": lambda g, s, p, q: g * s.sinh(),
    "exp2": lambda g, s, p, q: g * s * 0.6931471805599453,
    "log2": lambda g, s, p, q: g / (s * 0.6931471805599453),
    "log10": lambda g, s, p, q: g / (s * 2.302585092994046),
}
