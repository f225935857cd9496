"""Operators whose memory or time depends on the values of an input; the tables behind `flow`.

Names are those of ONNX's own domain, or `domain.name`; positions count inputs from 0. What is not
here takes memory by the shapes of its inputs alone. So do `NonZero`, `Unique`, `Compress`, `TopK`,
`NonMaxSuppression`, `Split` and `Slice`: what they give is never larger than what they are given.

Source: the operators' published definitions (ONNX up to operator set 25, onnxruntime's contrib
operators).
"""

from collections.abc import Mapping
from types import MappingProxyType

SIZED: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "AffineGrid": {1: "size"},
        "BlackmanWindow": {0: "size"},
        "CenterCropPad": {1: "shape"},
        "Col2Im": {1: "image_shape", 2: "block_shape"},
        "ConstantOfShape": {0: "shape"},
        "DFT": {1: "dft_length"},
        "Expand": {1: "shape"},
        "HammingWindow": {0: "size"},
        "HannWindow": {0: "size"},
        "Loop": {0: "trip count"},
        "MaxUnpool": {2: "output_shape"},
        "MelWeightMatrix": {0: "num_mel_bins", 1: "dft_length"},
        "OneHot": {1: "depth"},
        "Pad": {1: "pads"},
        "Range": {0: "start", 1: "limit"},
        "Resize": {2: "scales", 3: "sizes"},
        "STFT": {3: "frame_length"},
        "Tile": {1: "repeats", 2: "axis"},
        "Upsample": {1: "scales"},
        "com.microsoft.BeamSearch": {1: "max_length", 3: "num_beams", 4: "num_return_sequences"},
        "com.microsoft.CropAndResize": {3: "crop_size"},
        "com.microsoft.GreedySearch": {1: "max_length"},
        "com.microsoft.GroupQueryAttention": {6: "total_sequence_length"},
        "com.microsoft.Pad": {1: "pads"},
        "com.microsoft.Range": {0: "start", 1: "limit"},
        "com.microsoft.RelativePositionBias": {1: "query_length", 2: "key_length"},
        "com.microsoft.Sampling": {1: "max_length"},
        "com.microsoft.SparseAttention": {6: "total_sequence_length"},
        "com.microsoft.WhisperBeamSearch": {1: "max_length", 3: "num_beams"},
    }
)
"""Inputs that decide how large an output is, or how long it takes: the larger the value, the more.
"""

CUT: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "Compress": (1,),
        "NonMaxSuppression": (0, 1, 2, 3, 4),
        "NonZero": (0,),
        "Reshape": (1,),
        "Slice": (1, 2, 3, 4),
        "Split": (1,),
        "SplitToSequence": (1,),
        "Squeeze": (1,),
        "StringSplit": (0,),
        "TopK": (1,),
        "Unique": (0,),
        "Unsqueeze": (1,),
    }
)
"""Inputs whose values decide the shape of an output, within what the inputs' own sizes allow."""

DIVISORS: Mapping[str, int] = MappingProxyType({"Range": 2, "com.microsoft.Range": 2})
"""An input where the nearer its value is to 0, the more: that it is bounded does not help, nor
that the others are."""

BOUNDED: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "TopK": frozenset({1}),
        "Unique": frozenset({1, 2, 3}),
        "MaxPool": frozenset({1}),
        **dict.fromkeys(
            (
                "ai.onnx.ml.Binarizer", "ai.onnx.ml.CategoryMapper", "ai.onnx.ml.LabelEncoder",
                "ai.onnx.ml.OneHotEncoder", "ai.onnx.ml.TreeEnsemble",
                "ai.onnx.ml.TreeEnsembleClassifier", "ai.onnx.ml.TreeEnsembleRegressor",
                "And", "ArgMax", "ArgMin", "BitwiseNot", "Equal", "Greater", "GreaterOrEqual",
                "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual", "NonMaxSuppression", "NonZero",
                "Not", "Or", "RegexFullMatch", "Shape", "Sigmoid", "Sign", "Size", "Softmax",
                "Softsign", "Tanh", "Xor", "Sin", "Cos", "Erf", "HardSigmoid",
            ),
            frozenset(range(4)),
        ),
    }
)  # fmt: skip
"""Outputs whose values are bounded by constants or by the sizes of inputs, whatever the inputs
hold: truth, indices, counts, and functions of a bounded range."""

CARRIED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "Compress": (0,),
        "ConstantOfShape": (),
        "Expand": (0,),
        "EyeLike": (),
        "Gather": (0,),
        "GatherElements": (0,),
        "GatherND": (0,),
        "OneHot": (2,),
        "Pad": (0, 2),
        "RandomNormalLike": (),
        "RandomUniformLike": (),
        "Reshape": (0,),
        "Resize": (0,),
        "ScatterElements": (0, 2),
        "ScatterND": (0, 2),
        "SequenceAt": (0,),
        "Slice": (0,),
        "Split": (0,),
        "SplitToSequence": (0,),
        "Squeeze": (0,),
        "Tile": (0,),
        "TopK": (0,),
        "Unsqueeze": (0,),
        "Upsample": (0,),
        "Where": (1, 2),
    }
)
"""Inputs that bound an output's values, which are picked from theirs; of all others, all inputs."""

UNCHANGED = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that leave a constant's whole numbers as they are."""

POLES = frozenset(
    {
        "Acosh", "Atanh", "Div", "Log", "LpNormalization", "Pow", "Reciprocal", "ReduceLogSum",
        "Tan", "com.microsoft.Inverse",
    }
)  # fmt: skip
"""Where a bounded input can give an output without bounds."""

SAME_TYPE_AS: Mapping[str, int] = MappingProxyType(
    {"CastLike": 1, "DequantizeLinear": 1, "OneHot": 2, "Where": 1}
)
"""Which input an output has its element type from, where that is not the first."""

INDICES = frozenset({"ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "Shape", "Size"})
"""Operators that give INT64 whatever they are given."""

OTHER_TYPE = frozenset(
    {
        "Bernoulli", "ConstantOfShape", "ConvInteger", "DynamicQuantizeLinear", "EyeLike",
        "MatMulInteger", "Multinomial", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
        "StringNormalizer", "TfIdfVectorizer",
    }
)  # fmt: skip
"""Operators whose output type an attribute or their definition gives; it is not followed."""
