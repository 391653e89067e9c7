/** Reads a V8 CPU profile: how much of the time each area, file and function took itself. */
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Own time in ms by `keyOf(frame)`, largest first. */
export function ownTimes(profile, keyOf) {
  const byId = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const times = new Map();
  for (const [at, id] of profile.samples.entries()) {
    const key = keyOf(byId.get(id));
    if (key === undefined) continue;
    times.set(key, (times.get(key) ?? 0) + (profile.timeDeltas[at] ?? 0) / 1000);
  }
  return [...times].sort((a, b) => b[1] - a[1]);
}

/**
 * Time in ms below each function of ours, largest first: its own and that of all it calls, each
 * sample counted once. Work that an `await` resumes counts for who resumed it.
 */
export function totalTimes(profile) {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map();
  for (const node of profile.nodes) {
    for (const child of node.children ?? []) parents.set(child, node.id);
  }
  const times = new Map();
  for (const [at, id] of profile.samples.entries()) {
    const seen = new Set();
    for (let one = id; one !== undefined; one = parents.get(one)) {
      const name = functionOf(nodes.get(one).callFrame);
      if (name?.startsWith("packages/") === true) seen.add(name);
    }
    for (const name of seen) {
      times.set(name, (times.get(name) ?? 0) + (profile.timeDeltas[at] ?? 0) / 1000);
    }
  }
  return [...times].sort((a, b) => b[1] - a[1]);
}

/** The part of the program a frame belongs to; undefined for idleness. */
export function areaOf(frame) {
  const { functionName, url } = frame;
  if (functionName === "(idle)") return undefined;
  if (functionName === "(garbage collector)") return "garbage collection";
  if (functionName === "(program)") return "system calls and native code";
  const path = relative(url);
  const own = /^packages\/([^/]+)\/dist\/(?:([^/]+)\/)?/.exec(path);
  if (own !== null) return own[2] === undefined ? own[1] : `${own[1]}/${own[2]}`;
  const installed = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path);
  if (installed !== null) return `npm ${installed[1]}`;
  return url.startsWith("node:") ? `node ${url.slice(5).split("/").slice(-2).join("/")}` : "other";
}

/** A function by file and line; undefined for idleness. */
export function functionOf(frame) {
  const { functionName, url, lineNumber } = frame;
  if (functionName === "(idle)") return undefined;
  if (url === "") return functionName;
  return `${relative(url)}:${lineNumber + 1} ${functionName === "" ? "(anonymous)" : functionName}`;
}

function relative(url) {
  if (!url.startsWith("file:")) return url;
  const path = fileURLToPath(url);
  return path.startsWith(ROOT)
    ? path.slice(ROOT.length)
    : path.replace(/^.*node_modules/, "node_modules");
}
