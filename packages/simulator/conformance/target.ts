import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "../src/index.ts";
import { SocketLog } from "./socket-log.ts";

/** A server under test: the simulator, or a real ComfyUI. */
export interface Target {
  readonly name: string;
  readonly url: string;
  stop(): Promise<void>;
  /** Kills the process with signal 9 and waits until the next one serves; absent where nobody may. */
  restart?(): Promise<void>;
}

/** The real ComfyUI that the suite is to run against, if any. */
export const REAL_URL = given("HOLDFAST_TEST_COMFYUI_URL");

/** A shell command that kills and starts the real one; it may end before ComfyUI serves. */
const RESTART_COMMAND = given("HOLDFAST_TEST_COMFYUI_RESTART_COMMAND");

const SIMULATOR = "simulator";

/** The file in `models/checkpoints` that graphs which sample load: of the SD1.x kind, however small. */
export const CHECKPOINT = "tiny.safetensors";

/** A loaded machine takes a minute to import ComfyUI and its custom nodes (F12). */
const START_LIMIT_MS = 180_000;

/** Starts a fresh simulator, with no simulated time. */
export async function startSimulated(): Promise<Target & { readonly simulator: Simulator }> {
  const simulator = await startSimulator({
    clock: systemClock,
    timeScale: 0,
    restartDelayMs: 20,
    modelFiles: { checkpoints: { [CHECKPOINT]: { metadata: { format: "pt" } } } },
  });
  return {
    name: SIMULATOR,
    url: simulator.url,
    simulator,
    stop: () => simulator.stop(),
    async restart() {
      simulator.crash();
      await untilServing(simulator.url);
    },
  };
}

/** The real ComfyUI. Throws when none is given. */
export function realTarget(): Target {
  const url = REAL_URL?.replace(/\/$/, "");
  if (url === undefined) throw new Error("HOLDFAST_TEST_COMFYUI_URL is not set");
  return {
    name: "real ComfyUI",
    url,
    stop: () => Promise.resolve(),
    ...(RESTART_COMMAND !== undefined && {
      async restart() {
        await promisify(execFile)("sh", ["-c", RESTART_COMMAND]);
        await untilServing(url);
      },
    }),
  };
}

/**
 * Why cases that need {@link CHECKPOINT} are left out, which is told; undefined where it is there. The
 * simulator has to have it: there they fail.
 */
export async function lackOfCheckpoint(target: Target): Promise<string | undefined> {
  if (target.name === SIMULATOR) return undefined;
  const names = (await ask(target, "GET", "/models/checkpoints")).json<readonly string[]>();
  if (names.includes(CHECKPOINT)) return undefined;
  const found = names.length === 0 ? "no file" : names.slice(0, 10).join(", ");
  const lack = `${target.name} has no models/checkpoints/${CHECKPOINT} (found: ${found}), any small SD1.x checkpoint under that name will do`;
  console.warn(`conformance: ${lack}; what needs it is left out`);
  return lack;
}

/** A variable of the environment; an empty one is none. */
function given(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

async function untilServing(url: string): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline) {
    // Nobody listens yet, or something in its place answers.
    const answer = await fetch(`${url}/system_stats`).catch(() => undefined);
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${url} does not serve after ${String(START_LIMIT_MS / 1000)} s`);
}

/** One node of a graph as it is posted. */
interface PostedNode {
  readonly class_type: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** A graph as it is posted. */
export type PostedJson = Readonly<Record<string, PostedNode>>;

/** A graph that needs no model: one flat picture, saved. */
export function flatGraph(color: number, prefix: string, size = 16): PostedJson {
  return {
    "1": {
      class_type: "EmptyImage",
      inputs: { width: size, height: size, batch_size: 1, color },
    },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: prefix } },
  };
}

/** An answer, read. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  json<T>(): T;
}

/** One request over plain HTTP; a body that is no text is sent as JSON. */
export async function ask(
  target: Target,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const answer = await fetch(target.url + path, {
    method,
    headers,
    ...(body === undefined
      ? {}
      : {
          body: typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body),
        }),
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return {
    status: answer.status,
    headers: answer.headers,
    bytes,
    json: <T>() => JSON.parse(bytes.toString("utf8")) as T,
  };
}

/** An entry of the history, as far as the cases look at it. */
export interface HistoryJson {
  readonly prompt: readonly unknown[];
  readonly outputs: Readonly<
    Record<
      string,
      { readonly images?: readonly FileJson[]; readonly latents?: readonly FileJson[] }
    >
  >;
  readonly status: {
    readonly status_str: string;
    readonly completed: boolean;
    readonly messages: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
  };
}

/** A file, as outputs name it. */
export interface FileJson {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** Posts a graph and waits for its history entry. */
export async function run(
  target: Target,
  graph: PostedJson,
  extra: Readonly<Record<string, unknown>> = {},
): Promise<HistoryJson> {
  const posted = await ask(target, "POST", "/prompt", { prompt: graph, ...extra });
  if (posted.status !== 200) throw new Error(`refused: ${posted.bytes.toString("utf8")}`);
  return untilEnded(target, posted.json<{ readonly prompt_id: string }>().prompt_id);
}

/** Waits for a prompt's history entry. */
export async function untilEnded(target: Target, promptId: string): Promise<HistoryJson> {
  const deadline = performance.now() + 30_000;
  while (performance.now() < deadline) {
    const history = await ask(target, "GET", `/history/${encodeURIComponent(promptId)}`);
    const entry = history.json<Readonly<Record<string, HistoryJson>>>()[promptId];
    if (entry !== undefined) return entry;
  }
  throw new Error(`prompt ${promptId} did not end within 30 s`);
}

/** The nodes that a prompt took from the cache. */
export function cachedNodes(entry: HistoryJson): readonly string[] {
  const message = entry.status.messages.find(([type]) => type === "execution_cached");
  return [...((message?.[1]["nodes"] as readonly string[] | undefined) ?? [])].sort();
}

/** The path under which `/view` serves a file. */
export function viewPath(file: FileJson): string {
  const { filename, subfolder, type } = file;
  return `/view?${new URLSearchParams({ filename, subfolder, type }).toString()}`;
}

/** Opens a registered socket. */
export function socketOf(target: Target, clientId: string): Promise<SocketLog> {
  return SocketLog.open(target.url, `/ws?clientId=${clientId}`);
}
