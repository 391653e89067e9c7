/**
 * Makes a clone ready to run: Node's version checked, packages installed, everything built. Says what it
 * does, and does nothing when nothing is to be done. Plain Node without packages, as there may be none.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const OLDEST_NODE = [20, 19];
const STAMP = join(ROOT, ".cache", "build.json");
/** What the build reads, inside a package. */
const SOURCE_FOLDERS = ["src", "migrations"];
const SOURCE_FILES = ["package.json", "tsconfig.json", "tsconfig.pure.json", "tsconfig.node.json"];

/** Does what is missing. Returns false, having said why, when it cannot. */
export function setUp() {
  return checkNode() && install() && build();
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const [wantMajor, wantMinor] = OLDEST_NODE;
  if (major > wantMajor || (major === wantMajor && minor >= wantMinor)) return true;
  say(
    `Holdfast needs Node ${OLDEST_NODE.join(".")} or newer; this is Node ${process.versions.node}.`,
  );
  say(
    "Install a newer one from https://nodejs.org, or with your version manager, and run this again.",
  );
  return false;
}

function install() {
  const missing = findMissingPackage();
  if (missing === undefined) return true;
  say(`set-up: installing packages (${missing}) …`);
  return npm(["ci", "--no-audit", "--no-fund"], "set-up: packages could not be installed");
}

/**
 * What is installed, held against what package-lock.json asks for: by versions, as times of files say
 * nothing after a clone or a copy. Undefined when all is there.
 */
function findMissingPackage() {
  // npm writes this file at the end of every install.
  const installed = readLock(join(ROOT, "node_modules", ".package-lock.json"));
  if (installed === undefined) return "not there yet";
  for (const [path, wanted] of Object.entries(readLock(join(ROOT, "package-lock.json")) ?? {})) {
    if (!path.startsWith("node_modules/") || wanted.link === true) continue;
    const found = installed[path];
    // Optional ones are for other platforms when they are not here.
    if (found === undefined && (wanted.optional === true || wanted.devOptional === true)) continue;
    if (found?.version !== wanted.version) return `${path} is not the one in package-lock.json`;
  }
  return undefined;
}

function readLock(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).packages : undefined;
}

function build() {
  const wanted = sourceState();
  if (readStamp() === wanted && isBuilt()) return true;
  say("set-up: building …");
  if (!npm(["run", "--silent", "build"], "set-up: the build failed")) return false;
  if (!isBuilt()) {
    say(
      "set-up: the build is not complete; remove packages/*/dist and packages/*/*.tsbuildinfo, and run this again",
    );
    return false;
  }
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, wanted);
  return true;
}

/** Runs npm, the one that runs us if there is one; false, and why, when it fails. */
function npm(args, failure) {
  const path = process.env.npm_execpath;
  const isScript = path !== undefined && /\.c?js$/.test(path);
  const [command, first] = isScript ? [process.execPath, [path]] : ["npm", []];
  const result = spawnSync(command, [...first, ...args], {
    cwd: ROOT,
    // Standard output stays for results.
    stdio: ["ignore", 2, 2],
    shell: !isScript && process.platform === "win32",
  });
  if (result.status === 0) return true;
  const reason = result.error === undefined ? `exit code ${result.status}` : result.error.message;
  say(`${failure}: npm ${args.join(" ")}: ${reason}`);
  return false;
}

function packages() {
  return readdirSync(join(ROOT, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(ROOT, "packages", entry.name))
    .filter((folder) => existsSync(join(folder, "package.json")));
}

function isBuilt() {
  return packages().every((folder) => {
    const { exports: entries } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return Object.values(entries ?? {}).every(
      (entry) => typeof entry.default !== "string" || existsSync(join(folder, entry.default)),
    );
  });
}

/** Names, sizes and times of all sources in one text: a changed, added or removed file changes it. */
function sourceState() {
  const lines = [];
  const add = (path) => {
    const info = statSync(path);
    lines.push(`${path.slice(ROOT.length)} ${info.size} ${Math.round(info.mtimeMs)}`);
  };
  for (const name of ["tsconfig.json", "tsconfig.base.json", "package-lock.json"]) {
    add(join(ROOT, name));
  }
  for (const folder of packages()) {
    for (const name of SOURCE_FILES.filter((name) => existsSync(join(folder, name)))) {
      add(join(folder, name));
    }
    for (const name of SOURCE_FOLDERS.filter((name) => existsSync(join(folder, name)))) {
      for (const path of readdirSync(join(folder, name), { recursive: true })) {
        if (!path.endsWith(".test.ts")) add(join(folder, name, path));
      }
    }
  }
  return `${lines.sort((a, b) => (a < b ? -1 : 1)).join("\n")}\n`;
}

function readStamp() {
  return existsSync(STAMP) ? readFileSync(STAMP, "utf8") : undefined;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = setUp() ? 0 : 1;
}
