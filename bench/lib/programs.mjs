/** The built `holdfast` as processes of their own, in scratch folders, and their orderly end. */
import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { now, until } from "./measure.mjs";

const BIN = join(
  dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
  "packages/cli/bin/holdfast.js",
);
const STOP_LIMIT_MS = 30_000;
const READY_LIMIT_MS = 60_000;
const LOG_LIMIT_MS = 2_000;
const running = new Set();
const scratches = new Set();
// A last resort: `up` then ends its database by itself.
process.on("exit", () => {
  for (const child of running) child.kill("SIGTERM");
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    const ended = [...scratches].map((cleanUp) => cleanUp());
    void Promise.allSettled(ended).then(() => process.exit(1));
  });
}

/** Starts `holdfast ARGS…`; everything it prints goes to a file, as it would in production. */
export function startHoldfast(args, { folder, env = {}, nodeArgs = [] }) {
  const logFile = join(folder, `${args[0]}-${String(running.size)}.log`);
  const log = openSync(logFile, "w");
  const child = spawn(process.execPath, [...nodeArgs, BIN, ...args], {
    env: {
      PATH: process.env.PATH ?? "",
      HOME: process.env.HOME ?? tmpdir(),
      NO_COLOR: "1",
      HOLDFAST_LOG_FORMAT: "json",
      ...env,
    },
    stdio: ["ignore", log, log],
  });
  running.add(child);
  const ended = new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      running.delete(child);
      resolve(code ?? signal);
    });
  });
  const output = () => readFileSync(logFile, "utf8");
  return {
    pid: child.pid,
    startedAt: now(),
    /** Resolves with the exit code, or the signal. */
    ended,
    output,
    async says(pattern, limitMs = READY_LIMIT_MS) {
      return await until(
        () => {
          const match = pattern.exec(output());
          if (match === null && child.exitCode !== null) {
            throw new Error(`holdfast ${args[0]} ended:\n${output().slice(-2000)}`);
          }
          return match;
        },
        `holdfast ${args[0]} to say ${pattern}:\n${output().slice(-2000)}`,
        { limitMs },
      );
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** A simulated ComfyUI that works at once. */
export async function startSimulatorProcess(folder, { nodeArgs = [], env = {} } = {}) {
  const program = startHoldfast("simulator --port 0 --time-scale 0".split(" "), {
    folder,
    nodeArgs,
    env,
  });
  const [, url] = await program.says(/simulated ComfyUI on (http\S+)/);
  return { ...program, url };
}

/** `holdfast up` on a ComfyUI, ready to take jobs; `postgresPid` is its database's. */
export async function startUp(folder, comfyUrl, { nodeArgs = [], env = {} } = {}) {
  const port = await freePort();
  const program = startHoldfast(["up", "--comfyui", comfyUrl, "--port", String(port)], {
    folder,
    nodeArgs,
    env: upEnvironment(folder, env),
  });
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url);
  return { ...program, url, postgresPid: await postgresPidOf(program) };
}

/** The database's process, as the log tells it; null when the log is kept from telling. */
export async function postgresPidOf(program) {
  const found = await program
    .says(/"pid":(\d+)[^\n]*"database ready"/, LOG_LIMIT_MS)
    .catch(() => null);
  return found === null ? null : Number(found[1]);
}

/** What every server of a bench is given: a home of its own, and no port that may be taken. */
export function upEnvironment(folder, env = {}) {
  return { HOLDFAST_HOME: join(folder, "home"), HOLDFAST_HEALTH_PORT: "0", ...env };
}

/** Resolves when `/readyz` answers 200: a job could start now. */
export async function untilReady(url) {
  await until200(`${url}/readyz`);
}

/** Resolves when this address answers 200. */
export async function until200(address) {
  await until(
    () =>
      fetch(address, { signal: AbortSignal.timeout(2_000) }).then(
        (answer) => answer.ok,
        () => false,
      ),
    `${address} to answer`,
    { limitMs: READY_LIMIT_MS },
  );
}

/** A folder that `work` may fill, removed afterwards, and everything stopped that `work` started. */
export async function withScratch(work) {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  const stops = [];
  let ending;
  const endAll = async () => {
    for (const stop of stops) {
      // What cannot be stopped must not keep the others running.
      await stop().catch((error) => process.stderr.write(`${error.stack}\n`));
    }
    scratches.delete(cleanUp);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  // Once, whoever asks: the end of the work, and a signal that ends it early.
  const cleanUp = () => (ending ??= endAll());
  scratches.add(cleanUp);
  try {
    return await work(folder, (program) => {
      stops.unshift(() => program.stop());
      return program;
    });
  } finally {
    await cleanUp();
  }
}

/** A port of loopback that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
