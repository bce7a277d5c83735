"""Per-attempt and per-request counters, written by Envoy itself.

As they appear at `/stats/prometheus` (Envoy puts `envoy_` before the prefix `sluice`; labels are as written here, and
Envoy adds none):

    # TYPE envoy_sluice_attempts counter
    envoy_sluice_attempts{revision="prod/chat-7c9d0f1a",route="chat",code="200",flags="-",stream="",placeholder=""} 12

One sample per upstream attempt, retries included: the evidence of rollouts. `revision` is the Envoy cluster
(`<ns>/<md>-<hash>`, or `provider/<name>`), `route` the route's name, `code` the attempt's HTTP status (`0`: none came),
`flags` Envoy's response flags joined by commas (`-`: none), `stream` `true`, `false` or empty (not in the body),
`placeholder` `yes` for an attempt on the refusing endpoint that stands in for an empty revision, else empty.

    # TYPE envoy_sluice_requests counter
    envoy_sluice_requests{route="chat",code="200",flags="-",client="team-a"} 12

One sample per client request, as the client saw it; `client` is empty for an anonymous one, `route` where none matched.
Both have no `_total` suffix. They appear at the first stats flush after the first count (1 s in our bootstrap).
"""
