"""Worries about a network, in the words of those who have them, and which names answer them. Names are checked when pages are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["WORRIES", "Worry"]


@dataclass(frozen=True)
class Worry:
    """One question and its answer.

    Attributes:
        question: the worry.
        answer: what the quantities tell about it, in two or three sentences.
        quantities: registered quantities that measure it.
        verdicts: word of a report's verdict column -> what it means here.
        theory: public functions that predict it.
        construct: public functions that do something about it.
        more: pages to read.
    """

    question: str
    answer: str
    quantities: tuple[str, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)
    theory: tuple[str, ...] = ()
    construct: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


WORRIES = (
    Worry(
        "Will my deep network train at all, or will its gradients vanish or explode?",
        "χ₁ is the factor by which squared gradients change from one layer to the next; after L layers they have changed by χ₁ᴸ. A plain "
        "network trains to a depth of about six depth scales 1/|ln χ₁|. χ does the same for the difference of two different inputs, and "
        "the gradient norms show the effect itself.",
        ("meanfield.chi_1", "meanfield.chi", "meanfield.gradient_norms"),
        {
            "critical": "gradients keep their size; nothing to do",
            "ordered": "χ₁ < 1: gradients shrink layer by layer; *bad* when the network is deeper than it can bear",
            "chaotic": "χ₁ > 1: gradients grow layer by layer; *bad* when the network is deeper than it can bear",
            "no gradient": "χ₁ = 0: the layer passes nothing back; its neurons are dead or saturated",
            "of this layer alone": "norms, skips or gates act on the gradient too, so that χ₁ of the affine layer decides nothing",
        },
        ("td.meanfield.critical_line", "td.meanfield.depth_scales", "td.meanfield.phase_diagram"),
        ("td.meanfield.critical_init_", "td.meanfield.scale_residual_branches_", "td.meanfield.minimal_rnn_init_"),
        ("gallery/tutorials/critical_initialisation", "generated/topics/meanfield"),
    ),
    Worry(
        "Do different inputs still look different deep inside?",
        "The correlation of the pre-activations of two inputs tends to c* with depth: to 1 in the ordered phase, where what tells inputs "
        "apart is lost, and to less than 1 in the chaotic one, where similar inputs are torn apart. q is the size of the signal itself.",
        ("meanfield.correlation", "meanfield.q_length"),
        {
            "inputs stay apart": "the layer still tells inputs apart",
            "inputs merge": "1 − c < 10⁻³: later layers see one and the same input",
            "signal vanishes": "squared pre-activations under 10⁻⁸: float32 loses them",
            "signal explodes": "squared pre-activations over 10⁸",
        },
        ("td.meanfield.correlation_flow", "td.meanfield.c_star", "td.meanfield.q_star"),
        ("td.meanfield.critical_init_", "td.meanfield.delta_orthogonal_"),
        ("generated/topics/meanfield",),
    ),
    Worry(
        "Are all directions of the input passed on alike (dynamical isometry)?",
        "The mean of the squared singular values of the input–output Jacobian is χ₁ᴸ, their variance grows with depth. Orthogonal weights "
        "with a small fixed point q* keep the whole spectrum near 1; Gaussian weights never do.",
        ("meanfield.jacobian_singular_values",),
        {},
        ("td.meanfield.jacobian_density", "td.meanfield.s_max", "td.meanfield.isometry_variance"),
        ("td.meanfield.orthogonal_", "td.meanfield.delta_orthogonal_"),
        ("generated/topics/meanfield",),
    ),
    Worry(
        "Is a layer wider than it needs to be? Which neurons can go?",
        "The ε-rank counts the neurons that are linearly independent on the data to a tolerance ε. Neurons beyond it can be written in "
        "terms of the others, and pruning does so, with the change of the output measured and bounded.",
        ("rank.epsilon_rank", "rank.numerical_rank", "rank.spectrum"),
        {
            "full": "every neuron counts at this ε",
            "redundant": "fewer than the width count: the rest can be pruned",
            "collapsed": "at most a sixteenth of the neurons count: the layer represents next to nothing",
        },
        ("td.rank.approximation_bound", "td.rank.loss_lower_bound"),
        ("td.rank.prune", "td.rank.uniform_density_init_", "td.rank.deterministic_init_"),
        ("gallery/tutorials/prune_with_certificate", "generated/topics/rank"),
    ),
    Worry(
        "In how many directions does a layer's activity really live?",
        "Soft ranks need no tolerance: they weigh the eigenvalues instead of counting them. The stable rank looks at the largest, the "
        "effective rank at the entropy of all; the participation ratio needs no eigenvalue at all.",
        ("rank.effective_rank", "rank.stable_rank", "rank.participation_ratio"),
        construct=("td.rank.GramAccumulator",),
        more=("generated/topics/rank",),
    ),
    Worry(
        "Do many neurons do the same thing (condensation)?",
        "From a small initialisation neurons gather on a few directions that the data determine. The number of directions is then the "
        "width that the layer really has, and neurons of one direction can be merged, for homogeneous activations exactly.",
        (
            "condensation.count_directions",
            "condensation.orientation",
            "condensation.amplitude",
            "condensation.orientation_entropy",
            "condensation.cosine_similarity_matrix",
        ),
        {
            "not condensed": "the neurons are spread out, or there are as many directions as neurons",
            "condensed": "few directions carry the layer",
        },
        ("td.condensation.predict_directions", "td.condensation.multiplicity", "td.condensation.regime"),
        ("td.condensation.merge_neurons",),
        ("generated/topics/condensation",),
    ),
    Worry(
        "Is training in the kernel (lazy) regime, or does the network learn features?",
        "In the kernel regime weights and tangent kernel hardly move, and training is kernel regression. These quantities compare with "
        "the state before training: give them to `td.track` or `td.compare`. The kernel distance is blind to a mere change of scale.",
        (
            "tangent.relative_weight_change",
            "tangent.kernel_drift",
            "tangent.kernel_distance",
            "condensation.relative_distance",
        ),
        {},
        ("td.condensation.regime", "td.condensation.relative_distance_exponent", "td.tangent.lazy_scale"),
        ("td.tangent.linearize", "td.tangent.kernel_regressor"),
        ("generated/topics/tangent", "generated/topics/condensation"),
    ),
    Worry(
        "Will gradient descent converge, and how fast?",
        "While the smallest eigenvalue of the tangent kernel stays away from 0 the loss falls exponentially (the PL condition). Its "
        "condition number κ says how many times slower the slowest direction is than the fastest. A κ that could not be resolved is "
        "reported as a lower bound.",
        ("tangent.condition_number", "tangent.pl_ratio"),
        {
            "well conditioned": "κ ≤ 10³",
            "ill conditioned": "the slowest direction takes of the order of κ steps",
        },
        ("td.tangent.training_dynamics", "td.tangent.critical_learning_rate", "td.tangent.pl_certificate"),
        ("td.tangent.linearize",),
        ("generated/topics/tangent",),
    ),
    Worry(
        "Are there dead neurons?",
        "A ReLU neuron that is active on no sample gets no gradient and never recovers; one that is active on all samples is linear. Only "
        "neurons that switch make the layer non-linear on these data.",
        ("piecewise.dead_fraction", "piecewise.switching_fraction"),
        {
            "alive": "at most a tenth of the layer is dead",
            "dead neurons": "more than a tenth is active on no sample; *bad* beyond one half",
        },
        ("td.piecewise.hanin_rolnick",),
        ("td.piecewise.dead_neurons", "td.piecewise.simplify"),
        ("generated/topics/piecewise",),
    ),
    Worry(
        "What does my ReLU network compute, exactly?",
        "In the activation region of an input it is one affine map, so that its weights are an exact attribution. The number of patterns "
        "among samples is only a lower bound on the number of regions; on a domain of few dimensions all of them are enumerated.",
        ("piecewise.visited_regions",),
        {},
        ("td.piecewise.count_bounds", "td.piecewise.hanin_rolnick"),
        ("td.piecewise.local_region", "td.piecewise.regions", "td.piecewise.to_shallow"),
        ("gallery/tutorials/explain_one_image", "generated/topics/piecewise"),
    ),
    Worry(
        "Why does it generalise? How large are margin and norms?",
        "Bounds on the generalisation error combine a margin with norms. No norm alone explains generalisation (see the corrections), so "
        "compare networks of the same task and accuracy, and the margin with the norms.",
        (
            "generalization.output_margin",
            "generalization.spectral_norm",
            "generalization.frobenius_norm",
            "generalization.path_norm",
            "generalization.parameter_norm",
        ),
        {
            "separated": "every sample is classified correctly: the margin is positive, and its bounds apply",
            "not separated": "some sample is not: there is no margin yet",
        },
        ("td.generalization.implicit_bias_constants", "td.generalization.max_margin"),
        ("td.generalization.gradient_descent", "td.generalization.memorize"),
        ("generated/topics/generalization",),
    ),
    Worry(
        "How far have the weights come from where they started?",
        "Distance from initialisation is what an overparameterised network pays for fitting; it is smaller than the norm itself and grows "
        "less with width. Layer by layer or for all parameters.",
        ("generalization.distance_from_init", "generalization.parameter_distance"),
        {},
        ("td.condensation.relative_distance_exponent",),
        (),
        ("generated/topics/generalization",),
    ),
    Worry(
        "Would more parameters than data hurt (double descent)?",
        "The test error peaks where the model first interpolates, and falls again beyond. The peak belongs to the threshold, to noise and "
        "to the lack of a penalty: theory gives the whole curve for random features, a ridge removes it.",
        (),
        {},
        ("td.generalization.random_features_risk", "td.generalization.gaussian_features_risk"),
        ("td.generalization.double_descent", "td.generalization.random_features"),
        ("generated/topics/generalization",),
    ),
    Worry(
        "Can these features solve my differential equation?",
        "A solution can be no better than what the neurons represent: the ε-rank of the features is necessary, though not sufficient. "
        "Where the network is a physics-informed one, the residual at points tells the rest.",
        ("rank.epsilon_rank",),
        {},
        ("td.pde.residual", "td.pde.relative_error"),
        ("td.pde.solve_rfm", "td.pde.solve_elm", "td.pde.PINN", "td.pde.uniform_density_init_"),
        ("generated/topics/pde",),
    ),
)
