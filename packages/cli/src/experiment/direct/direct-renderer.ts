import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createAgent, type AgentLog } from "@holdfast/agent";
import { createComfyClient, type ComfyClient } from "@holdfast/comfyui";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import { downFailure } from "../failure-kind.ts";
import { DIRECT_IN_FLIGHT_MAX } from "../limits.ts";
import type { Rendered, Renderer, RenderRequest, RunFailure } from "../renderer.ts";
import { shownUrl } from "../shown-url.ts";
import { renderedOf } from "./order-result.ts";
import { createRenderDesk, type GivenOrder } from "./render-desk.ts";
import { openStaging } from "./staging.ts";
import { createMemoryLooks } from "./watch-memory.ts";

/** What a renderer on a ComfyUI is made of. */
export interface DirectRendererOptions {
  readonly url: string;
  /** Emptied at the start. */
  readonly workFolder: string;
  readonly inFlight: number;
  /** Longest execution of a run. */
  readonly executionLimitMs: number;
  readonly stall: { readonly progressMs: number; readonly firstLoadMs: number };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
}

/** Prompts of others may run before ours for so long. */
const BEHIND_OTHERS_MS = 60 * 60_000;
/** Looks at whether ComfyUI is there, while it takes nothing. */
const LOOK_MS = 100;
/** One that answers and is not well is given so long. */
const UNHEALTHY_MS = 60_000;
/** … and one that starts, or whose first check waits behind a prompt of somebody else. */
const STARTING_MS = 15 * 60_000;
/** … and one that answers us, until the agent has seen it. */
const BACK_MS = 30_000;
const STATS_MS = 5_000;
/** Outcomes whose results are not on the disk by then are found again by the next process. */
const STOP_MS = 500;

/** Renders on one ComfyUI, by an agent of our own in this process. */
export async function openDirectRenderer(options: DirectRendererOptions): Promise<Renderer> {
  const { url, workFolder, clock, random, log } = options;
  await rm(join(workFolder, "agent"), { recursive: true, force: true });
  const staging = await openStaging(join(workFolder, "files"));
  const desk = createRenderDesk({ clock, staging });
  const slots = Math.min(options.inFlight, DIRECT_IN_FLIGHT_MAX);
  const agent = createAgent({
    link: desk.link,
    instances: [{ url }],
    stateDir: join(workFolder, "agent"),
    machineName: "experiment",
    clock,
    random,
    log,
    // What is in flight is what the caller said: nothing is staged beyond it, nothing is given back.
    limits: {
      slotsPerInstance: slots,
      slotsMax: slots,
      stagedWaitMs: BEHIND_OTHERS_MS,
      stopMs: STOP_MS,
    },
  });
  const client = createComfyClient({
    baseUrl: url,
    clientId: nextUuid(random),
    clock,
    timeouts: { connectMs: STATS_MS, requestMs: STATS_MS },
  });
  const watchMemory = createMemoryLooks(client, clock);
  await agent.start();
  const orders = new Map<string, GivenOrder>();
  /** When runs ended that were over before this process looked for them. */
  const endedBefore = new Map<string, number | undefined>();
  const notTaken = async (order: GivenOrder): Promise<RunFailure | undefined> => {
    const facts = { clock, client, health: () => agent.instanceHealth(url) };
    return await untilTaken(order, facts);
  };
  return {
    description: shownUrl(url),
    nextPromptId: (earlier) => (earlier?.hasEnded === false ? earlier.promptId : nextUuid(random)),
    async isThere({ promptId }) {
      const found = await client.lookUp(promptId);
      if (found.kind === "finished") endedBefore.set(promptId, found.entry.endedAt);
      // Where it does not answer nobody knows, and a later start is the lesser mistake.
      return found.kind !== "absent" && found.kind !== "unknown";
    },
    async render(request) {
      const order = desk.order({
        attemptId: attemptIdOf(request.promptId),
        promptId: request.promptId,
        graph: request.graph,
        mode: isToBeFound(request) ? "resume" : "fresh",
        executionLimitMs: options.executionLimitMs,
        stall: options.stall,
      });
      const failure = await notTaken(order);
      if (failure !== undefined) return notRendered(failure);
      orders.set(request.promptId, order);
      const memory = watchMemory();
      const end = await order.end;
      const vramPeakBytes = await memory.end();
      if (end.kind === "reported")
        return renderedOf(end.report, (sha256) => staging.pathOf(sha256), {
          vramPeakBytes,
          isFound: isToBeFound(request),
          endedAt: endedBefore.get(request.promptId),
          health: agent.instanceHealth(url)?.reason ?? undefined,
        });
      return notRendered(downFailure(`pictures cannot be kept: ${end.message}`, "disk_full"));
    },
    settled(promptId) {
      orders.get(promptId)?.settled();
      orders.delete(promptId);
      endedBefore.delete(promptId);
    },
    async close() {
      await agent.stop();
      await client.close();
      await rm(workFolder, { recursive: true, force: true });
    },
  };
}

function isToBeFound({ earlier, promptId }: RenderRequest): boolean {
  return earlier?.hasEnded === false && earlier.promptId === promptId;
}

/** The same for the same prompt: the names of its files in ComfyUI's folder are made of it. */
function attemptIdOf(promptId: string): string {
  return `att_${promptId.replaceAll("-", "").slice(0, 26)}`;
}

function notRendered(failure: RunFailure): Rendered {
  return { failure, files: [], facts: { attempts: 1, loss: 0, recovery: [] } };
}

/**
 * Waits until the agent has a run. Undefined when it has; otherwise why ComfyUI takes none, and the
 * run is not waited for any more.
 */
async function untilTaken(
  order: GivenOrder,
  facts: {
    readonly clock: Clock;
    readonly client: Pick<ComfyClient, "systemStats">;
    readonly health: () => { readonly state: string; readonly reason: string | null } | undefined;
  },
): Promise<RunFailure | undefined> {
  const { clock, client } = facts;
  let state = "";
  let since = clock.elapsed();
  for (;;) {
    if (await isTakenWithin(LOOK_MS, order, clock)) return undefined;
    const health = facts.health();
    if (health === undefined) continue;
    if (health.state !== state) {
      state = health.state;
      since = clock.elapsed();
    }
    const message = await whyNot(health, clock.elapsed() - since, client);
    if (message !== undefined && order.withdraw()) return downFailure(message);
  }
}

async function isTakenWithin(ms: number, order: GivenOrder, clock: Clock): Promise<boolean> {
  const over = new AbortController();
  const late = clock.sleep(ms, over.signal).then(
    () => false,
    () => true,
  );
  const isTaken = await Promise.race([order.taken.then(() => true), late]);
  over.abort(TAKEN);
  return isTaken;
}

const TAKEN = new Error("the run is taken");

async function whyNot(
  { state, reason }: { readonly state: string; readonly reason: string | null },
  forMs: number,
  client: Pick<ComfyClient, "systemStats">,
): Promise<string | undefined> {
  const words = reason === null ? "" : `: ${reason}`;
  switch (state) {
    case "stopped": {
      // The agent looks once a second: one that has come back answers us earlier.
      const answers = forMs < BACK_MS && (await client.systemStats()).kind === "ok";
      return answers ? undefined : `ComfyUI cannot be reached${words}`;
    }
    case "unhealthy":
      return forMs < UNHEALTHY_MS ? undefined : `ComfyUI does not work${words}`;
    case "starting":
      return forMs < STARTING_MS ? undefined : `ComfyUI does not become ready${words}`;
    default:
      return undefined;
  }
}
