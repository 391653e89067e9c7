import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tryFileLock, withFileLock } from "./file-lock.ts";
import { makeFolder } from "./make-folder.ts";
import { parseLinuxStat, processStartTime, waitForExit } from "./processes.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "holdfast-host-"));
});
const sleepers: ChildProcess[] = [];
afterEach(async () => {
  for (const child of sleepers.splice(0)) child.kill("SIGKILL");
  await rm(home, { recursive: true, force: true });
});

const clock = systemClock;
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

describe("the lock", () => {
  test("no two are inside at once", async () => {
    let inside = 0;
    let most = 0;
    const enter = (): Promise<void> =>
      withFileLock(join(home, "lock"), { clock, timeoutMs: 10_000 }, async () => {
        inside += 1;
        most = Math.max(most, inside);
        await clock.sleep(2);
        inside -= 1;
      });
    await Promise.all(Array.from({ length: 10 }, enter));
    expect(most).toBe(1);
    expect(await readdir(home)).toEqual([]);
  });

  test("a dead holder's lock is taken over, by one of many", async () => {
    const pid = await sleeper();
    const startTime = await processStartTime(pid);
    await writeFile(join(home, "lock"), JSON.stringify({ pid, startTime }));
    await expect(
      withFileLock(join(home, "lock"), { clock, timeoutMs: 30 }, () => Promise.resolve()),
    ).rejects.toThrow(/held by process/);
    await endSleeper(pid);
    let inside = 0;
    let most = 0;
    const enter = (): Promise<void> =>
      withFileLock(join(home, "lock"), { clock, timeoutMs: 10_000 }, async () => {
        most = Math.max(most, (inside += 1));
        await clock.sleep(1);
        inside -= 1;
      });
    await Promise.all(Array.from({ length: 6 }, enter));
    expect(most).toBe(1);
  });

  test("whoever waits for it is let go by its signal, and what was taken is never begun", async () => {
    const stop = new AbortController();
    const path = join(home, "lock");
    const held = await tryFileLock(path, clock);
    const options = { clock, timeoutMs: 60_000, signal: stop.signal };
    let begun = 0;
    const work = (): Promise<void> => {
      begun += 1;
      return Promise.resolve();
    };
    const waiting = withFileLock(path, options, work);
    const stopping = clock.sleep(30).then(() => stop.abort(new Error("stopped")));
    await expect(waiting).rejects.toThrow("stopped");
    await stopping;
    if (held.kind === "ours") await held.release();
    await expect(withFileLock(path, options, work)).rejects.toThrow("stopped");
    expect(begun).toBe(0);
    expect(await readdir(home)).toEqual([]);
  });

  test("what throws inside gives the lock back", async () => {
    const lock = (fn: () => Promise<unknown>): Promise<unknown> =>
      withFileLock(join(home, "lock"), { clock, timeoutMs: 100 }, fn);
    await expect(lock(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await lock(() => Promise.resolve("free"))).toBe("free");
  });
});

test("a program's name with spaces and brackets does not shift the fields", () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
  fields[0] = "S";
  expect(parseLinuxStat(`77 (a b) c) ${fields.join(" ")}`)).toEqual({
    state: "S",
    startTicks: "22",
  });
});

describe("a folder", () => {
  test("is made with those above it, and left as it is when it is there", async () => {
    const path = join(home, "a", "b", "c");
    await makeFolder(path);
    await writeFile(join(path, "kept"), "");
    await makeFolder(`${path}/`);
    expect(await readdir(path)).toEqual(["kept"]);
    await Promise.all([1, 2, 3].map(() => makeFolder(join(home, "d", "e"))));
    expect((await stat(join(home, "d", "e"))).isDirectory()).toBe(true);
  });

  test("that cannot be made is refused and not tried for ever", async () => {
    await writeFile(join(home, "file"), "");
    await expect(makeFolder(join(home, "file"))).rejects.toMatchObject({ code: "EEXIST" });
    await expect(makeFolder(join(home, "file", "x", "y"))).rejects.toMatchObject({
      code: "ENOTDIR",
    });
  });

  test.skipIf(process.platform !== "linux")("is refused below /proc", async () => {
    await expect(makeFolder("/proc/holdfast/x/y")).rejects.toMatchObject({ code: "ENOENT" });
  });
});
