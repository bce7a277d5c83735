"""Admission policies: who may order what by annotation, and who may write the facts that rollouts are decided by.

Roles alone cannot say either: everybody who may patch a ModelDeployment may write its annotations, and everybody who may edit
ConfigMaps may edit those with evidence. The policies ask the cluster's authorizer, so that roles decide after all.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from sluice.api import base, commands, modeldeployment, naming

COMMANDS: Final = "sluice-commands"
RECORDS: Final = "sluice-records"
_LABELS: Final = {naming.LABEL_NAME: naming.MANAGED_BY}
_KIND: Final = f"authorizer.group('{base.GROUP}').resource('{modeldeployment.PLURAL}')"


def build_admission() -> list[dict[str, Any]]:
    """All objects of `manifests/admission.yaml`."""
    return [_policy(COMMANDS, _commands()), _binding(COMMANDS), _policy(RECORDS, _records()), _binding(RECORDS)]


def _commands() -> dict[str, Any]:
    """An order has the form of one, bears the name of who gives it, and comes from somebody who may give it.

    What is there already is let through, so that others' changes of the same object pass.
    """
    names = "|".join(verb.value for verb in commands.Verb)
    permissions = ", ".join(f"'{verb.value}': '{commands.PERMISSION_OF[verb].value}'" for verb in commands.Verb)
    return {
        "matchConstraints": {"resourceRules": [_rule(base.GROUP, modeldeployment.PLURAL, "CREATE", "UPDATE")]},
        "variables": [
            _variable("command", _annotation("object", commands.ANNOTATION)),
            _variable("by", _annotation("object", commands.BY_ANNOTATION)),
            _variable("commandBefore", f"oldObject == null ? '' : {_annotation('oldObject', commands.ANNOTATION)}"),
            _variable("byBefore", f"oldObject == null ? '' : {_annotation('oldObject', commands.BY_ANNOTATION)}"),
            _variable("isNew", "variables.command != '' && variables.command != variables.commandBefore"),
            _variable("isWellFormed", f"variables.command.matches(r'{commands.pattern(names)}')"),
            _variable("verb", "variables.command.split('/')[0]"),
            _variable("permission", f"{{{permissions}}}[variables.verb]"),
        ],
        "validations": _command_rules(names.replace("|", ", ")),
    }


def _command_rules(verbs: str) -> list[dict[str, str]]:
    """What holds for a new order; `verbs` lists those that there are."""
    return [
        _validation(
            "!variables.isNew || variables.isWellFormed",
            f"annotation {commands.ANNOTATION} must be of the form <verb>/<revision>/<uuid>, the verb one of "
            f"{verbs}: give orders by kubectl sluice",
        ),
        _validation(
            "!variables.isNew || variables.by == request.userInfo.username",
            f"annotation {commands.BY_ANNOTATION} must name who gives the order, '{{request.userInfo.username}}', and it "
            "is '{variables.by}'. In a copy of an object remove both annotations: an order is no part of it",
        ),
        _validation(
            "variables.isNew || variables.by == (variables.command == '' ? '' : variables.byBefore)",
            f"annotation {commands.BY_ANNOTATION} belongs to {commands.ANNOTATION}: it changes with a new order only, and "
            "goes with it",
        ),
        _validation(
            "!variables.isNew || !variables.isWellFormed || "
            f"{_KIND}.namespace(request.namespace).name(object.metadata.name).check(variables.permission).allowed()",
            "user '{request.userInfo.username}' may not order '{variables.verb}': it takes the verb "
            f"'{{variables.permission}}' on {modeldeployment.PLURAL}.{base.GROUP}, which the role admin and the "
            "ClusterRole sluice-order have",
            reason="Forbidden",
        ),
    ]


def _records() -> dict[str, Any]:
    """Whoever may write the status of ModelDeployments may write the records behind it: outcomes, plans, evidence, files.

    The operator may, and so may cluster administrators, the garbage collector and tools that restore backups. Deleting is also
    for those who may delete all there is, as the controller that empties namespaces.
    """
    status = f"{_KIND}.subresource('status').namespace(request.namespace)"
    return {
        "matchConstraints": {
            "resourceRules": [
                _rule("apps", "controllerrevisions", "CREATE", "UPDATE", "DELETE"),
                _rule("", "configmaps", "CREATE", "UPDATE", "DELETE"),
            ],
            # What the operator watches, and so believes. One that has the label before or after the change is meant.
            "objectSelector": {"matchLabels": {naming.LABEL_MANAGED_BY: naming.MANAGED_BY}},
        },
        "validations": [
            _validation(
                f"{status}.check('patch').allowed() || (request.operation == 'DELETE' && {status}.check('delete').allowed())",
                "user '{request.userInfo.username}' may not change what Sluice has recorded of its rollouts: it takes the verb "
                f"'patch' on {modeldeployment.PLURAL}.{base.GROUP}/status. Give orders by kubectl sluice",
                reason="Forbidden",
            )
        ],
    }


def _annotation(obj: str, name: str) -> str:
    return f"{obj}.metadata.?annotations[?'{name}'].orValue('')"


def _validation(expression: str, message: str, *, reason: str = "Invalid") -> dict[str, str]:
    """One rule. In its message, CEL stands in braces."""
    parts = [part if index % 2 else json.dumps(part) for index, part in enumerate(re.split(r"\{(.*?)\}", message))]
    said = {"message": message} if len(parts) == 1 else {"messageExpression": " + ".join(parts)}
    return {"expression": expression, **said, "reason": reason}


def _variable(name: str, expression: str) -> dict[str, str]:
    return {"name": name, "expression": expression}


def _rule(group: str, plural: str, *operations: str) -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": ["*"], "operations": list(operations), "resources": [plural]}


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": dict(_LABELS)},
        "spec": {"failurePolicy": "Fail", **spec},
    }


def _binding(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": dict(_LABELS)},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
