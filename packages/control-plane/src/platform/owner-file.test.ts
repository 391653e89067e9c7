import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  isProcessAlive,
  isSameProcess,
  processStartTime,
  waitForExit,
} from "@holdfast/runtime/host";
import { adoptOrEnd, endChild, spawnDetachedChild } from "./children.ts";
import { claimOwnership, readHolder, type OwnershipClaim } from "./owner-file.ts";

let home: string;
const sleepers: ChildProcess[] = [];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "holdfast-owner-"));
});
afterEach(async () => {
  for (const child of sleepers.splice(0)) child.kill("SIGKILL");
  await rm(home, { recursive: true, force: true });
});

const clock = systemClock;
const claim = (): Promise<OwnershipClaim> => claimOwnership(home, { version: "1.2.3", clock });
const owned = async (): Promise<Extract<OwnershipClaim, { kind: "owned" }>> => {
  const result = await claim();
  if (result.kind !== "owned") throw new Error(`held by ${result.pid}`);
  return result;
};
const sleeper = async (): Promise<number> => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  sleepers.push(child);
  await once(child, "spawn");
  return child.pid ?? 0;
};
const endSleeper = async (pid: number): Promise<void> => {
  process.kill(pid, "SIGKILL");
  await waitForExit(pid, 5_000, clock);
};
/** Rewrites the owner on file, as if another process had claimed the folder. */
const pretendOwner = async (pid: number, startTime: string | undefined): Promise<void> => {
  const path = join(home, "owner.json");
  const record = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...record, pid, startTime }));
};

describe("claiming", () => {
  test("of many starters at once exactly one becomes owner", async () => {
    const claims = await Promise.all(Array.from({ length: 8 }, claim));
    const kinds = claims.map((result) => result.kind).sort((a, b) => (a < b ? 1 : -1));
    expect(kinds).toEqual(["owned", ...Array.from({ length: 7 }, () => "held_by")]);
  });

  test("a folder held by a living process is told with its address", async () => {
    const { ownership } = await owned();
    expect(await claim()).toMatchObject({ kind: "held_by", url: undefined });
    await ownership.recordAddress({ host: "0.0.0.0", port: 8328 });
    expect(await claim()).toMatchObject({
      kind: "held_by",
      pid: process.pid,
      port: 8328,
      url: "http://127.0.0.1:8328",
      version: "1.2.3",
    });
    expect(await readHolder(home)).toMatchObject({ port: 8328, secret: ownership.secret });
  });

  test("a dead owner is replaced and its children are handed over", async () => {
    const { ownership } = await owned();
    await ownership.recordChild({ name: "postgres", pid: 42, startTime: "then", port: 5432 });
    await ownership.recordChild({ name: "instance", pid: 43 });
    await ownership.recordChild({ name: "instance", pid: 44 });
    const pid = await sleeper();
    await pretendOwner(pid, await processStartTime(pid));
    expect(await claim()).toMatchObject({ kind: "held_by", pid });
    await endSleeper(pid);
    const next = await owned();
    expect(next.orphans).toEqual([
      { name: "postgres", pid: 42, startTime: "then", port: 5432 },
      { name: "instance", pid: 44 },
    ]);
    expect(next.ownership.secret).not.toBe(ownership.secret);
    await next.ownership.forgetChild("instance");
    expect(JSON.parse(await readFile(join(home, "owner.json"), "utf8"))).toMatchObject({
      pid: process.pid,
      children: [{ name: "postgres" }],
    });
  });

  test("a process that has the dead owner's number is not taken for it", async () => {
    await owned();
    const pid = await sleeper();
    await pretendOwner(pid, "another boot:123");
    expect(await claim()).toMatchObject({ kind: "owned" });
    expect(await isProcessAlive(pid)).toBe(true);
  });

  test("what is given up can be claimed, and leaves nothing behind", async () => {
    const { ownership } = await owned();
    await ownership.release();
    await ownership.release();
    expect(await readdir(home)).toEqual([]);
    expect(await readHolder(home)).toBeUndefined();
    expect(await claim()).toMatchObject({ kind: "owned", orphans: [] });
  });

  test("children still on record when the folder is given up reach the next owner", async () => {
    const { ownership } = await owned();
    await ownership.recordChild({ name: "postgres", pid: 42 });
    await ownership.release();
    expect(await claim()).toMatchObject({ kind: "owned", orphans: [{ name: "postgres" }] });
  });

  test("a torn file is nobody's, and the secret is only the owner's to read", async () => {
    await writeFile(join(home, "owner.json"), '{"pid": 12, "chil');
    await owned();
    expect((await stat(join(home, "owner.json"))).mode & 0o777).toBe(0o600);
  });
});

describe("children", () => {
  const start = async (code: string) =>
    await spawnDetachedChild({
      name: "child",
      command: process.execPath,
      args: ["-e", code],
      env: {},
      logFile: join(home, "child.log"),
    });

  test("a child writes to its file and is known by pid and start time", async () => {
    const { record, ended } = await start("console.log('out'); console.error('err')");
    expect(await ended).toBe("exit code 0");
    const log = await readFile(join(home, "child.log"), "utf8");
    expect(log.split("\n").sort((a, b) => (a < b ? -1 : 1))).toEqual(["", "err", "out"]);
    expect(await isSameProcess(record.pid, record.startTime)).toBe(false);
  });

  test("a living child is adopted when wanted and ended when not; a dead one is gone", async () => {
    const { record } = await start("setInterval(() => {}, 1000)");
    const wanted = { clock, isWanted: () => Promise.resolve(true) };
    expect(await adoptOrEnd(record, wanted)).toBe("adopted");
    const unwanted = { clock, isWanted: () => Promise.resolve(false) };
    expect(await adoptOrEnd(record, unwanted)).toBe("ended");
    expect(await adoptOrEnd(record, wanted)).toBe("gone");
  });

  test("a child that does not listen is killed", async () => {
    const { record } = await start(
      "process.on('SIGTERM', () => {}); console.log('deaf'); setInterval(() => {}, 1000)",
    );
    while (!(await readFile(join(home, "child.log"), "utf8")).includes("deaf")) {
      await clock.sleep(5);
    }
    await endChild(record, { clock, graceMs: 30 });
    expect(await isProcessAlive(record.pid)).toBe(false);
  });

  test("another process with a dead child's number is left alone", async () => {
    const pid = await sleeper();
    await endChild({ name: "child", pid, startTime: "another boot:1" }, { clock });
    expect(await isProcessAlive(pid)).toBe(true);
  });

  test("a program that is not there is said so at once", async () => {
    await expect(
      spawnDetachedChild({
        name: "none",
        command: join(home, "no-such-program"),
        args: [],
        env: {},
        logFile: join(home, "child.log"),
      }),
    ).rejects.toMatchObject({ code: "ENOENT" });
  });
});
