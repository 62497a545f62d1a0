"""Exact linear regions, and deep ReLU networks as three-layer ones."""

# domains
# constructions
from theodolite.theory.piecewise.certificate import Certificate
from theodolite.theory.piecewise.construct import (
    MergedRegions,
    always_on_neurons,
    dead_neurons,
    merge_regions,
    simplify,
    to_shallow,
)
from theodolite.theory.piecewise.domains import Domain, box, polygon, polyline, segment, slice2d

# ONNX
from theodolite.theory.piecewise.interchange import from_onnx, to_onnx

# local and sampled
from theodolite.theory.piecewise.local import LocalRegion, SampledRegions, local_region, sample_regions

# exact regions and quantities
from theodolite.theory.piecewise.measure import dead_fraction, regions, switching_fraction, visited_regions

# bounds and expectations
from theodolite.theory.piecewise.predict import (
    RegionBounds,
    count_bounds,
    hanin_rolnick,
    montufar2014_lower,
    montufar2017_upper,
    one_dimensional_upper,
    serra2018_upper,
    zaslavsky,
)
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.shallow import Explanation, Shallow
from theodolite.theory.piecewise.stored import StoredRegions

__all__ = [
    "Certificate",
    "Domain",
    "Explanation",
    "LocalRegion",
    "MergedRegions",
    "RegionBounds",
    "Regions",
    "SampledRegions",
    "Shallow",
    "StoredRegions",
    "always_on_neurons",
    "box",
    "count_bounds",
    "dead_fraction",
    "dead_neurons",
    "from_onnx",
    "hanin_rolnick",
    "local_region",
    "merge_regions",
    "montufar2014_lower",
    "montufar2017_upper",
    "one_dimensional_upper",
    "polygon",
    "polyline",
    "regions",
    "sample_regions",
    "segment",
    "serra2018_upper",
    "simplify",
    "slice2d",
    "switching_fraction",
    "to_onnx",
    "to_shallow",
    "visited_regions",
    "zaslavsky",
]
