"""What a template asks for and cannot have, beyond what the CRD's rules see: defaults, profiles and versions count here too."""

from __future__ import annotations

from collections.abc import Iterator

from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import profiles, vllm_args


def problems(template: template_api.Template, *, default_image: str) -> Iterator[str]:
    """Messages that name the field and the fix. `template` is as it is rendered, with the platform's defaults."""
    yield from parallel_problems(template)
    yield from vllm_args.problems(template, default_image=default_image)


def parallel_problems(template: template_api.Template) -> Iterator[str]:
    """More GPUs used than asked for: the rule of the CRD, for the arguments in force.

    Without GPUs in resources.gpu nothing is known: the model may run on a CPU, or on devices from resources.claims.
    """
    gpus = template.resources.gpu.count if template.resources and template.resources.gpu else 0
    args = profiles.effective_args(template)
    used = profiles.parallel_product(args)
    if gpus and used > gpus:
        sizes = ", ".join(f"{name} {args.to_wire().get(name, 1)}" for name in template_api.PARALLEL_SIZES)
        yield (
            f"Cannot fit spec.template.engine.vllm.args into resources.gpu.count {gpus}: {sizes} need {used} GPUs: "
            "raise the count or lower a size"
        )
