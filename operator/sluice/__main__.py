"""`sluice <command>`: wiring only. Each command builds its parts and runs them until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import os
import pathlib
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import aiohttp

import sluice.evalrunner.command
from sluice import settings as settings_
from sluice.engine import clock as clock_
from sluice.engine import tasks
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import connection, election, errors, lease, resources
from sluice.kube import events as kube_events
from sluice.kube import platform as kube_platform
from sluice.metricsapi import numbers as metrics_numbers
from sluice.metricsapi import server as metrics_server
from sluice.observability import http, logs, metrics, watchdog
from sluice.pki import authority, identity
from sluice.reconcile import (
    controller,
    evidence,
    measure,
    metrics_api,
    objects,
    outside,
    platform,
    policies,
    programmer,
    traffic,
    trust,
)
from sluice.reconcile import lookup as lookup_
from sluice.reconcile.gateways import reconcile as gateways
from sluice.reconcile.models import admission, beside, evals, files, gather
from sluice.reconcile.models import reconcile as models
from sluice.sources import engines, envoy, poller
from sluice.watches import watches
from sluice.xds import server

_log = logs.get("sluice")

TRUST_PERIOD: Final = 600.0
"""Seconds between looks at the CA and at this replica's own certificate."""
RETRY_SECONDS: Final = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of the image. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="sluice", description="Runs self-hosted LLMs on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("operator", help="run one replica of the operator; settings come from SLUICE_… variables")
    commands.add_parser("metrics", help="serve the metrics of models to autoscalers; settings come from SLUICE_… variables")
    commands.add_parser("eval", help="run one eval; what an eval's Job does", add_help=False)
    commands.add_parser("prefetch", help="download models; what the init container of engine pods does", add_help=False)
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "eval":
        return sluice.evalrunner.command.main(rest)
    if arguments.command == "prefetch":
        # Here, and not above: the clouds' libraries are no load for the operator.
        from sluice.prefetch import command

        return command.main(rest)
    try:
        if arguments.command == "metrics":
            metrics_settings = settings_.metrics_from_environment(os.environ)
            logs.configure(metrics_settings.log_level)
            return asyncio.run(run_metrics(metrics_settings))
        settings = settings_.from_environment(os.environ)
        _spare_old_objects()
        logs.configure(settings.log_level)
        return asyncio.run(run_operator(settings))
    except (ValueError, connection.NotConfigured) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _spare_old_objects() -> None:
    """Has the garbage collector look through what is young, and hardly ever through what has stayed.

    The cache of a large fleet is a million objects that live long and are in no cycles. By default all of them are looked
    through whenever there are a quarter more: that was half of the time of a start with a thousand ModelDeployments.
    """
    gc.set_threshold(20_000, 20, 100)


async def run_operator(settings: settings_.Settings) -> int:
    """One replica, until SIGTERM or SIGINT."""
    stopping = _stopping()
    kubeconfig = pathlib.Path(settings.kubeconfig) if settings.kubeconfig else None
    async with await kube_client.Client.connect(kubeconfig, operator_namespace=settings.namespace) as client:
        replica = Replica(settings, client)
        await replica.run(stopping)
    return 0


async def run_metrics(settings: settings_.MetricsSettings) -> int:
    """One replica of `sluice metrics`, until SIGTERM or SIGINT."""
    stopping = _stopping()
    kubeconfig = pathlib.Path(settings.kubeconfig) if settings.kubeconfig else None
    async with await kube_client.Client.connect(kubeconfig, operator_namespace=settings.namespace) as client:
        cache = kube_cache.Cache()
        pods = [item for item in watches.WATCHED if item.resource is resources.PODS]
        following = watches.Watches(client, cache, watched=pods, namespaces=settings.watch_namespaces)
        options = metrics_server.Options(
            namespace=settings.namespace,
            host=settings.listen_address,
            port=settings.api_port,
            certificate=settings.certificate_directory,
            interval=settings.scrape_seconds,
        )
        numbers, dog = metrics_numbers.Numbers(), watchdog.Watchdog()
        server = metrics_server.MetricsServer(client, cache, options, clock=clock_.SystemClock(), numbers=numbers)
        numbers.before_rendering = server.refresh_numbers
        web = http.Server(settings.listen_address, settings.http_port, numbers=numbers, missing=lambda: server.missing, dog=dog)
        await web.start()
        try:
            await tasks.until(stopping, _together(dog.run(), following.run(), server.run()))
        finally:
            await web.stop()
    return 0


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs all until one fails or this is cancelled."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)


def _stopping() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


class Replica:
    """The parts of one replica of the operator."""

    def __init__(self, settings: settings_.Settings, client: kube_client.Client) -> None:
        self.settings = settings
        self.client = client
        self.platform = kube_platform.UNKNOWN
        self.clock = clock_.SystemClock()
        self.numbers = metrics.Metrics()
        self.cache = kube_cache.Cache()
        self.lookup = lookup_.Lookup(self.cache)
        self.watches = watches.Watches(client, self.cache, namespaces=settings.watch_namespaces)
        self.trust = trust.Trust(client, settings.namespace, self.clock, settings.xds_address)
        self.metrics_api = metrics_api.MetricsApi(client, self.trust, self.clock, settings.namespace, self._leads)
        self.rules = platform.Platform(
            client, self.cache, settings.namespace, self.clock, self.numbers, interval=settings.refresh_interval
        )
        self.recorder = kube_events.Recorder(client, instance=settings.pod_name, now=self.clock.now)
        self._session: aiohttp.ClientSession | None = None
        self.roles: asyncio.Queue[election.Role] = asyncio.Queue()
        self.elector = lease.Elector(
            lease.KubeLeases(client, settings.namespace, timeout=settings.lease.request_timeout),
            settings.pod_name,
            time=self.clock,
            timing=election.Timing(
                duration=settings.lease.duration,
                renew_deadline=settings.lease.renew_deadline,
                retry=settings.lease.retry,
                request_timeout=settings.lease.request_timeout,
                protect=settings.lease.protect_only_limit,
            ),
            on_change=self.roles.put_nowait,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Starts everything in order, follows the role, and stops everything in order."""
        dog = watchdog.Watchdog()
        web = http.Server(
            self.settings.listen_address,
            self.settings.http_port,
            numbers=self.numbers,
            missing=lambda: self.watches.missing,
            dog=dog,
        )
        await web.start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(tasks.cancel, asyncio.create_task(dog.run(), name="watchdog"))
            stack.push_async_callback(web.stop)
            stack.push_async_callback(self._close_session)
            watching = asyncio.create_task(self.watches.run(), name="watches")
            stack.push_async_callback(tasks.cancel, watching)
            if not await tasks.until(stopping, self._prepare()):
                return
            ads, control = self._build()
            await ads.start(f"{self.settings.listen_address}:{self.settings.xds_port}")
            stack.push_async_callback(ads.stop)
            stack.push_async_callback(tasks.cancel, asyncio.create_task(self._keep_trust(ads), name="trust"))
            stack.push_async_callback(tasks.cancel, asyncio.create_task(self.recorder.run(), name="events"))
            self.metrics_api.on_change = self.rules.on_change = control.models_may_have_changed
            stack.push_async_callback(tasks.cancel, asyncio.create_task(self.rules.run(), name="platform rules"))
            stack.push_async_callback(tasks.cancel, asyncio.create_task(self.metrics_api.run(), name="metrics API"))
            elector = asyncio.create_task(self.elector.run(), name="elector")
            follow = asyncio.create_task(self._follow(control), name="roles")
            _log.info("started", identity=self.settings.pod_name, namespace=self.settings.namespace)
            # If one of these ever ends, the process does: a replica that only seems to work is worse than none.
            await tasks.until(stopping, tasks.any_ends(elector, follow, watching))
            # Work ends before the Lease is given away, so that there is never a second writer.
            await tasks.cancel(follow)
            await control.step_down()
            await self.elector.stop()
            await tasks.cancel(elector)
            _log.info("stopped", identity=self.settings.pod_name)

    async def _prepare(self) -> None:
        """Waits for the API server, the CA and a complete cache: before that this replica can't lead."""
        while True:
            try:
                self.platform = await kube_platform.describe(self.client)
                await self.trust.load()
                await self.rules.load()
                break
            except errors.ApiError as error:
                _log.warning("platform, its rules or CA not read yet", cause=str(error))
                await self.clock.sleep(RETRY_SECONDS)
        while self.watches.missing:
            await self.clock.sleep(0.05)

    def _build(self) -> tuple[server.AdsServer, controller.Controller]:
        """What works once the cache is complete: the ADS server, and the controller with its reconcilers and measurements."""
        settings = self.settings
        ads = server.AdsServer(
            _tls(self.trust.operator_leaf()),
            identify=identity.gateway_of,
            on_change=lambda owner: control.proxies_changed(owner),  # noqa: PLW0108 - it does not exist yet
            proxy_gone_after=settings.proxy_gone_after,
        )
        program = programmer.Programmer(self.cache, self.lookup, traffic.TrafficTable(), ads)
        reconcilers = self._reconcilers(ads, program)
        control = controller.Controller(
            cache=self.cache,
            lookup=self.lookup,
            reconcilers=reconcilers,
            ads=ads,
            workers=settings.workers,
            numbers=self.numbers,
        )
        program.on_change = control.say_again
        program.in_flight = reconcilers.models.beside.in_flight.most
        reconcilers.models.beside.tell_when_warm(control.queue.add)
        control.measurer = self._measurer(control, program, reconcilers.models)
        return ads, control

    def _measurer(
        self, control: controller.Controller, program: programmer.Programmer, reconciler: models.ModelReconciler
    ) -> measure.Measurer:
        return measure.Measurer(
            cache=self.cache,
            lookup=self.lookup,
            table=program.table,
            poller=poller.Poller(self._scrape),
            engines=poller.Poller(self._scrape_engine),
            outside=outside.Outside(self.cache, self._http, control.verdict_changed),
            port=self.settings.stats_port,
            clock=self.clock,
            numbers=self.numbers,
            interval=self.settings.scrape_interval,
            family_of=reconciler.family_of,
            on_verdict=control.verdict_changed,
            in_flight=reconciler.beside.in_flight,
            on_empty=control.queue.add,
            on_look=program.follow_in_flight,
            is_warming=reconciler.is_settling_in,
        )

    def _reconcilers(self, ads: server.AdsServer, program: programmer.Programmer) -> controller.Reconcilers:
        applier = objects.Applier(self.client, self.cache)
        return controller.Reconcilers(
            models=self._model_reconciler(applier, program),
            gateways=gateways.GatewayReconciler(
                client=self.client,
                cache=self.cache,
                lookup=self.lookup,
                applier=applier,
                programmer=program,
                ads=ads,
                trust=self.trust,
                clock=self.clock,
                numbers=self.numbers,
                image=self.settings.envoy_image,
                xds_host=self.settings.xds_address,
                xds_port=self.settings.xds_port,
            ),
            policies=policies.PolicyReconciler(self.client, self.lookup, program, ads, self.clock),
            gates=policies.GateReconciler(self.client, self.lookup, self.clock),
        )

    def _model_reconciler(self, applier: objects.Applier, program: programmer.Programmer) -> models.ModelReconciler:
        settings = self.settings
        return models.ModelReconciler(
            client=self.client,
            gatherer=self._gatherer(),
            applier=applier,
            table=program.table,
            programmer=program,
            book=evidence.Book(),
            evals=evals.Evals(self.cache, settings.operator_image, self.clock),
            beside=beside.build(self._http, self.clock),
            recorder=self.recorder,
            clock=self.clock,
            numbers=self.numbers,
            metrics_api=self.metrics_api.trouble,
            crash_after_decrease=settings.crash_after_decrease,
        )

    def _gatherer(self) -> gather.Gatherer:
        scripts, interval = files.read_engine_files(), self.settings.refresh_interval
        sources = files.Files(self.client, self.cache, self.clock, scripts, interval=interval)
        defaults = dataclasses.replace(
            self.settings.defaults, openshift=self.platform.openshift, image_volumes=self.platform.image_volumes
        )
        admitted = admission.Admission(self.cache, self.rules, defaults)
        return gather.Gatherer(self.cache, self.lookup, self.client, defaults, sources, admitted, self.settings.namespace)

    def _leads(self) -> bool:
        return self.elector.role is election.Role.LEADER

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Several namespaces may ask one host: no cookie of one is another's.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def _scrape_engine(self, target: engines.Target) -> engines.Reading:
        return await engines.scrape(self._http(), target, now=self.clock.now)

    async def _scrape(self, target: poller.Target) -> envoy.Reading:
        """Reads one proxy as the operator, and only a proxy of that gateway."""
        context = self.trust.client_context(*target.gateway)
        with self.numbers.scrape_seconds.labels("/".join(target.gateway)).time():
            return await envoy.scrape(
                self._http(), target.address, target.port, context, revisions=target.revisions, now=self.clock.now
            )

    async def _close_session(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _follow(self, control: controller.Controller) -> None:
        """Does what each new role asks for, one after the other."""
        while True:
            role = await self.roles.get()
            self.numbers.set_role(leader=role is election.Role.LEADER, protect_only=role is election.Role.PROTECT_ONLY)
            await control.assume(role)

    async def _keep_trust(self, ads: server.AdsServer) -> None:
        """Turns the CA over in time (as leader), and this replica's own certificate with it."""
        while True:
            await self.clock.sleep(TRUST_PERIOD)
            try:
                if self._leads():
                    await self.trust.advance()
                else:
                    await self.trust.load()
                ads.set_tls(_tls(self.trust.operator_leaf()))
            except (errors.ApiError, authority.PkiError) as error:
                _log.error("certificates not looked after", cause=str(error))


def _tls(leaf: authority.Leaf) -> server.Tls:
    return server.Tls(leaf.certificate, leaf.key, leaf.bundle)


if __name__ == "__main__":
    sys.exit(main())
