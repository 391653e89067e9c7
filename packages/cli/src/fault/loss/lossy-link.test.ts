import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { describe, expect, it } from "vitest";
import { openLossyLink } from "./lossy-link.ts";
import type { ProgramEnd, Programs } from "./programs.ts";

/** Programs that answer by the words they are called with; what is called is kept. */
function fakePrograms(
  facts: { isRoot?: boolean; isLinux?: boolean; missing?: readonly string[]; fails?: RegExp } = {},
): Programs & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    isRoot: facts.isRoot ?? true,
    isLinux: facts.isLinux ?? true,
    run(command, args): Promise<ProgramEnd> {
      const line = [command, ...args].join(" ");
      calls.push(line);
      if (facts.missing?.includes(command) === true) return Promise.resolve({ kind: "missing" });
      if (facts.fails?.test(line) === true) {
        return Promise.resolve({
          kind: "ended",
          code: 2,
          output: "Specified qdisc kind is unknown.\n",
        });
      }
      const output = / list table /.test(line)
        ? 'iifname "x" counter packets 3 bytes 9 drop\noifname "x" counter packets 4 bytes 9 drop'
        : "";
      return Promise.resolve({ kind: "ended", code: 0, output });
    },
    start: () => Promise.resolve(undefined),
  };
}
const open = (programs: Programs, canMove = true) =>
  openLossyLink({ share: 0.1, canMove, programs, clock: systemClock, random: seededRandom(1) });

describe("the choice of a lossy network", () => {
  it("is netem where the kernel has it, on interfaces of its own alone", async () => {
    const programs = fakePrograms();
    const { link, tried } = await open(programs);
    expect({ kind: link.kind, tried }).toEqual({ kind: "netem", tried: [] });
    await link.begin();
    await link.close();
    const devices = programs.calls.flatMap((line) => / dev (\S+)/.exec(line)?.[1] ?? []);
    expect(devices.length).toBeGreaterThan(0);
    expect(devices.filter((name) => !name.startsWith("hff"))).toEqual([]);
    expect(programs.calls.at(-1)).toMatch(/^ip netns delete holdfast-fault-\d+$/);
  });

  it("is nft in a namespace where there is no netem, and counts what it drops", async () => {
    const { link } = await open(fakePrograms({ fails: /netem/ }));
    expect(link.kind).toBe("nft");
    await link.begin();
    expect(await link.lost()).toBe(7);
    await link.end();
    expect(link.prefix.slice(0, 3)).toEqual(["ip", "netns", "exec"]);
  });

  it("takes away what it had made where a step fails", async () => {
    const programs = fakePrograms({ fails: /address add/ });
    const { link, tried } = await open(programs);
    expect(link.kind).toBe("proxy");
    expect(tried[0]).toMatch(/^netem, nft: ip address add: Specified/);
    expect(programs.calls.filter((line) => line.startsWith("ip netns delete"))).toHaveLength(1);
    await link.close();
  });

  it.each([
    ["no root", { isRoot: false }, "only root"],
    ["another system", { isLinux: false }, "only Linux"],
    ["no nft", { fails: /netem/, missing: ["nft"] }, "there is no program nft"],
    ["no ip", { missing: ["ip"] }, "there is no program ip"],
  ] as const)("is a proxy of ours with %s, and says why", async (_, facts, why) => {
    const { link, tried } = await open(fakePrograms(facts));
    expect(link.kind).toBe("proxy");
    expect(tried).toHaveLength(2);
    expect(tried[0]).toContain(why);
    expect(tried[1]).toBe("toxiproxy: there is no program toxiproxy-server");
    await link.close();
  });

  it("never touches the network for what is somebody else's process", async () => {
    const programs = fakePrograms();
    const { link } = await open(programs, false);
    expect(link.kind).toBe("proxy");
    expect(programs.calls).toEqual([]);
    await link.close();
  });
});
