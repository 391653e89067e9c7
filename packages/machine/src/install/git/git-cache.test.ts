import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryFileLock } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createGitCache, mirrorName } from "./git-cache.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-mirrors-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a stop does not wait for whoever has the mirror", async () => {
  const url = "https://git.example/a.git";
  const other = await tryFileLock(join(folder, `${mirrorName(url)}.lock`), systemClock);
  expect(other.kind).toBe("ours");
  const cache = createGitCache({
    folder,
    clock: systemClock,
    program: "/usr/bin/git",
    run: () => Promise.reject(new Error("git was called without the lock")),
    hostEnvironment: {},
    machineRoot: folder,
  });
  const stop = new AbortController();
  const waiting = cache.ensureCommit({ url, ref: "main" }, "a".repeat(40), stop.signal);
  const stopping = systemClock.sleep(30).then(() => stop.abort(new Error("stopped")));
  await expect(waiting).rejects.toThrow("stopped");
  await stopping;
});
