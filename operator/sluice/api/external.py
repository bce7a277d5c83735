"""Where a live metric's value comes from when neither gateway nor engine measures it: a Prometheus query, or a webhook."""

from __future__ import annotations

from typing import Annotated, Final

import pydantic

from sluice.api import base

PLACEHOLDERS: Final = ("namespace", "model", "revision", "stable")
"""What a query may name as `{{name}}`."""
URL_PATTERN: Final = r"^https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/%\-]*)?$"
_REPLACED: Final = "self" + "".join(f".replace('{{{{{name}}}}}', '')" for name in PLACEHOLDERS)

Url = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=512,
        pattern=URL_PATTERN,
        description="An http or https URL with neither user, query nor fragment.",
        json_schema_extra=base.hint("must be an http or https URL such as http://prometheus.monitoring.svc:9090"),
    ),
]


class Header(base.ApiModel):
    """A request header."""

    name: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z0-9-]+$",
            description="Such as X-Scope-OrgID.",
            json_schema_extra=base.hint("must hold only letters, digits and dashes"),
        ),
    ]
    value: Annotated[
        str,
        pydantic.Field(
            max_length=256,
            pattern=r"^[ -~]*$",
            description="Plain text; secrets belong into the Secret.",
            json_schema_extra=base.hint("must be printable ASCII"),
        ),
    ]


class Endpoint(base.ApiModel):
    """Where to ask, and as whom."""

    url: Url
    headers: Annotated[
        tuple[Header, ...],
        pydantic.Field(max_length=8, description="Headers of each request.", json_schema_extra=base.map_list("name")),
    ] = ()
    credentials_secret_ref: Annotated[
        base.LocalObjectRef | None,
        pydantic.Field(
            description=(
                "A Secret of this namespace with the label sluice.dev/secret-type: metric-source. Its keys, all optional: "
                "token (bearer), or username and password; ca.crt, to be trusted for https in place of public ones."
            )
        ),
    ] = None


class Prometheus(Endpoint):
    """An instant query; its answer must be one number."""

    query: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=2048,
            description=(
                "PromQL with exactly one series as its result. {{namespace}}, {{model}}, {{revision}} and {{stable}} stand for "
                "the ModelDeployment and the hashes of both revisions."
            ),
            json_schema_extra=base.validations(
                base.cel(
                    f"!{_REPLACED}.contains('{{{{')",
                    "query may have the placeholders {{namespace}}, {{model}}, {{revision}} and {{stable}}, and no other {{",
                )
            ),
        ),
    ]


class Webhook(Endpoint):
    """A POST with the rollout's context as JSON; the answer is JSON too, with a number as `value`."""
