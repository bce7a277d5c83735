"""The table of what we touch."""

from __future__ import annotations

import pytest

from sluice.kube import resources

Verb, Reach = resources.Verb, resources.Reach


def test_every_resource_is_listed_once() -> None:
    """The manifests are made from these lists."""
    declared = {value for value in vars(resources).values() if isinstance(value, resources.Resource)}
    assert declared == {*resources.ALL, *resources.METRICS}
    for table in (resources.ALL, resources.METRICS):
        assert len(table) == len({(resource.group, resource.plural) for resource in table})


def test_users_specs_are_never_written() -> None:
    """Of our own kinds the operator writes the status only."""
    for resource in resources.ALL:
        if resource.group == "sluice.dev":
            assert resource.verbs == {Verb.GET, Verb.LIST, Verb.WATCH}
            assert resource.permits(Verb.PATCH, subresource="status")


@pytest.mark.parametrize("resource", [resources.LEASES], ids=str)
def test_the_lease_is_touched_in_the_operators_namespace_alone(resource: resources.Resource) -> None:
    """And by its name, where RBAC can say so: not for create."""
    assert resource.permits(Verb.UPDATE, name=resources.LEASE_NAME, own_namespace=True)
    assert not resource.permits(Verb.UPDATE, name=resources.LEASE_NAME)
    assert not resource.permits(Verb.UPDATE, name="another", own_namespace=True)
    assert resource.permits(Verb.CREATE, name="another", own_namespace=True)


def test_only_the_ca_secret_may_be_replaced() -> None:
    """Other Secrets are applied, and those of users only read."""
    assert resources.SECRETS.permits(Verb.UPDATE, name=resources.CA_SECRET_NAME, own_namespace=True)
    assert not resources.SECRETS.permits(Verb.UPDATE, name="other", own_namespace=True)


def test_rules_are_found_by_reach() -> None:
    """What becomes a ClusterRole and what a Role."""
    own = {resources.LEASES, resources.SECRETS, resources.CONFIG_MAPS}
    assert {resource for resource, _ in resources.rules(Reach.OPERATOR)} == own
    assert {resource for resource, _ in resources.rules(Reach.CLUSTER)} == {resources.NAMESPACES, resources.API_SERVICES}


def test_the_metrics_server_writes_nothing() -> None:
    """It reads pods, asks for reviews, and has neither Secrets nor anything of users."""
    for resource in resources.METRICS:
        reviews = resource in (resources.TOKEN_REVIEWS, resources.SUBJECT_ACCESS_REVIEWS)
        assert resource.verbs <= ({Verb.CREATE} if reviews else {Verb.GET, Verb.LIST, Verb.WATCH}), resource
        assert resource.kind != "Secret"


def test_another_adapters_registration_is_never_touched() -> None:
    """The operator may look who else serves custom metrics, and patch its own registration only."""
    assert resources.API_SERVICES.permits(Verb.GET, name="v1beta1.custom.metrics.k8s.io")
    assert resources.API_SERVICES.permits(Verb.PATCH, name="v1beta2.custom.metrics.k8s.io")
    assert not resources.API_SERVICES.permits(Verb.PATCH, name="v1beta1.custom.metrics.k8s.io")
    assert not resources.API_SERVICES.permits(Verb.PATCH, name="v1.")


def test_an_object_leads_to_its_resource() -> None:
    """By apiVersion and kind, in the core group too."""
    assert resources.for_object({"apiVersion": "apps/v1", "kind": "Deployment"}) is resources.DEPLOYMENTS
    assert resources.for_object({"apiVersion": "v1", "kind": "Service"}) is resources.SERVICES
    with pytest.raises(KeyError):
        resources.for_object({"apiVersion": "v1", "kind": "Node"})
