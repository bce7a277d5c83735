"""`kubectl sluice render`: what would be created, as YAML, without a cluster."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

import typer

from sluice import settings
from sluice.cli import exits, options, printing, texts, validate
from sluice.cli.offline import findings, given, manifests, rendering
from sluice.reconcile.models import files
from sluice.workloads import pod_template

_IMAGE: Final = "localhost/sluice/operator:0.1.0"
_HEADER: Final = (
    "# What Sluice would create for a first revision, without owner references and the platform's defaults (sluice-config).\n"
)

EngineImage = Annotated[str, typer.Option("--engine-image", help="What a template gets that names none: SLUICE_ENGINE_IMAGE.")]
OperatorImage = Annotated[str, typer.Option("--operator-image", help="What downloads models: SLUICE_OPERATOR_IMAGE.")]
OperatorNamespace = Annotated[str, typer.Option("--operator-namespace", help="Where Sluice is installed.")]


def render(
    filename: validate.Files,
    recursive: validate.Recursive = False,
    namespace: options.Namespace = None,
    engine_image: EngineImage = settings.Settings.model_fields["engine_image"].default,
    operator_image: OperatorImage = _IMAGE,
    operator_namespace: OperatorNamespace = settings.Settings.model_fields["namespace"].default,
    output: options.Output = printing.Format.YAML,
) -> None:
    """Prints what would be created for the ModelDeployments of the files."""
    content, found = given.gather(manifests.read(filename, recursive=recursive), namespace or "default")
    errors = [each for each in found if each.level is findings.Level.ERROR]
    if errors:
        first = "; ".join(f"{each.title}: {each.field}: {each.message}" for each in errors[:3])
        raise exits.Failure(exits.Exit.INVALID, f"Cannot render: {first}. `kubectl sluice validate` lists everything")
    if not content.models:
        raise exits.Failure(
            exits.Exit.NOT_FOUND, f"Cannot render {texts.clean(', '.join(filename))}: no ModelDeployment is there"
        )
    defaults = pod_template.Defaults(engine_image=engine_image, operator_image=operator_image, image_volumes=True)
    built = [
        obj
        for item in content.models.values()
        for obj in rendering.render(
            item,
            content,
            defaults=defaults,
            engine=files.read_engine_files(),
            operator_namespace=operator_namespace,
            now=time.time(),
        )
    ]
    if output is printing.Format.JSON:
        printing.document({"apiVersion": "v1", "kind": "List", "items": built}, output)
    else:
        sys.stdout.write(_HEADER + "---\n".join(printing.to_yaml(obj) for obj in built))
