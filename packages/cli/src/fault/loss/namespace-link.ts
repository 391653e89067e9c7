import { isProcessAlive } from "@holdfast/runtime/host";
import type { LinkTrial, LossyLink, LossyLinkOptions } from "./link.ts";
import type { Programs } from "./programs.ts";

/** Of RFC 2544, for tests of networks: no host has an address there for anything else. */
const NETWORK = "198.18";
const PREFIX = "holdfast-fault-";
const TABLE = "holdfast_fault";
/** Interfaces' names are at most 15 characters long. */
const OUTER = (pid: number): string => `hff${pid.toString(36)}o`;
const INNER = (pid: number): string => `hff${pid.toString(36)}i`;

/**
 * A pair of interfaces of our own, one end in a network namespace of our own, with loss by netem on both
 * ends or, where the kernel has no netem, by nft in the namespace. Needs Linux and root.
 */
export async function openNamespaceLink(options: LossyLinkOptions): Promise<LinkTrial> {
  const { programs, canMove } = options;
  const notHere = (why: string): LinkTrial => ({
    kind: "not_here",
    why: `netem, nft: ${why}`,
  });
  if (!canMove) return notHere("what is called is somebody else's process");
  if (!programs.isLinux) return notHere("only Linux has network namespaces");
  if (!programs.isRoot) return notHere("only root may make a network namespace");
  await removeStale(programs);
  const place = {
    name: `${PREFIX}${process.pid}`,
    outer: OUTER(process.pid),
    inner: INNER(process.pid),
    net: `${NETWORK}.${Math.floor(options.random.next() * 256)}`,
  };
  const made = await runAll(programs, [
    ["ip", "netns", "add", place.name],
    ["ip", "link", "add", place.outer, "type", "veth", "peer", "name", place.inner],
    ["ip", "link", "set", place.inner, "netns", place.name],
    ["ip", "address", "add", `${place.net}.1/30`, "dev", place.outer],
    ["ip", "link", "set", place.outer, "up"],
    ["ip", "-n", place.name, "address", "add", `${place.net}.2/30`, "dev", place.inner],
    ["ip", "-n", place.name, "link", "set", place.inner, "up"],
  ]);
  const close = async (): Promise<void> => {
    // With the namespace goes its end of the pair, and with that the other one.
    await programs.run("ip", ["link", "delete", place.outer]);
    await programs.run("ip", ["netns", "delete", place.name]);
  };
  if (made !== undefined) {
    await close();
    return notHere(made);
  }
  const percent = Math.round(options.share * 100);
  const kind = (await hasNetem(programs, place)) ? "netem" : "nft";
  if (kind === "nft" && (await programs.run("nft", ["--version"])).kind === "missing") {
    await close();
    return notHere("this kernel has no netem, and there is no program nft");
  }
  const ruling = kind === "netem" ? netem(programs, place, percent) : nft(programs, place, percent);
  const link: LossyLink = {
    kind,
    words: `${kind}: ${percent} % of the packets dropped, both ways, on a pair of interfaces of its own`,
    prefix: ["ip", "netns", "exec", place.name],
    host: `${place.net}.2`,
    urlOf: (host, port) => Promise.resolve(`http://${host}:${port}`),
    ...ruling,
    close,
  };
  return { kind: "open", link };
}

interface Place {
  readonly name: string;
  readonly outer: string;
  readonly inner: string;
  readonly net: string;
}

type Ruling = Pick<LossyLink, "begin" | "end" | "lost">;

function netem(programs: Programs, place: Place, percent: number): Ruling {
  const loss = ["root", "netem", "loss", `${percent}%`];
  const dropped = async (args: readonly string[]): Promise<number> => {
    const shown = await programs.run("tc", [...args]);
    return shown.kind === "ended" ? sumOf(shown.output, /dropped (\d+)/g) : 0;
  };
  return {
    async begin() {
      const failed = await runAll(programs, [
        ["tc", "qdisc", "add", "dev", place.outer, ...loss],
        ["tc", "-n", place.name, "qdisc", "add", "dev", place.inner, ...loss],
      ]);
      if (failed !== undefined) throw new Error(failed);
    },
    async end() {
      await programs.run("tc", ["qdisc", "delete", "dev", place.outer, "root"]);
      await programs.run("tc", ["-n", place.name, "qdisc", "delete", "dev", place.inner, "root"]);
    },
    async lost() {
      const outer = await dropped(["-s", "qdisc", "show", "dev", place.outer]);
      return outer + (await dropped(["-n", place.name, "-s", "qdisc", "show", "dev", place.inner]));
    },
  };
}

function nft(programs: Programs, place: Place, percent: number): Ruling {
  const inside = (args: readonly string[], input?: string) =>
    programs.run("ip", ["netns", "exec", place.name, "nft", ...args], input);
  const chain = (hook: "input" | "output", by: "iifname" | "oifname"): string =>
    `chain ${hook} {\n type filter hook ${hook} priority 0;\n` +
    ` ${by} "${place.inner}" numgen random mod 100 < ${percent} counter drop\n}\n`;
  const count = async (): Promise<number> => {
    const shown = await inside(["list", "table", "inet", TABLE]);
    return shown.kind === "ended" ? sumOf(shown.output, /counter packets (\d+)/g) : 0;
  };
  let before = 0;
  return {
    async begin() {
      const table = `table inet ${TABLE} {\n${chain("input", "iifname")}${chain("output", "oifname")}}\n`;
      const made = await inside(["-f", "-"], table);
      if (made.kind === "missing" || made.code !== 0) {
        throw new Error(`nft: ${made.kind === "missing" ? "no such program" : made.output.trim()}`);
      }
    },
    async end() {
      before += await count();
      await inside(["delete", "table", "inet", TABLE]);
    },
    lost: async () => before + (await count()),
  };
}

async function hasNetem(programs: Programs, place: Place): Promise<boolean> {
  const loss = ["root", "netem", "loss", "0%"];
  const tried = await programs.run("tc", ["qdisc", "add", "dev", place.outer, ...loss]);
  if (tried.kind === "missing" || tried.code !== 0) return false;
  await programs.run("tc", ["qdisc", "delete", "dev", place.outer, "root"]);
  return true;
}

/** What runs that were killed have left. */
async function removeStale(programs: Programs): Promise<void> {
  const listed = await programs.run("ip", ["netns", "list"]);
  if (listed.kind === "missing") return;
  for (const line of listed.output.split("\n")) {
    const name = line.split(" ")[0] ?? "";
    if (!name.startsWith(PREFIX)) continue;
    const pid = Number(name.slice(PREFIX.length));
    if (await isProcessAlive(pid)) continue;
    await programs.run("ip", ["link", "delete", OUTER(pid)]);
    await programs.run("ip", ["netns", "delete", name]);
  }
}

/** Runs them in order; what the first failure said. */
async function runAll(
  programs: Programs,
  commands: readonly (readonly string[])[],
): Promise<string | undefined> {
  for (const [command = "", ...args] of commands) {
    const end = await programs.run(command, args);
    if (end.kind === "missing") return `there is no program ${command}`;
    if (end.code !== 0) {
      return `${[command, ...args].slice(0, 3).join(" ")}: ${end.output.trim().split("\n")[0]}`;
    }
  }
  return undefined;
}

function sumOf(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((sum, found) => sum + Number(found[1]), 0);
}
