import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createEmbeddedPostgres } from "@holdfast/control-plane";
import { createLog } from "@holdfast/control-plane/process";
import type { Clock, Random } from "@holdfast/runtime";
import { trySignal } from "../../up/stop-signals.ts";
import { startAlertReceiver, type ToldAlert } from "./alert-receiver.ts";
import { startBalancer } from "./balancer.ts";
import { choosePort } from "./choose-port.ts";
import type { Comfyui } from "./comfyui.ts";
import { startAgent, startReplica, type Part } from "./holdfast-parts.ts";
import { storeIn, type Store } from "./store.ts";
import type { WorldPlan } from "./world-plan.ts";

/** Holdfast in a world: Postgres, replicas behind a balancer, agents, a receiver of its alerts. */
export interface HoldfastSide {
  readonly url: string;
  readonly replicas: readonly Part[];
  readonly agents: readonly Part[];
  readonly store: Store;
  readonly postgres: {
    /** SIGKILL to its postmaster; it is started again as the embedded one always is. */
    kill(): void;
    pid(): number | undefined;
  };
  told(): readonly ToldAlert[];
  close(): Promise<void>;
}

/** How to start it. */
export interface HoldfastSideOptions {
  readonly plan: WorldPlan;
  readonly comfyuis: readonly Comfyui[];
  readonly folder: string;
  /** Settings of the replicas, over those of the plan. */
  readonly settings: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly random: Random;
}

/** Times in which a scenario is over in a minute, as an operator would not have them. */
const QUICK: Readonly<Record<string, string>> = {
  HOLDFAST_LEASE_TTL_MS: "6000",
  HOLDFAST_POLL_WAIT_MS: "1000",
  COMFY_RETRY_BACKOFF_SEC: "1",
};
const SECRET_BYTES = 32;

/** Starts everything; what was started is ended again where something fails. */
export async function startHoldfastSide(options: HoldfastSideOptions): Promise<HoldfastSide> {
  const ends: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    return { ...(await start(options, ends)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  options: HoldfastSideOptions,
  ends: (() => Promise<void>)[],
): Promise<Omit<HoldfastSide, "close">> {
  const { plan, folder, clock, random } = options;
  const postgres = createEmbeddedPostgres({
    dir: join(folder, "postgres"),
    clock,
    random,
    log: createLog({ level: "silent" }),
  });
  await postgres.start();
  ends.push(() => postgres.stop());
  const receiver = await startAlertReceiver();
  ends.push(() => receiver.close());
  const store = storeIn(folder);
  const { user, password, host, port, database } = postgres.connection();
  const env = {
    ...QUICK,
    HOLDFAST_STORE: store.path,
    DATABASE_URL: `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`,
    ...(await alertFiles(folder, receiver.url, random)),
    ...plan.settings,
    ...options.settings,
  };
  const facts = (name: string, clockOffMs: number) => ({ name, folder, clock, random, clockOffMs });
  const ports: number[] = [];
  const replicas: Part[] = [];
  for (let at = 1; at <= plan.replicas; at += 1) {
    const own = await choosePort(random);
    const offMs = at > 1 ? (plan.skew?.replicaMs ?? 0) : 0;
    const replica = await startReplica(facts(`replica-${at}`, offMs), {
      ...env,
      HOLDFAST_PORT: String(own),
    });
    ends.push(() => replica.stop());
    ports.push(own);
    replicas.push(replica);
  }
  const balancer = await startBalancer(ports);
  ends.push(() => balancer.close());
  const agents: Part[] = [];
  const groups = plan.isOneMachine
    ? [options.comfyuis]
    : options.comfyuis.map((comfyui) => [comfyui]);
  for (const [at, group] of groups.entries()) {
    const agent = await startAgent(
      facts(`machine-${at + 1}`, plan.skew?.agentMs ?? 0),
      balancer.url,
      group.map(({ url }) => url),
    );
    ends.push(() => agent.stop());
    agents.push(agent);
  }
  const pid = (): number | undefined => postgres.pid();
  return {
    url: balancer.url,
    replicas,
    agents,
    store,
    postgres: {
      pid,
      kill: () => {
        const now = pid();
        if (now !== undefined) trySignal(now, "SIGKILL");
      },
    },
    told: () => receiver.told(),
  };
}

/** Files that send every alert to our receiver. */
async function alertFiles(
  folder: string,
  url: string,
  random: Random,
): Promise<Readonly<Record<string, string>>> {
  await mkdir(folder, { recursive: true });
  const secretFile = join(folder, "alert-secret");
  const channels = join(folder, "alert-channels.json");
  const bytes = Buffer.from(Array.from({ length: SECRET_BYTES }, () => random.next() * 256));
  await writeFile(secretFile, `whsec_${bytes.toString("base64")}`, { mode: 0o600 });
  await writeFile(channels, JSON.stringify([{ name: "drill", type: "webhook", url, secretFile }]));
  return { HOLDFAST_ALERT_CHANNELS: channels };
}
