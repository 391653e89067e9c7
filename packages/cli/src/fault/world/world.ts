/**
 * A world for one scenario: ComfyUIs with proxies in front of them and, unless a bare client is tried, a
 * whole Holdfast, all on loopback and in one folder. Nothing of it is left behind.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { abortReason, type Clock, type Random } from "@holdfast/runtime";
import { fieldOf } from "../../api/api-client.ts";
import type { LossyLink } from "../loss/link.ts";
import { openLossyLink } from "../loss/lossy-link.ts";
import type { Programs } from "../loss/programs.ts";
import type { WorldPlan } from "./world-plan.ts";
import { openComfyui, type Comfyui } from "./comfyui.ts";
import { startHoldfastSide, type HoldfastSide } from "./holdfast-side.ts";

/** See above. */
export interface World {
  readonly isReal: boolean;
  readonly folder: string;
  readonly comfyuis: readonly Comfyui[];
  /** The one that is struck. */
  readonly struck: Comfyui;
  /** Undefined where a bare client is tried. */
  readonly holdfast: HoldfastSide | undefined;
  readonly link: LossyLink | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Resolves when the struck ComfyUI runs a job. */
  untilRendering(): Promise<void>;
  /** What its parts said last, for a failure that nobody understands. */
  tail(): string;
  close(): Promise<void>;
}

/** How to start one. */
export interface WorldOptions {
  readonly plan: WorldPlan;
  readonly client: "holdfast" | "bare";
  readonly comfyuiUrl: string | undefined;
  readonly settings: Readonly<Record<string, string>>;
  readonly isKept: boolean;
  readonly programs: Programs;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  note(text: string): void;
}

const READY_LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 100;
const RENDERING_EVERY_MS = 20;
const RENDERING_LIMIT_MS = 60_000;
const CALL_LIMIT_MS = 3_000;
/** A node that health checks do not use, and every picture of ours has. */
const OURS = "fault";

/** Starts a world; what was started is ended again where something fails. */
export async function startWorld(options: WorldOptions): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-fault-"));
  const ends: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) {
      await end().catch((error: unknown) => options.note(`not ended cleanly: ${String(error)}`));
    }
    if (!options.isKept) await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    return await start(options, folder, ends, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  options: WorldOptions,
  folder: string,
  ends: (() => Promise<void>)[],
  close: () => Promise<void>,
): Promise<World> {
  const { plan, clock, random, signal, comfyuiUrl } = options;
  await mkdir(join(folder, "logs"), { recursive: true });
  const link = await linkOf(options);
  if (link !== undefined) ends.push(() => link.close());
  const comfyuis: Comfyui[] = [];
  const count = comfyuiUrl === undefined && options.client === "holdfast" ? plan.comfyuis : 1;
  for (let at = 1; at <= count; at += 1) {
    const one = await openComfyui({
      name: `comfyui-${at}`,
      realUrl: comfyuiUrl,
      timeScale: plan.timeScale ?? 0,
      link,
      folder,
      clock,
      random,
    });
    ends.push(() => one.close());
    comfyuis.push(one);
  }
  const struck = comfyuis[0];
  if (struck === undefined) throw new Error("a world needs a ComfyUI");
  let holdfast: HoldfastSide | undefined;
  if (options.client === "holdfast") {
    const { settings } = options;
    const side = await startHoldfastSide({ plan, comfyuis, folder, settings, clock, random });
    ends.push(() => side.close());
    holdfast = side;
    await untilReady(side.url, count, { clock, signal });
  }
  const parts = [...comfyuis, ...(holdfast?.replicas ?? []), ...(holdfast?.agents ?? [])];
  return {
    isReal: comfyuiUrl !== undefined,
    folder,
    comfyuis,
    struck,
    holdfast,
    link,
    clock,
    random,
    signal,
    untilRendering: () => untilRendering(struck.directUrl, clock, signal),
    tail: () => parts.map((part) => `--- ${part.name}\n${part.tail()}`).join("\n"),
    close,
  };
}

async function linkOf(options: WorldOptions): Promise<LossyLink | undefined> {
  const { plan, programs, clock, random } = options;
  if (plan.lossShare === undefined) return undefined;
  const canMove = options.comfyuiUrl === undefined;
  const share = plan.lossShare;
  const { link, tried } = await openLossyLink({ share, canMove, programs, clock, random });
  for (const why of tried) options.note(`  not by ${why}`);
  options.note(`  loss by ${link.words}`);
  return link;
}

/** Waits until every ComfyUI takes jobs. */
async function untilReady(
  url: string,
  count: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const deadline = clock.elapsed() + READY_LIMIT_MS;
  for (;;) {
    const stats = await ask(`${url}/api/v1/stats`);
    const healthy = Number(fieldOf(fieldOf(stats, "instances"), "healthy") ?? 0);
    if (healthy >= count) return;
    if (signal.aborted) throw abortReason(signal);
    if (clock.elapsed() > deadline) {
      throw new Error(
        `${healthy} of ${count} ComfyUIs take jobs after ${READY_LIMIT_MS / 1_000} s`,
      );
    }
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

async function untilRendering(url: string, clock: Clock, signal: AbortSignal): Promise<void> {
  const deadline = clock.elapsed() + RENDERING_LIMIT_MS;
  for (;;) {
    const running = fieldOf(await ask(`${url}/queue`), "queue_running");
    if (JSON.stringify(running ?? []).includes(OURS)) return;
    if (clock.elapsed() > deadline)
      throw new Error("no job came to the ComfyUI that is to be struck");
    await clock.sleep(RENDERING_EVERY_MS, signal);
  }
}

async function ask(url: string): Promise<unknown> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(CALL_LIMIT_MS) });
    return answer.ok ? await answer.json() : undefined;
  } catch {
    return undefined; // Not there yet, or too busy: the caller looks again.
  }
}
