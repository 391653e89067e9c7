/** The fleet that a control plane may start and end, as `fleet.yaml` says. */
import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FleetPlan, FleetPool } from "@holdfast/control-plane";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
import type { MachineProvider, ReadPool } from "@holdfast/providers";
import { assertNever } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";

/** Name of the file in the home folder. */
export const FLEET_FILE = "fleet.yaml";
const MS_PER_SEC = 1_000;
/** Longest wait for a provider's word on its pool. */
const CHECK_MS = 15_000;
/** Of this process's environment, what programs need. */
const PASSED_ON = ["PATH", "HOME", "LANG", "TMPDIR"];

/** Where the file is; null when there is none and none was named. */
export function fleetFilePath(settings: ControlPlaneSettings): string | null {
  if (settings.fleetFile !== undefined) return settings.fleetFile;
  const path = join(settings.home, FLEET_FILE);
  return existsSync(path) ? path : null;
}

/**
 * Reads the file; undefined where there is none. Throws {@link CommandFailure} with every problem, those
 * included that providers find in their pools: an unknown GPU type. A provider that does not answer, or
 * refuses the key, is no problem of the file: it is told, and its pool is blocked until that is over.
 */
export async function readFleetPlan(
  settings: ControlPlaneSettings,
  { env, terminal }: CommandContext,
): Promise<FleetPlan | undefined> {
  const path = fleetFilePath(settings);
  if (path === null) return undefined;
  const { readFleetFile } = await import("@holdfast/providers");
  const text = await readText(path);
  const reading = readFleetFile(text);
  if (reading.kind === "invalid") {
    const problems = reading.problems.map(
      ({ line, column, message, path: at }) =>
        `${path}:${line}:${column}: ${at === "" ? "" : `${at}: `}${message}`,
    );
    throw new CommandFailure(EXIT.refused, problems.join("\n"));
  }
  const { config } = reading;
  const make = await providerFactory(settings, env);
  // Only to be asked about their settings: what they make is labelled later.
  const asked = config.pools.map((pool) => ({ pool, provider: make(pool, config.fleet) }));
  const problems = await checkPools(
    asked.map(({ pool, provider }) => ({ name: pool.name, provider })),
    (line) => terminal.note(line),
  );
  if (problems.length > 0) {
    throw new CommandFailure(EXIT.refused, problems.map((one) => `${path}: ${one}`).join("\n"));
  }
  return {
    policy: {
      targetWaitMs: config.scaling.targetWaitSec * MS_PER_SEC,
      coolDownMs: config.scaling.coolDownSec * MS_PER_SEC,
      startAtOnce: config.scaling.startAtOnce,
      growth: config.scaling.growth,
      budgetPerHour: config.scaling.budgetPerHour,
      pools: asked.map(({ pool, provider }) => ({
        name: pool.name,
        provider: pool.provider,
        min: pool.min,
        max: pool.max,
        instancesPerMachine: pool.instancesPerMachine,
        pricePerHour: pool.pricePerHour ?? null,
        startTimeoutMs: pool.startTimeoutSec * MS_PER_SEC,
        progressTimeoutMs: pool.progressTimeoutSec * MS_PER_SEC,
        offerCount: provider.offers.length,
      })),
    },
    makePools: (installation) =>
      config.pools.map((pool) => toPool(pool, make(pool, `${config.fleet}-${installation}`))),
  };
}

/** `fleet.yaml: gpu (runpod, 0 to 4), here (local, 0 to 1)`: what was read, for who starts the server. */
export function fleetText(settings: ControlPlaneSettings, plan: FleetPlan): string {
  const pools = plan.policy.pools.map(
    ({ name, provider, min, max }) => `${name} (${provider}, ${min} to ${max})`,
  );
  return `${fleetFilePath(settings) ?? FLEET_FILE}: ${pools.join(", ")}`;
}

type MakeProvider = (pool: ReadPool, fleet: string) => MachineProvider;

async function providerFactory(
  settings: ControlPlaneSettings,
  env: CommandContext["env"],
): Promise<MakeProvider> {
  const { createKubernetesProvider, createLocalProvider, createRunpodProvider } =
    await import("@holdfast/providers");
  const given = PASSED_ON.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return (pool, fleet) => {
    const common = { label: { fleet, pool: pool.name }, clock: systemClock };
    switch (pool.provider) {
      case "local":
        return createLocalProvider({
          ...common,
          settings: pool.local,
          poolMax: pool.max,
          defaultRoot: join(settings.home, "fleet"),
          defaultCommand: [process.execPath, process.argv[1] ?? "holdfast", "agent"],
          baseEnv: { HOME: tmpdir(), ...Object.fromEntries(given) },
        });
      case "runpod":
        return createRunpodProvider({ ...common, settings: pool.runpod });
      case "kubernetes":
        // The pool's environment comes with each request, as for every provider.
        return createKubernetesProvider({
          ...common,
          settings: pool.kubernetes,
          env: {},
          envFiles: {},
        });
      default:
        return assertNever(pool);
    }
  };
}

function toPool(pool: ReadPool, provider: MachineProvider): FleetPool {
  const { health } = pool;
  return {
    name: pool.name,
    provider,
    async env() {
      const { machineEnvironment } = await import("@holdfast/providers");
      const read = await machineEnvironment(pool, {});
      return read.kind === "ok" ? read : { kind: "invalid", problem: read.problems.join("; ") };
    },
    health:
      health === undefined
        ? null
        : {
            port: health.port,
            token: async () =>
              health.tokenFile === undefined
                ? null
                : (await readFile(health.tokenFile, "utf8")).trim(),
          },
  };
}

/** What providers find wrong with their pools. */
async function checkPools(
  pools: readonly { readonly name: string; readonly provider: MachineProvider }[],
  warn: (line: string) => void,
): Promise<readonly string[]> {
  const found = await Promise.all(
    pools.map(async ({ name, provider }) => {
      try {
        const answer = await provider.check(AbortSignal.timeout(CHECK_MS));
        if (answer.kind === "ok") return answer.value.map((problem) => `pool ${name}: ${problem}`);
        const { kind, message } = answer.trouble;
        if (kind === "invalid") return [`pool ${name}: ${message}`];
        // A key that is refused stops its pool and nothing else: jobs and other pools go on.
        warn(
          kind === "unauthorized"
            ? `pool ${name} is blocked, its provider refuses the key: ${message}; it is asked again by itself (holdfast fleet status)`
            : `pool ${name} could not be checked: ${message}`,
        );
      } catch {
        warn(`pool ${name} could not be checked within ${CHECK_MS / MS_PER_SEC} s`);
      } finally {
        await provider.close();
      }
      return [];
    }),
  );
  return found.flat();
}

const BYTES_MAX = 1024 * 1024;

async function readText(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > BYTES_MAX) throw new Error(`expected at most ${BYTES_MAX} bytes, found ${size}`);
    return await file.readFile("utf8");
  } catch (error) {
    throw new CommandFailure(
      EXIT.refused,
      `${path} cannot be read: ${(error as Error).message}; it says what the fleet should be (HOLDFAST_FLEET_FILE)`,
    );
  }
}
