import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { endOrphans, isLeftover } from "./orphans.ts";
import {
  INSTALLER_MARK,
  INSTALLER_OWNER,
  INSTALLER_RUN,
  programEnvironment,
} from "./program-environment.ts";

let root: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hf-orphans-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(root, { recursive: true });
});

/** A program with this environment; resolves when it runs. */
async function start(env: Readonly<Record<string, string>>): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["-e", "console.log(1); setInterval(() => {}, 1e6)"], {
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return child;
}
const isAlive = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode === null && signalCode === null;

test.skipIf(process.platform !== "linux")(
  "programs of a plan that runs beside are left, those of whoever is gone are ended",
  async () => {
    const ofRun = (run: string) => ({
      ...programEnvironment(process.env, root),
      [INSTALLER_RUN]: run,
    });
    const own = await start(ofRun("plan"));
    const owner = await start({});
    const by = (pid: number | undefined) => ({
      ...programEnvironment(process.env, root),
      [INSTALLER_OWNER]: String(pid),
    });
    const other = await start(by(owner.pid));
    // Linux gives no pid so high.
    const left = [
      await start(by(2 ** 22)),
      await start({ [INSTALLER_MARK]: root }),
      // Of an installation of our own that is over: a script of a pack left it, and it outlived its limit.
      await start(ofRun("install")),
    ];
    const ended = left.map(
      (child) =>
        new Promise<void>((resolve) => {
          child.once("exit", () => resolve());
        }),
    );
    expect(await endOrphans(root, systemClock)).toBe(3);
    await Promise.all(ended);
    expect([own, other, ...left].map(isAlive)).toEqual([true, true, false, false, false]);
    expect(await endOrphans(`${root}/other`, systemClock)).toBe(0);
  },
);

test("an owner is known by having been there before its program", () => {
  expect(isLeftover(10, 5)).toBe(false);
  expect(isLeftover(10, 10)).toBe(false);
  expect(isLeftover(10, 11)).toBe(true);
  expect(isLeftover(10, undefined)).toBe(true);
  expect(isLeftover(undefined, 5)).toBe(false);
});
