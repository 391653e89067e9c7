import { chmod, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryFileLock } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createPm2Daemon, isDaemonCommand, lookAtDaemon, prepareHome } from "./pm2-daemon.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-daemon-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test("no pid file, nonsense in it, a pid that is gone or another program's: dead", async () => {
  expect(await lookAtDaemon(folder)).toEqual({ kind: "dead" });
  for (const text of ["", "x", "-1", "1", "4194303", String(process.pid)]) {
    await writeFile(join(folder, "pm2.pid"), text);
    expect(await lookAtDaemon(folder)).toEqual({ kind: "dead" });
  }
});

test("a kernel thread or a strange program with the old pid is no daemon, ours is", () => {
  const on = (command: string | undefined, platform: NodeJS.Platform = "linux"): boolean =>
    isDaemonCommand(command, "/srv/pm2", platform);
  expect([on(""), on(undefined), on("node /srv/app/Daemon.js")]).toEqual([false, false, false]);
  expect(on("PM2 v7.0.4: God Daemon (/srv/other)")).toBe(false);
  expect(on("PM2 v7.0.4: God Daemon (/srv/pm2)")).toBe(true);
  expect(on("node /srv/tools/node_modules/pm2/lib/Daemon.js")).toBe(true);
  expect(on(undefined, "darwin")).toBe(true);
});

test("the folder is made, and closed to others", async () => {
  const home = join(folder, "a", "pm2");
  await prepareHome(home);
  expect((await lstat(home)).mode & 0o777).toBe(0o700);
  await chmod(home, 0o777);
  await prepareHome(home);
  expect((await lstat(home)).mode & 0o777).toBe(0o700);
});

test("a folder that is too long for its sockets is refused before PM2 hangs on it", async () => {
  await expect(prepareHome(join(folder, "ä".repeat(50)))).rejects.toThrow(
    /bytes long, expected at most 90/,
  );
});

test("a link in its place is refused: who made it decides what we run", async () => {
  await mkdir(join(folder, "theirs"));
  await symlink(join(folder, "theirs"), join(folder, "pm2"));
  await expect(prepareHome(join(folder, "pm2"))).rejects.toThrow(/expected to be a folder/);
});

test("a stop does not wait for another program that starts the daemon", async () => {
  const other = await tryFileLock(join(folder, "daemon.lock"), systemClock);
  expect(other.kind).toBe("ours");
  const daemon = createPm2Daemon({
    cli: { run: () => Promise.reject(new Error("PM2 was called without the lock")) },
    pm2Home: folder,
    clock: systemClock,
  });
  const stop = new AbortController();
  const waiting = daemon.ensure(stop.signal);
  const stopping = systemClock.sleep(30).then(() => stop.abort(new Error("stopped")));
  await expect(waiting).rejects.toThrow("stopped");
  await stopping;
});
