"""What is often repeated and what is true instead: written text, joined on the page with the verdict and evidence of a claim."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CORRECTIONS", "REMARKS", "Correction"]


@dataclass(frozen=True)
class Correction:
    """One statement set right.

    Attributes:
        claim: the registered claim that tests the statement.
        said: the statement as it is often met.
        true: what is true instead, and why.
    """

    claim: str
    said: str
    true: str


CORRECTIONS = (
    Correction(
        "meanfield.covariance_is_not_correlation",
        "The correlation of two inputs in a layer is E[z_a z_b] = q_ab.",
        "That is a covariance. The correlation is c = q_ab/√(q_aa q_bb); the two agree only where both lengths are 1, and the c-map, its "
        "slope χ and the depth scale ξ_c are about the correlation.",
    ),
    Correction(
        "meanfield.spectrum_is_a_semicircle",
        "The singular values of a deep network's Jacobian follow a semicircle.",
        "The semicircle is the law of *eigenvalues of symmetric* matrices. Singular values of one square Gaussian layer follow a quarter "
        "circle, of a product of L layers a Fuss–Catalan law; non-linear layers give Bernoulli-type or smooth universal laws. Their squares "
        "are what free probability speaks of.",
    ),
    Correction(
        "meanfield.variance_is_one_over_width",
        "At criticality the spectrum of JJᵀ has mean 1 and variance 1/N.",
        "Its mean is χ₁ᴸ and its variance L(μ₂/μ₁² − 1 − s₁): linear in *depth* and independent of the width N, with s₁ = −1 for Gaussian "
        "and 0 for orthogonal weights. Widening a network does not bring its Jacobian nearer to an isometry; orthogonal weights do.",
    ),
    Correction(
        "meanfield.isometry_is_sufficient",
        "Singular values equal to 1 are sufficient for a network to work well.",
        "Isometry is a property at initialisation. It helps the first steps of deep networks; it is neither necessary (networks with norms "
        "and skips train without it) nor sufficient (a linear orthogonal network has it and learns only linear maps).",
    ),
    Correction(
        "meanfield.hard_tanh_orthogonal_is_closest",
        "Hard tanh with orthogonal weights is near dynamical isometry.",
        "Only with a small fixed point q*: σ_b² → 0 and σ_w² → 1 from above. Elsewhere on its critical line it is not.",
    ),
    Correction(
        "meanfield.tied_weights_do_not_matter",
        "Mean-field theory of recurrent networks, which draws weights anew at every step, describes networks with one weight matrix.",
        "For vanilla and minimal networks to some per cent. An LSTM or GRU remembers longer than the theory says: a slow state keeps its own "
        "gates open.",
    ),
    Correction(
        "rank.more_rank_means_lower_loss",
        "The higher the ε-rank, the lower the loss.",
        "The theorem bounds the loss from below by what the rank leaves out: rank is *necessary*. It is not sufficient: a saturated first "
        "layer has the highest rank and a higher loss.",
    ),
    Correction(
        "rank.resnet_delays_rank",
        "Skip connections keep the ε-rank low early in training.",
        "Not seen: residual networks climb as fast as plain ones of the same layers, or faster.",
    ),
    Correction(
        "rank.bound_is_useful",
        "The bound of the approximation theorem says what pruning costs.",
        "It is an inequality that is never violated and mostly one to two orders of magnitude too large. The change that interpolative "
        "pruning makes is known exactly instead, ‖R22 B_J‖, and `td.rank.prune` reports both.",
    ),
    Correction(
        "rank.rank_grows_with_layer",
        "The ε-rank grows with the index of the layer.",
        "After training from a random initialisation. At initialisation it does not.",
    ),
    Correction(
        "condensation.bound_two_p",
        "Neurons condense to at most 2p orientations, p the multiplicity of the activation.",
        "True for p = 1, for p = 2, and for one-dimensional inputs. For p ≥ 3 in two or more dimensions the direction field can have any "
        "number of attractors: five orthogonal inputs and p = 3 have ten.",
    ),
    Correction(
        "condensation.notebook_cell",
        "Training with Adam at rate 1e-6 from t = 2 shows the condensed directions of x tanh x and x² tanh x.",
        "The gradients there lie far below Adam's `eps`, so that the steps say nothing about the directions. Gradient flow from a small "
        "initialisation shows them.",
    ),
    Correction(
        "tangent.tangent_kernel_is_the_output_covariance",
        "The NTK is K(x, x′) = E_θ[f(x) f(x′)].",
        "That is the NNGP kernel, the prior covariance of outputs. The tangent kernel is Θ(x, x′) = Σ_p ∂_p f(x) ∂_p f(x′).",
    ),
    Correction(
        "tangent.condition_number_is_min_over_max",
        "The condition number of the tangent kernel is λ_min/λ_max.",
        "It is the inverse, κ = λ_max/λ_min ≥ 1. Small is good.",
    ),
    Correction(
        "tangent.hessian_decides_the_condition_number",
        "A small Hessian gives a good condition number.",
        "The norm of the Hessian bounds how fast the kernel, and so κ, *changes* along training; what κ is at the start, it does not say.",
    ),
    Correction(
        "tangent.kernel_stays_fixed",
        "The tangent kernel stays fixed during training.",
        "In the limit of infinite width. At finite width it drifts, by about 1/m.",
    ),
    Correction(
        "tangent.prior_sample_at_the_origin",
        "NTK regression behaves as if there were a weak datum at the origin.",
        "Without biases f(0) = 0 by homogeneity, at any targets; with biases there is no such datum.",
    ),
    Correction(
        "piecewise.literal_reading_is_identical",
        "The three-layer form with closed half-spaces equals the deep network everywhere.",
        'Inside of regions. On a facet the half-spaces of both sides are satisfied and both maps are added; `mode="exact"` or half-open '
        "half-spaces repair it.",
    ),
    Correction(
        "piecewise.maximum_is_far_from_typical",
        "Depth multiplies the number of linear regions.",
        "For weights made for it. At random initialisation, and during training, the number is about N^d/d!: only the number of neurons counts.",
    ),
    Correction(
        "piecewise.sampled_patterns_saturate",
        "The number of activation patterns among samples measures the number of regions.",
        "In many dimensions almost every sample has a region of its own, so that it measures the number of samples. It must not be compared "
        "between networks; `td.piecewise.regions` counts exactly, on a domain or a slice.",
    ),
    Correction(
        "generalization.angle_constant",
        "The angle to the maximum-margin direction decays like 1/log t.",
        "Where w̃ is not parallel to ŵ. On the mirror-symmetric data of the paper's own first figure it is parallel, and the angle decays like "
        "t^(−1/4)/log t.",
    ),
    Correction(
        "generalization.second_descent_in_time",
        "With label noise the test error falls, rises and falls again during training.",
        "For two-layer networks on digits it rises and stays.",
    ),
    Correction(
        "generalization.small_norm_explains_generalization",
        "Networks generalise because training keeps the norm of their weights small.",
        "Networks at chance can have a smaller norm than networks that generalise.",
    ),
    Correction(
        "pde.rank_orders_errors",
        "Features of higher ε-rank give the smaller error.",
        "Rank is necessary, not sufficient: about a quarter of the pairs are ordered the other way.",
    ),
    Correction(
        "pde.cos_is_much_worse",
        "With cosine features the errors become very large.",
        "Only at a small bandwidth R; at larger R the order is reversed and cosine reaches rounding.",
    ),
    Correction(
        "pde.tanh_errors_are_alike",
        "With tanh the random feature method and the extreme learning machine err about the same.",
        "Only where bandwidths are matched, R_ELM = m R, and small: the random feature method's cells stretch theirs by m.",
    ),
    Correction(
        "pde.the_gap_lasts",
        "The advantage in ε-rank of uniform-density initialisation lasts through training.",
        "It is there at the start; the other initialisation catches up.",
    ),
)

#: Remarks about conventions and attributions, which no run can decide.
REMARKS = (
    "**N is the fan-in.** Weights have variance σ_w²/N with N the width of the layer below, never the depth, and biases are not divided.",
    "**ReLU has no critical line**, only the point (σ_w², σ_b²) = (2, 0); with biases the length grows without bound. "
    '`td.meanfield.critical_line("relu", 0.1)` refuses.',
    "**Standard deviation or variance.** The phase diagram of two-layer networks has γ = 2t for weights of *standard deviation* m^−t and "
    "γ = t for *variance* m^−t. `td.condensation.coordinates(..., convention=)` names both.",
    "**The PL constant.** With L = ½‖f − y‖² the condition reads ½‖∇L‖² ≥ μL; other texts leave the ½ out and have another μ.",
    "**Activation regions are not linear pieces.** Neighbouring regions can carry the same affine map; `td.piecewise.merge_regions` "
    "counts pieces.",
    "**Attributions.** *Exponential expressivity … through transient chaos* is by Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli; *Deep "
    "information propagation* by Schoenholz, Gilmer, Ganguli and Sohl-Dickstein; *Mean field residual networks* by Yang and Schoenholz.",
)
