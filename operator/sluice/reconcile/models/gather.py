"""Gathers everything a decision about one ModelDeployment needs into one immutable value.

Reads the cache; the API server only for what is not watched: the sources of files, and a data set when a rollout starts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sluice.api import evalgate, modeldeployment, naming, rollout_status
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.reconcile import lookup as lookup_
from sluice.reconcile.models import admission, files, guards, objects, orders, status
from sluice.rollout import model as rollout
from sluice.rollout import persisted, planning
from sluice.rollout import plan as rollout_plan
from sluice.workloads import files as workload_files  # a field is named files
from sluice.workloads import gateway as gateway_objects
from sluice.workloads import platform_rules, pod_template, revision, service, sources, template_checks


@dataclasses.dataclass(frozen=True)
class Observed:
    """One ModelDeployment and what belongs to it, at one moment."""

    model: modeldeployment.ModelDeployment
    resource_version: str
    revisions: tuple[revision.Revision, ...]
    """All stored ones, and the wanted one even before it is stored."""
    wanted: revision.Revision | None
    """None: the spec asks for none that can be made; `problems` say why, unless it is only not known yet."""
    is_stored: bool
    """Whether the wanted revision has its ControllerRevision."""
    problems: tuple[status.Problem, ...]
    contents: Mapping[str, str] | None = None
    """Text of the files that the template refers to, by file name; None while it is not known."""
    url: str = ""
    """Where clients ask for the model."""

    @property
    def key(self) -> naming.ObjectKey:
        """The ModelDeployment's key."""
        return lookup_.model_key(self.model)

    @property
    def wanted_hash(self) -> str | None:
        """Hash of the wanted revision."""
        return self.wanted.hash if self.wanted is not None else None

    @property
    def state(self) -> persisted.State | None:
        """The rollout as the status has it."""
        return persisted.from_status(self.model.status.rollout)

    @property
    def undone(self) -> rollout_status.Undone | None:
        """What a person has undone."""
        return orders.undone(self.model, self.wanted, self.revisions)

    @property
    def target(self) -> revision.Revision | None:
        """What is to serve: the wanted revision, or what a person holds in its place."""
        return self.wanted if self.undone is None else self.find(self.undone.held) or self.wanted

    def find(self, revision_hash: str | None) -> revision.Revision | None:
        """The revision of that hash."""
        return next((known for known in self.revisions if known.hash == revision_hash), None)


@dataclasses.dataclass
class Gatherer:
    """Reads what is."""

    cache: kube_cache.Cache
    lookup: lookup_.Lookup
    client: kube_client.Client
    defaults: pod_template.Defaults
    files: files.Files
    admission: admission.Admission
    operator_namespace: str = "sluice-system"
    _parsed: dict[tuple[str, str], dict[str, tuple[Mapping[str, Any], revision.Revision]]] = dataclasses.field(
        default_factory=dict
    )
    """Revisions of each ModelDeployment beside the objects that they were read from: most looks find nothing new."""

    def forget(self, namespace: str, name: str) -> None:
        """The ModelDeployment is gone."""
        self._parsed.pop((namespace, name), None)
        self.files.forget(namespace, name)

    async def refresh(self, namespace: str, name: str) -> float | None:
        """Reads what is not watched and due again; returns the seconds until that is so the next time, None for never.

        Raises:
            errors.Transient: something could not be read, and nothing is known of it yet.
        """
        model = self.lookup.model(namespace, name)
        raw = self.cache.get(resources.MODEL_DEPLOYMENTS, namespace, name)
        if model is None or raw is None:
            return None
        references = workload_files.references(raw["spec"]["template"])
        return await self.files.refresh(namespace, name, model.metadata.generation, references)

    def observe(self, namespace: str, name: str) -> Observed | None:
        """The ModelDeployment with its revisions; None when it does not exist."""
        model = self.lookup.model(namespace, name)
        raw = self.cache.get(resources.MODEL_DEPLOYMENTS, namespace, name)
        if model is None or raw is None:
            return None
        template = raw["spec"]["template"]
        stored = self.revisions(namespace, name)
        look = self.files.look(namespace, workload_files.references(template))
        wanted = None if look.contents is None else self._wanted(model, template, look.contents, stored)
        lost = self.files.lost(namespace, name, stored, look)
        unsupported = () if wanted is None or wanted in stored else tuple(self._unsupported(model))
        denied = () if wanted is None else self.admission.problems(model, wanted, stored)
        wanted = wanted if not unsupported and not denied else None
        return Observed(
            model=model,
            resource_version=raw["metadata"]["resourceVersion"],
            revisions=stored if wanted is None or wanted in stored else (*stored, wanted),
            wanted=wanted,
            is_stored=wanted in stored,
            problems=(*look.problems, *lost, *unsupported, *denied, *self._gateway_problems(model)),
            contents=look.contents,
            url=self._url(model),
        )

    def _url(self, model: modeldeployment.ModelDeployment) -> str:
        """The first Gateway that there is, or the model's own Service."""
        namespace = model.metadata.namespace
        gateways = (self.lookup.gateway(ref.namespace or namespace, ref.name) for ref in model.spec.gateway_refs)
        first = next((gateway for gateway in gateways if gateway is not None), None)
        return service.address(namespace, model.metadata.name) if first is None else gateway_objects.address(first)

    def _unsupported(self, model: modeldeployment.ModelDeployment) -> Iterator[status.Problem]:
        """What a new revision asks for, and the cluster, its engine's version or its GPUs have not."""
        filled = platform_rules.fill(model.spec.template, self.admission.platform_defaults, self.defaults)
        why = sources.unsupported(pod_template.model_items(filled.template), image_volumes=self.defaults.image_volumes)
        if why is not None:
            yield status.Problem(status.Reason.SOURCE_UNSUPPORTED, f"{why}. What runs is left alone")
        for message in template_checks.problems(filled.template, default_image=filled.defaults.engine_image):
            yield status.Problem(status.Reason.INVALID_TEMPLATE, f"{message}. What runs is left alone")

    def _wanted(
        self,
        model: modeldeployment.ModelDeployment,
        template: Mapping[str, Any],
        contents: Mapping[str, str],
        stored: tuple[revision.Revision, ...],
    ) -> revision.Revision:
        """The revision that the spec asks for: a stored one, or a new one."""
        digests = workload_files.digests(contents)
        return revision.find_same(stored, template, digests) or revision.make_revision(
            model.metadata.name,
            template,
            files={**self.files.engine_digests, **digests},
            known=stored,
            defaults=self.defaults,
            platform=self.admission.platform_defaults,
            timing=pod_template.Timing.of(model.spec),
        )

    def rerendered(self, observed: Observed) -> revision.Revision | None:
        """The wanted revision as this version of Sluice renders it, as a new one; None where that changes nothing."""
        if observed.wanted is None or observed.contents is None:
            return None
        name, timing = observed.key.name, pod_template.Timing.of(observed.model.spec)
        platform = self.admission.platform_defaults
        fresh = revision.make_revision(
            name,
            observed.wanted.template,
            files={**self.files.engine_digests, **workload_files.digests(observed.contents)},
            known=observed.revisions,
            defaults=self.defaults,
            platform=platform,
            timing=timing,
        )
        again = revision.render(name, observed.wanted, defaults=self.defaults, platform=platform, timing=timing)
        return None if again == observed.wanted.pod_template else fresh

    def revisions(self, namespace: str, name: str) -> tuple[revision.Revision, ...]:
        """All stored revisions, oldest first."""
        found = self.cache.list(resources.CONTROLLER_REVISIONS, namespace, labels=objects.model_labels(name))
        former = self._parsed.get((namespace, name), {})
        parsed: dict[str, tuple[Mapping[str, Any], revision.Revision]] = {}
        for obj in found:
            known = former.get(obj["metadata"]["name"])
            same = known is not None and known[0] is obj  # objects of the cache never change
            parsed[obj["metadata"]["name"]] = known if same and known else (obj, revision.parse_controller_revision(obj))
        self._parsed[namespace, name] = parsed
        return tuple(sorted((known for _, known in parsed.values()), key=lambda known: known.number))

    def running(self, key: naming.ObjectKey) -> set[str]:
        """Hashes of the revisions that have a Deployment or pods."""
        labels = objects.model_labels(key.name)
        kinds = (resources.DEPLOYMENTS, resources.PODS)
        found = (obj["metadata"]["labels"] for kind in kinds for obj in self.cache.list(kind, key.namespace, labels=labels))
        return {known[naming.LABEL_REVISION] for known in found if naming.LABEL_REVISION in known}

    def pods(self, observed: Observed) -> list[dict[str, Any]]:
        """All engine pods of the ModelDeployment."""
        metadata = observed.model.metadata
        return self.cache.list(resources.PODS, metadata.namespace, labels=objects.model_labels(metadata.name))

    def hpas(self, observed: Observed) -> dict[str, Mapping[str, Any]]:
        """The HorizontalPodAutoscalers by their revision's hash."""
        metadata = observed.model.metadata
        found = self.cache.list(
            resources.HORIZONTAL_POD_AUTOSCALERS, metadata.namespace, labels=objects.model_labels(metadata.name)
        )
        return {obj["metadata"]["labels"][naming.LABEL_REVISION]: obj for obj in found}

    def neighbours(self, model: modeldeployment.ModelDeployment) -> guards.Neighbours:
        """Who may reach the engines: Gateways that would route to them, and what runs in the operator's namespace."""
        allowed = []
        for namespace, name in sorted(lookup_.gateway_refs(model)):
            owner = self.lookup.gateway(namespace, name)
            if owner is not None and self.lookup.allows(owner, model.metadata.namespace):
                allowed.append((namespace, name))
        return guards.Neighbours(
            gateways=tuple(allowed),
            operator_namespace=self.operator_namespace,
            openshift=self.defaults.openshift,
        )

    def split(self, model: modeldeployment.ModelDeployment) -> rollout.Split:
        """Whether weights reach users."""
        references = lookup_.gateway_refs(model)
        if not references:
            return rollout.Split.NONE
        if any(True for _ in self._gateway_problems(model)):
            return rollout.Split.UNAVAILABLE
        return rollout.Split.CONNECTED

    def _gateway_problems(self, model: modeldeployment.ModelDeployment) -> list[status.Problem]:
        problems = []
        for index, reference in enumerate(model.spec.gateway_refs):
            namespace = reference.namespace or model.metadata.namespace
            owner = self.lookup.gateway(namespace, reference.name)
            field = f"spec.gatewayRefs[{index}]"
            if owner is None:
                problems.append(
                    status.Problem(
                        status.Reason.GATEWAY_NOT_FOUND,
                        f"Cannot resolve {field}: there is no Gateway {namespace}/{reference.name}. "
                        "Create it, or correct the reference",
                    )
                )
            elif not self.lookup.allows(owner, model.metadata.namespace):
                problems.append(
                    status.Problem(
                        status.Reason.NOT_ALLOWED_BY_GATEWAY,
                        f"Cannot use {field}: Gateway {namespace}/{reference.name} does not allow namespace "
                        f"{model.metadata.namespace}. Its spec.allowedModels.namespaces decides",
                    )
                )
        return problems

    def stored_plan(self, model: modeldeployment.ModelDeployment, revision_hash: str) -> Mapping[str, str] | None:
        """The data of the rollout's evidence ConfigMap; None when there is none."""
        name = naming.evidence_name(model.metadata.name, revision_hash)
        found = self.cache.get(resources.CONFIG_MAPS, model.metadata.namespace, name)
        return None if found is None else found.get("data") or {}

    async def new_plan(
        self, model: modeldeployment.ModelDeployment, *, first: bool, direct: bool = False, replicas: int = 1
    ) -> rollout_plan.Plan:
        """The plan of a rollout that starts now, with the digests of its data sets as they are now.

        Raises:
            planning.PlanError: the spec names what does not exist; a person must change something.
        """
        gates = {gate.metadata.name: gate.spec for gate in self.lookup.gates(model.metadata.namespace)}
        plan = planning.build_plan(model.spec, gates, {}, first=first, direct=direct, replicas=replicas)
        required = self.admission.required_gates(model.metadata.namespace)
        plan = planning.require(plan, gates, required, splits=bool(model.spec.gateway_refs))
        digests: dict[str, str] = {}
        for name, spec in plan.gates.items():
            for one in spec.evals:
                digests[f"{name}/{one.name}"] = await self._digest(model.metadata.namespace, name, one)
        return dataclasses.replace(plan, digests=digests)

    async def _digest(self, namespace: str, gate: str, one: evalgate.Eval) -> str:
        reference = one.dataset.config_map
        assert reference is not None  # the CRD requires it for the only type there is
        field = f"EvalGate {namespace}/{gate} spec.evals[{one.name}].dataset.configMap"
        try:
            found: dict[str, Any] = await self.client.get(resources.CONFIG_MAPS, namespace, reference.name)
        except errors.NotFound:
            raise planning.PlanError(
                field, f"Cannot resolve {field}: there is no ConfigMap {namespace}/{reference.name}. Create it"
            ) from None
        content = (found.get("data") or {}).get(reference.key)
        if content is None:
            raise planning.PlanError(
                field, f"Cannot resolve {field}: ConfigMap {namespace}/{reference.name} has no key {reference.key!r}. Add it"
            )
        return hashlib.sha256(content.encode()).hexdigest()
