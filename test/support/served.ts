/** A running `holdfast up` as a person starts it, for tests that call it over HTTP. */
import { join } from "node:path";
import { api } from "./api.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "./processes.ts";

/** `holdfast up --simulator` in a folder and on a port of its own. */
export interface Served {
  readonly url: string;
  readonly home: string;
  /** Around `home`; removed at the end. */
  readonly folder: string;
  client(): ReturnType<typeof api>;
  /** Starts it, and waits until a job could start. */
  start(args?: readonly string[]): Promise<void>;
  process(): HoldfastProcess;
  /** Runs a command of `holdfast` against it: resolves to its exit code and output. */
  run(
    args: readonly string[],
  ): Promise<{ readonly code: number | string; readonly output: string }>;
  close(): Promise<void>;
}

/** Prepares it, with more settings if given; nothing runs before `start`. */
export async function prepareServed(more: Readonly<Record<string, string>> = {}): Promise<Served> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const home = join(folder.path, "home");
  const env = { HOLDFAST_HOME: home, HOLDFAST_PORT: String(port), HOLDFAST_URL: url, ...more };
  let current: HoldfastProcess | undefined;
  return {
    url,
    home,
    folder: folder.path,
    client: () => api(url),
    async start(args = ["up", "--simulator"]) {
      current = startHoldfast("up", args, env);
      await until("it answers", async () => (await fetch(`${url}/healthz`)).ok, 60_000);
      if (args[0] === "up") await until("it is ready", () => api(url).isReady(), 30_000);
    },
    process() {
      if (current === undefined) throw new Error("it was not started");
      return current;
    },
    async run(args) {
      const one = startHoldfast(args.join(" "), args, env);
      return { code: await one.exited, output: one.output() };
    },
    async close() {
      await current?.stop("SIGINT", 20_000);
      await folder.remove();
    },
  };
}
