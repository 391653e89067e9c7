/** Real S3 servers as child processes, which tests kill and pause. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { S3Target } from "../../packages/control-plane/testing/s3-store-contract.ts";
import type { S3Part } from "../../scripts/parts.mjs";
import { freePort, temporaryFolder, until } from "../support/processes.ts";

/** Output kept of a server, for the message of a failed test. */
const TAIL_CHARS = 4_000;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 10_000;
/** MinIO's own; versitygw is told to answer there too. */
const HEALTH_PATH = "/minio/health/live";

/** One server on a folder of its own; the address stays the same over its lives. */
export interface S3Server extends S3Target {
  /** Resolves when it answers; at once when it runs. `more`: words of its command line for this life. */
  start(more?: readonly string[]): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP: connections are taken and nothing is answered. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

/** Starts a server on loopback. Rejects with its last words when it does not come up. */
export async function startS3Server(name: S3Part, program: string): Promise<S3Server> {
  const folder = await temporaryFolder();
  const data = join(folder.path, "data");
  await mkdir(data);
  const port = await freePort();
  const keys = { accessKeyId: "holdfast-test", secretAccessKey: "holdfast-test-secret" };
  const { args, env } = commandOf(name, { data, port, consolePort: await freePort(), ...keys });
  const endpoint = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  let tail = "";
  const keep = (text: string): void => {
    tail = (tail + text).slice(-TAIL_CHARS);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((resolve) => ending.once("exit", resolve));
    ending.kill(signal);
    // One that stands still hears nothing but SIGKILL.
    ending.kill("SIGCONT");
    const timer = setTimeout(() => ending.kill("SIGKILL"), STOP_LIMIT_MS);
    await ended;
    clearTimeout(timer);
  };
  const server: S3Server = {
    ...keys,
    endpoint,
    async start(more = []) {
      if (child !== undefined) return;
      const started = spawn(program, [...more, ...args], {
        env: { PATH: process.env["PATH"] ?? "", HOME: folder.path, ...env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      child = started;
      started.stdout.on("data", (chunk: Buffer) => keep(chunk.toString("utf8")));
      started.stderr.on("data", (chunk: Buffer) => keep(chunk.toString("utf8")));
      started.once("error", (error) => keep(String(error)));
      const answers = async (): Promise<boolean> => {
        const signal = AbortSignal.timeout(1_000);
        return (await fetch(`${endpoint}${HEALTH_PATH}`, { signal })).ok;
      };
      await until(`${name} answers`, answers, START_LIMIT_MS).catch((error: unknown) => {
        throw new Error(`${program} ${args.join(" ")}:\n${tail}`, { cause: error });
      });
    },
    kill: () => end("SIGKILL"),
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    async close() {
      await end("SIGTERM");
      await folder.remove();
    },
  };
  await server.start().catch(async (error: unknown) => {
    await server.close();
    throw error;
  });
  return server;
}

interface Place {
  readonly data: string;
  readonly port: number;
  readonly consolePort: number;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

function commandOf(
  name: S3Part,
  { data, port, consolePort, accessKeyId, secretAccessKey }: Place,
): { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> } {
  const address = `127.0.0.1:${port}`;
  switch (name) {
    case "versitygw":
      return {
        args: ["--port", address, "--quiet", "--health", HEALTH_PATH, "posix", data],
        env: { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
      };
    case "minio": {
      const console = ["--console-address", `127.0.0.1:${consolePort}`];
      return {
        args: ["server", "--quiet", "--address", address, ...console, data],
        env: {
          MINIO_ROOT_USER: accessKeyId,
          MINIO_ROOT_PASSWORD: secretAccessKey,
          MINIO_UPDATE: "off",
          MINIO_BROWSER: "off",
          MINIO_CALLHOME_ENABLE: "off",
        },
      };
    }
  }
}
