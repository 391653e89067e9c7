/**
 * Holdfast's downloader against `curl URL | sha256sum`, on the same server and file in rounds that take turns.
 * curl alone hashes and keeps nothing; beside it curl that also writes the file (`tee`), which is what a
 * download is for. Holdfast's time is that of the call, with its flush to the disk; curl's is that of the
 * whole pipe. Also: the most memory that the downloading process held.
 *
 * Flags: --mb N (default 1024), --rounds N, --quick.
 */
import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { median, now, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const run = promisify(execFile);
const lib = (name) => fileURLToPath(new URL(`lib/${name}`, import.meta.url));
const BYTES_PER_MB = 1024 * 1024;
const GOAL_RATIO = 0.9;
const GOAL_RSS_MB = 150;

const options = readOptions({
  mb: (quick) => (quick ? 256 : 1024),
  rounds: (quick) => (quick ? 2 : 5),
});
const machine = await machineFacts();
announce("download", machine);

await withScratch(async (folder, keep) => {
  const origin = join(folder, "origin.bin");
  const sha256 = await makeFile(origin, options.mb);
  const url = await serve(origin, keep);
  const sides = {
    holdfast: () => withHoldfast(folder, url, sha256),
    "curl | sha256sum": () => withCurl(`curl -s "$1" | sha256sum`, folder, url, sha256),
    "curl | tee FILE | sha256sum": () =>
      withCurl(`curl -s "$1" | tee "$2" | sha256sum`, folder, url, sha256),
  };
  const taken = Object.fromEntries(Object.keys(sides).map((side) => [side, []]));
  for (let at = 0; at < options.rounds; at += 1) {
    const inTurn = Object.keys(sides).map((_, n, all) => all[(n + at) % all.length]);
    for (const side of inTurn) taken[side].push(await sides[side]());
  }
  const speed = (side) => median(taken[side].map(({ wallMs }) => (options.mb * 1000) / wallMs));
  const rss = Math.max(...taken.holdfast.map(({ maxRssMb }) => maxRssMb));
  const results = Object.keys(sides).map((side) => ({
    side,
    mbPerSecond: round(speed(side)),
    ratio: round(speed("holdfast") / speed(side)),
    wallMs: summary(taken[side].map(({ wallMs }) => wallMs)),
    cpuMs: side === "holdfast" ? summary(taken[side].map(({ cpuMs }) => cpuMs)) : null,
  }));
  printTable(
    `${options.mb} MB, median of ${options.rounds} rounds; goal: ratio >= ${GOAL_RATIO} to curl | sha256sum, under ${GOAL_RSS_MB} MB`,
    results.map((one) => ({
      side: one.side,
      "MB/s": one.mbPerSecond,
      "holdfast / it": one.ratio,
      "max RSS, MB": one.side === "holdfast" ? rss : null,
    })),
  );
  await saveResult("download", machine, {
    goals: { ratio: GOAL_RATIO, maxRssMb: GOAL_RSS_MB },
    sizeMb: options.mb,
    rounds: options.rounds,
    maxRssMb: round(rss),
    results,
  });
  if (results[1].ratio < GOAL_RATIO || rss >= GOAL_RSS_MB) process.exitCode = 1;
});

async function makeFile(path, mb) {
  const hash = createHash("sha256");
  const handle = await open(path, "w");
  // One random megabyte over and over, numbered: generating it must not take longer than fetching it.
  const piece = randomBytes(BYTES_PER_MB);
  for (let at = 0; at < mb; at += 1) {
    piece.writeUInt32LE(at, 0);
    hash.update(piece);
    await handle.write(piece);
  }
  await handle.sync();
  await handle.close();
  return hash.digest("hex");
}

async function serve(origin, keep) {
  const child = spawn(process.execPath, [lib("serve-file.mjs"), origin], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => {
    child.once("exit", resolve);
  });
  keep({
    stop: async () => {
      child.kill();
      await ended;
    },
  });
  const port = await new Promise((resolve, reject) => {
    child.stdout.once("data", (text) => resolve(Number(text)));
    child.once("exit", () => reject(new Error("the file server ended")));
  });
  return `http://127.0.0.1:${port}/file.bin`;
}

async function withHoldfast(folder, url, sha256) {
  const into = join(folder, "models");
  await mkdir(into);
  const args = [lib("record-download.mjs"), url, sha256, join(into, "x"), join(into, ".partial")];
  const { stdout } = await run(process.execPath, args);
  const told = JSON.parse(stdout);
  if (told.outcome.kind !== "fetched") throw new Error(stdout);
  await rm(into, { recursive: true });
  return told;
}

async function withCurl(command, folder, url, sha256) {
  const file = join(folder, "curl.bin");
  const startedAt = now();
  const { stdout } = await run("sh", ["-c", command, "sh", url, file]);
  const wallMs = now() - startedAt;
  if (!stdout.startsWith(sha256)) throw new Error(`curl got another file: ${stdout}`);
  await rm(file, { force: true });
  return { wallMs };
}
