import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createAgent, type Agent } from "@holdfast/agent";
import { createControlPlane, type ControlPlane } from "@holdfast/control-plane";
import type { ControlPlaneSettings, Log, OwnershipClaim } from "@holdfast/control-plane/process";
import { createMachine, type Machine } from "@holdfast/machine";
import type { Service } from "@holdfast/runtime";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import type { UpOptions } from "./options.ts";
import type { CommandContext } from "../command-context.ts";
import { holdfastVersion } from "../version.ts";
import { claimHome, explainStartFailure, requireFreePort } from "./claim-home.ts";
import { fleetText, readFleetPlan } from "./fleet-plan.ts";
import { findLocalComfy } from "./local-comfyui.ts";
import { watchInstall } from "../machine/install-progress.ts";
import { listeningText, machineSettings } from "./machine-settings.ts";
import { logFor, readSettings } from "./settings.ts";
import type { RunningUp } from "./running-up.ts";
import { createSimulatorChild, type SimulatorChild } from "./simulator-child.ts";
import { listenForStop, trySignal } from "./stop-signals.ts";

/** How long an orderly end waits for renders that are running. */
const DRAIN_MS = 10_000;
/** Speed of the simulator that `up` starts. */
const DEFAULT_TIME_SCALE = 1;

type Owned = Extract<OwnershipClaim, { kind: "owned" }>;

/** `holdfast up`: runs until it is stopped. */
export async function runUp(options: UpOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const settings = readSettings(options, context);
  const log = logFor(settings);
  const claim = await claimHome(settings.home);
  const { ownership } = claim;
  const services: Service[] = [];
  let simulator: SimulatorChild | undefined;
  const stop = listenForStop(terminal, () => endAtOnce(services, simulator));
  try {
    await requireFreePort(settings);
    const { isManifestNamed, manifestPath } = machineSettings(settings);
    // A manifest that was named and is not there is a mistake to be told, not a wish to simulate.
    const isEmpty =
      settings.comfyuiUrls.length === 0 && !isManifestNamed && !existsSync(manifestPath);
    const wantsSimulator = options.simulator === true || isEmpty;
    if (wantsSimulator) {
      simulator = createSimulatorChild({
        home: settings.home,
        ownership,
        orphans: claim.orphans,
        clock: systemClock,
        log: log.child({ part: "simulator" }),
        timeScale: options.timeScale ?? DEFAULT_TIME_SCALE,
        env: context.env,
      });
    }
    const running = await start({ settings, log, claim, simulator, services, context });
    await ownership.recordAddress({ host: settings.host, port: running.controlPlane.port() });
    if (!stop.signal.aborted) await serve(running, { options, settings, context, stop });
  } catch (error) {
    // Asked to stop while it was starting: what failed then failed because of that.
    if (!stop.signal.aborted) throw explainStartFailure(error);
  } finally {
    if (stop.signal.aborted) terminal.note("stopping; Ctrl-C again stops at once");
    await endAll(services, log);
    await ownership.release();
    stop.release();
    if (stop.signal.aborted) terminal.note("stopped");
  }
}

interface StartFacts {
  readonly settings: ControlPlaneSettings;
  readonly log: Log;
  readonly claim: Owned;
  readonly simulator: SimulatorChild | undefined;
  /** Takes every service as it starts, so that a failure further on ends them. */
  readonly services: Service[];
  readonly context: CommandContext;
}

async function start(facts: StartFacts): Promise<RunningUp> {
  const { settings, log, simulator, services, context } = facts;
  const failpoints = failpointsFromText(context.env["HOLDFAST_FAILPOINTS"]);
  const common = { clock: systemClock, random: systemRandom, failpoints };
  const version = holdfastVersion();
  const fleet = await readFleetPlan(settings, context);
  const controlPlane = createControlPlane({ ...common, settings, log, version, fleet });
  // Neither waits for the other: the time to ready is that of the slower one.
  const wanted: readonly Service[] =
    simulator === undefined ? [controlPlane] : [simulator, controlPlane];
  services.push(...wanted);
  const started = await Promise.allSettled(wanted.map((service) => service.start()));
  const failed = started.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return {
    controlPlane,
    simulator,
    fleet: fleet === undefined ? undefined : fleetText(settings, fleet),
    urls: simulator === undefined ? settings.comfyuiUrls : [simulator.url()],
    machine: () => services.findLast(isMachine),
    async startTrial(urls) {
      const agent = createAgent({
        ...common,
        link: controlPlane.link(),
        instances: urls.map((url) => ({ url })),
        stateDir: join(settings.home, "agent"),
        machineName: settings.machineName ?? hostname(),
        log: log.child({ part: "agent" }),
      });
      services.push(agent);
      await agent.start();
      return agent;
    },
    async startAgent(urls) {
      const machine = createMachine({
        ...common,
        ...machineSettings(settings),
        link: controlPlane.link(),
        controlPlaneUrl: controlPlane.url(),
        attached: urls.map((url) => ({ url })),
        stateDir: join(settings.home, "agent"),
        machineName: settings.machineName ?? hostname(),
        version,
        env: context.env,
        log: log.child({ part: "agent" }),
        onInstallEvent: watchInstall(context.terminal),
      });
      services.push(machine);
      await machine.start();
      return machine;
    },
  };
}

async function serve(
  running: RunningUp,
  facts: {
    readonly options: UpOptions;
    readonly settings: ControlPlaneSettings;
    readonly context: CommandContext;
    readonly stop: { readonly signal: AbortSignal; readonly asked: Promise<void> };
  },
): Promise<void> {
  const { options, settings, context, stop } = facts;
  const { terminal, env } = context;
  if (options.demo === true && env["HOLDFAST_DEMO"] !== "0" && running.urls.length > 0) {
    const { runDemo } = await import("../demo/run-demo.ts");
    await runDemo({ ...running, settings, terminal, signal: stop.signal });
  } else {
    await running.startAgent(running.urls);
  }
  if (stop.signal.aborted) return;
  const where = running.simulator === undefined ? "ComfyUI" : "simulated ComfyUI";
  terminal.line(`Holdfast ${holdfastVersion()} is up`);
  terminal.line(`  address     ${running.controlPlane.url()}`);
  terminal.line(`  data        ${settings.home}`);
  if (running.urls.length > 0) terminal.line(`  renders on  ${where} ${running.urls.join(", ")}`);
  if (running.fleet !== undefined) terminal.line(`  fleet       ${running.fleet}`);
  const { manifestPath } = machineSettings(settings);
  if (existsSync(manifestPath)) terminal.line(`  machine     ${manifestPath}`);
  const listening = running.machine()?.listening();
  if (listening !== undefined) terminal.line(listeningText(listening));
  terminal.line("  stop        Ctrl-C");
  if (running.simulator !== undefined && options.simulator !== true) {
    const found = await findLocalComfy();
    if (found !== undefined) {
      terminal.line(`found a ComfyUI on 8188; to use it: COMFYUI_URL=${found} holdfast up`);
    }
  }
  await stop.asked;
}

/** Ends services last first; the agent may first finish what it renders. */
async function endAll(services: readonly Service[], log: Log): Promise<void> {
  for (const service of [...services].reverse()) {
    try {
      if (isMachine(service) || isAgent(service)) await service.drain(DRAIN_MS);
      await service.stop();
    } catch (err) {
      // The others must still be ended; what is left over the next start adopts or ends.
      log.error({ err, service: service.name }, "did not stop cleanly");
    }
  }
}

/** The second Ctrl-C: what can be told to end without waiting for it. */
function endAtOnce(services: readonly Service[], simulator: SimulatorChild | undefined): void {
  simulator?.killNow();
  const pid = services.find(isControlPlane)?.postgres?.pid();
  // Postgres's fast shutdown: it writes its checkpoint and ends by itself after us.
  if (pid !== undefined) trySignal(pid, "SIGINT");
}

function isControlPlane(service: Service): service is ControlPlane {
  return service.name === "control-plane";
}

function isAgent(service: Service): service is Agent {
  return service.name === "agent";
}

function isMachine(service: Service): service is Machine {
  return service.name === "machine";
}
