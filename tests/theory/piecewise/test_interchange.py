"""ONNX in and out, where the package is installed; a clear error where it is not."""

import importlib.util

import numpy as np
import pytest
import torch

import theodolite as td

HERE = importlib.util.find_spec("onnx") is not None
needs_onnx = pytest.mark.skipif(not HERE, reason="the extra 'onnx' is not installed")


@pytest.mark.skipif(HERE, reason="onnx is installed")
def test_the_missing_package_is_named(nets, tmp_path):
    with pytest.raises(td.MissingExtraError, match=r"theodolite\[onnx\]"):
        td.piecewise.from_onnx(tmp_path / "net.onnx")
    with pytest.raises(td.MissingExtraError, match=r"theodolite\[onnx\]"):
        td.piecewise.to_shallow(nets["int"]((2, 4, 1), 0), td.box(-1, 1, dim=2)).to_onnx(tmp_path / "net.onnx")


@needs_onnx
@pytest.mark.parametrize("mode", ["exact", "paper", "finite"])
def test_shallow_networks_are_written(nets, mode, tmp_path):
    from onnx.reference import ReferenceEvaluator

    shallow = td.piecewise.to_shallow(nets["int"]((2, 8, 8, 2), 0), td.box(-1, 1, dim=2), mode=mode)
    session = ReferenceEvaluator(str(shallow.to_onnx(tmp_path / "net.onnx")))
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    assert np.allclose(session.run(None, {"x": x})[0], shallow(torch.tensor(x)).numpy(), atol=1e-12)


def small_graph(extra=None, **attributes):
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = {
        "K": rng.normal(size=(2, 1, 3, 3)), "k": rng.normal(size=2), "W": rng.normal(size=(8, 5)), "v": rng.normal(size=5),
        "U": rng.normal(size=(5, 2)), "low": np.array(-0.5), "high": np.array(0.7),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "K", "k"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2], **attributes),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "W", "v"], ["g"]),
        helper.make_node("Clip", ["g", "low", "high"], ["h"]),
        helper.make_node("LeakyRelu", ["g"], ["l"], alpha=0.1),
        helper.make_node("Add", ["h", "l"], ["s"]),
        helper.make_node(extra or "Identity", ["s"], ["i"]),
        helper.make_node("MatMul", ["i", "U"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", 2])],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@needs_onnx
def test_networks_are_read(tmp_path):
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = small_graph()
    onnx.save(model, str(tmp_path / "net.onnx"))
    network = td.piecewise.from_onnx(tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(50, 1, 4, 4))
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert np.allclose(network(torch.tensor(x)).detach().numpy(), expected, atol=1e-12)
    origin, u, v = x[:3]
    found = td.piecewise.regions(network, td.slice2d(origin, u, v))
    t = np.random.default_rng(2).uniform(-1, 1, (300, 2))
    inputs = found.to_input(t).reshape(-1, 1, 4, 4)
    assert np.allclose(found(t), ReferenceEvaluator(model).run(None, {"x": inputs})[0], atol=1e-10)


@needs_onnx
def test_unknown_operations_and_attributes_are_named(tmp_path):
    import onnx

    onnx.save(small_graph("Tanh"), str(tmp_path / "net.onnx"))
    with pytest.raises(td.UnsupportedError, match="Tanh"):
        td.piecewise.from_onnx(tmp_path / "net.onnx")
    onnx.save(small_graph(storage_order=1), str(tmp_path / "net.onnx"))
    with pytest.raises(td.UnsupportedError, match="storage_order"):
        td.piecewise.from_onnx(tmp_path / "net.onnx")


@needs_onnx
def test_inputs_of_any_float_type(tmp_path):
    """A float32 model is read in float64; float32 inputs are widened like its weights."""
    from onnx import TensorProto, helper, numpy_helper, save

    weight, shift = np.array([[1.0, -2.0]], dtype=np.float32), np.float32([0.25])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(shift)),
        helper.make_node("Gemm", ["x", "W", "c"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n, size in (("x", 2), ("y", 1))]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], [numpy_helper.from_array(weight, "W")])
    save(helper.make_model(graph), str(tmp_path / "net.onnx"))
    model = td.piecewise.from_onnx(tmp_path / "net.onnx")
    assert model(torch.tensor([[1.0, 0.5]])).tolist() == [[0.25]]
    assert td.piecewise.regions(model, td.box(-1, 1, dim=2)).count == 2


@needs_onnx
@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "no such file"), (b"not a network", "cannot be read"), (b"", "cannot be read"), ("folder", "a folder")],
)
def test_what_is_no_onnx_file_is_named(content, match, tmp_path):
    path = tmp_path / "net.onnx"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(td.ArgumentError, match=f"path must name an ONNX file.*{match}"):
        td.piecewise.from_onnx(path)


@needs_onnx
def test_a_truncated_file_is_no_network(tmp_path):
    import onnx

    onnx.save(small_graph(), str(tmp_path / "net.onnx"))
    whole = (tmp_path / "net.onnx").read_bytes()
    (tmp_path / "net.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(td.ArgumentError, match="cannot be read as one"):
        td.piecewise.from_onnx(tmp_path / "net.onnx")
    with pytest.raises(td.ArgumentError, match="got int"):
        td.piecewise.from_onnx(3)


@needs_onnx
def test_only_three_layer_networks_are_written_and_only_where_there_is_a_folder(nets, tmp_path):
    model = nets["int"]((2, 4, 1), 0)
    with pytest.raises(td.ArgumentError, match="shallow must be what td.piecewise.to_shallow returns, got Sequential"):
        td.piecewise.to_onnx(model, tmp_path / "net.onnx")
    with pytest.raises(td.StoreError, match="folder that exists"):
        td.piecewise.to_shallow(model, td.box(-1, 1, dim=2)).to_onnx(tmp_path / "missing" / "net.onnx")
