"""Which kind of operation a torch function is: the table that the tracer reads."""

from __future__ import annotations

__all__ = ["IN_PLACE", "KINDS", "KIND_OF"]

TABLE = {
    "affine": "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d bilinear addmm baddbmm",
    "embedding": "embedding embedding_bag",
    "elementwise": (
        "relu relu_ relu6 leaky_relu leaky_relu_ prelu rrelu elu elu_ selu selu_ celu gelu silu mish hardtanh hardtanh_ hardswish "
        "hardsigmoid hardshrink softshrink tanhshrink threshold threshold_ softplus softsign logsigmoid tanh tanh_ sigmoid "
        "sigmoid_ erf erfc sin sin_ cos cos_ exp expm1 log log1p sqrt rsqrt abs square pow sign clamp clamp_min clamp_max "
        "atan sinh cosh asinh reciprocal neg heaviside erfinv __pow__ __neg__ __abs__"
    ),
    "add": "add add_ sub sub_ __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ rsub sum_of",
    "multiply": "mul mul_ div div_ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__ __itruediv__ true_divide glu",
    "matmul": "matmul mm bmm einsum __matmul__ __rmatmul__ tensordot dot mv outer",
    "concat": "cat concat concatenate stack hstack vstack",
    "norm": "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize",
    "pool": (
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d max_pool1d max_pool2d "
        "max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool2d mean sum amax max"
    ),
    "reshape": (
        "view reshape flatten unflatten transpose permute squeeze unsqueeze expand expand_as contiguous clone __getitem__ chunk "
        "split narrow select movedim swapaxes T.__get__ mT.__get__ t to float double half type type_as detach view_as pad roll "
        "repeat repeat_interleave unbind index_select pixel_shuffle unfold flip tile alias positive cpu cuda"
    ),
    "softmax": "softmax log_softmax softmin",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    "dropout": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout",
}
#: Short name of a torch function -> kind.
KIND_OF = {name: kind for kind, names in TABLE.items() for name in names.split()}

#: All kinds that a node can have.
KINDS = ("input", *TABLE, "unknown")

#: Operations that change their first argument, beside those whose name ends in one underscore.
IN_PLACE = {"__iadd__", "__imul__", "__isub__", "__itruediv__", "__setitem__"}
