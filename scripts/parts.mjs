/**
 * `node scripts/parts.mjs [NAME…]`: builds the real servers that `npm run test:parts` tests against, into
 * the git-ignored folder `.cache/parts`, by `go install`. A server that is there already is left alone.
 * Slow the first time (minutes each, and gigabytes of Go's own cache), which is why no test does it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { setPriority } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const CACHE = join(dirname(dirname(fileURLToPath(import.meta.url))), ".cache", "parts");
/** Others work on this machine too: building can wait. */
const PRIORITY = 15;

/**
 * The servers, by the name that `HOLDFAST_TEST_<NAME>` and this script's arguments use. The versions are
 * pinned: a new one is a change to be looked at, not a surprise of some night.
 */
export const PARTS = {
  versitygw: { module: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0" },
  minio: {
    module: "github.com/minio/minio",
    version: "v0.0.0-20260212201848-7aac2a2c5b7c",
  },
};

/** What a person is told who lacks a part. */
export function howToGet(name) {
  return `run node scripts/parts.mjs ${name} (needs Go 1.24 or newer), or set ${variable(name)} to its program`;
}

/**
 * The path of a part's program: what `HOLDFAST_TEST_<NAME>` says, else what this script built, else
 * undefined. A variable that names no file is an error and not an absence: a test that was asked for and
 * silently skipped would look as if it had passed.
 */
export function findPart(name, environment = process.env) {
  const given = environment[variable(name)];
  if (given !== undefined && given !== "") {
    if (!existsSync(given) || !statSync(given).isFile()) {
      throw new Error(`${variable(name)} names no file: ${given}`);
    }
    return given;
  }
  const built = programPath(name);
  return existsSync(built) ? built : undefined;
}

function variable(name) {
  return `HOLDFAST_TEST_${name.toUpperCase()}`;
}

function programPath(name) {
  return join(CACHE, `${name}-${PARTS[name].version}`);
}

/** Builds one part; returns false, having said why, when it cannot. */
function build(name) {
  const { module, version } = PARTS[name];
  const program = programPath(name);
  if (existsSync(program)) {
    console.log(`${name}: ${program} is there`);
    return true;
  }
  console.log(`${name}: building ${module}@${version} …`);
  mkdirSync(CACHE, { recursive: true });
  // Beside its place, and moved there whole: a build that was cut off is never taken for a program.
  const folder = mkdtempSync(join(CACHE, "building-"));
  try {
    const { status, error } = spawnSync(
      "go",
      ["install", "-trimpath", "-ldflags", "-s -w", `${module}@${version}`],
      { stdio: "inherit", env: { ...process.env, GOBIN: folder } },
    );
    if (status !== 0) {
      const why = error === undefined ? `exit code ${status}` : error.message;
      console.error(`${name}: go install failed (${why}); it needs Go 1.24 or newer`);
      return false;
    }
    renameSync(join(folder, name), program);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(`${name}: ${program}`);
  return true;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PARTS);
  const unknown = names.filter((name) => !Object.hasOwn(PARTS, name));
  if (unknown.length > 0) {
    console.error(
      `no such part: ${unknown.join(", ")}; there are ${Object.keys(PARTS).join(", ")}`,
    );
    process.exit(2);
  }
  // The children inherit it.
  setPriority(PRIORITY);
  process.exitCode = names.map(build).every(Boolean) ? 0 : 1;
}
