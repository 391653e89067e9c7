/**
 * `node scripts/parts.mjs [NAME…]`: builds the real servers that `npm run test:parts` tests against, into
 * the git-ignored folder `.cache/parts`, with Go. A server that is there already is left alone.
 * Slow the first time (minutes each, and gigabytes of Go's own cache), which is why no test does it.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { setPriority } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const CACHE = join(dirname(dirname(fileURLToPath(import.meta.url))), ".cache", "parts");
/** Others work on this machine too: building can wait. */
const PRIORITY = 15;

/** Kubernetes says nothing of its version unless the build does. */
const KUBERNETES_VERSION = "v1.36.3";
const KUBERNETES = {
  module: "k8s.io/kubernetes",
  version: KUBERNETES_VERSION,
  // Its go.mod takes these from folders of its repository; they are published under this version.
  siblings: { prefix: "k8s.io/", version: "v0.36.3" },
  linkerFlags: [`gitVersion=${KUBERNETES_VERSION}`, "gitMajor=1", "gitMinor=36"].map(
    (value) => `-X k8s.io/component-base/version.${value}`,
  ),
};

/**
 * The servers, by the name that `HOLDFAST_TEST_<NAME>` and this script's arguments use. The versions are
 * pinned: a new one is a change to be looked at, not a surprise of some night. With `program`, the package
 * is built in a module of our own: `go install` refuses a module whose go.mod has replace lines.
 */
export const PARTS = {
  versitygw: { module: "github.com/versity/versitygw/cmd/versitygw", version: "v1.8.0" },
  minio: {
    module: "github.com/minio/minio",
    version: "v0.0.0-20260212201848-7aac2a2c5b7c",
  },
  etcd: {
    module: "go.etcd.io/etcd/server/v3",
    program: "go.etcd.io/etcd/server/v3",
    version: "v3.7.3",
  },
  "kube-apiserver": { ...KUBERNETES, program: "k8s.io/kubernetes/cmd/kube-apiserver" },
  "kube-scheduler": { ...KUBERNETES, program: "k8s.io/kubernetes/cmd/kube-scheduler" },
  "kube-controller-manager": {
    ...KUBERNETES,
    program: "k8s.io/kubernetes/cmd/kube-controller-manager",
  },
};

/** What a person is told who lacks a part. */
export function howToGet(name) {
  const go = PARTS[name].program === undefined ? "1.24" : "1.26";
  return `run node scripts/parts.mjs ${name} (needs Go ${go} or newer), or set ${variable(name)} to its program`;
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
  return `HOLDFAST_TEST_${name.toUpperCase().replaceAll("-", "_")}`;
}

function programPath(name) {
  return join(CACHE, `${name}-${PARTS[name].version}`);
}

/** Builds one part; returns false, having said why, when it cannot. */
function build(name) {
  const part = PARTS[name];
  const program = programPath(name);
  if (existsSync(program)) {
    console.log(`${name}: ${program} is there`);
    return true;
  }
  console.log(`${name}: building ${part.module}@${part.version} …`);
  mkdirSync(CACHE, { recursive: true });
  // Beside its place, and moved there whole: a build that was cut off is never taken for a program.
  const folder = mkdtempSync(join(CACHE, "building-"));
  try {
    if (part.program === undefined) {
      const what = `${part.module}@${part.version}`;
      go(["install", "-trimpath", "-ldflags", "-s -w", what], { env: { GOBIN: folder } });
    } else {
      buildInOwnModule(part, folder, join(folder, name));
    }
    renameSync(join(folder, name), program);
  } catch (error) {
    console.error(`${name}: ${error.message}; ${howToGet(name)}`);
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(`${name}: ${program}`);
  return true;
}

/** A module that does nothing but name the part's, with what its go.mod takes from folders beside it. */
function buildInOwnModule({ module, program, version, siblings, linkerFlags = [] }, folder, to) {
  const { GoMod } = JSON.parse(go(["mod", "download", "-json", `${module}@${version}`], {}));
  const theirs = JSON.parse(go(["mod", "edit", "-json", GoMod], {}));
  const replaced = (theirs.Replace ?? [])
    .map(({ Old }) => Old.Path)
    .filter((path) => siblings !== undefined && path.startsWith(siblings.prefix))
    .map((path) => `replace ${path} => ${path} ${siblings.version}`);
  const lines = ["module holdfast.test/parts", `go ${theirs.Go}`, `require ${module} ${version}`];
  writeFileSync(join(folder, "go.mod"), [...lines, ...replaced, ""].join("\n"));
  const flags = ["-s -w", ...linkerFlags].join(" ");
  go(["build", "-mod=mod", "-trimpath", "-ldflags", flags, "-o", to, program], { cwd: folder });
}

/** Runs Go and returns what it printed; throws when it failed, having shown its errors. */
function go(args, { cwd, env = {} }) {
  const { status, error, stdout } = spawnSync("go", args, {
    ...(cwd === undefined ? {} : { cwd }),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  if (status !== 0) {
    const why = error === undefined ? `exit code ${status}` : error.message;
    throw new Error(`go ${args[0]} failed (${why})`);
  }
  return stdout;
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
