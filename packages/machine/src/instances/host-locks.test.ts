import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HostLocks, lockFolders, type LockHost, type LockThing } from "./host-locks.ts";
import { counts, parseClaim, type Claim, type ClaimContext } from "./lock-claims.ts";

const GPU: LockThing = { kind: "gpu", uuid: "GPU-../../etc/passwd" };
const PORT: LockThing = { kind: "port", port: 8_188 };

let base: string;
let folder: string;
/** Processes of the test's own host: pid → start time. */
let living: Map<number, string>;
let host: LockHost;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "hf-locks-"));
  folder = join(base, "locks");
  living = new Map([10, 20, 30, 100, 200].map((pid) => [pid, `boot:${pid}`]));
  host = {
    startTimeOf: (pid) => living.get(pid),
    isAlive: (pid, startTime) => living.get(pid) === startTime,
    accountOf: () => process.getuid?.() ?? 0,
  };
});
afterEach(() => rm(base, { recursive: true, force: true }));

const agent = (pid: number, root = `/srv/machine-${pid}`, folders = [folder]): HostLocks =>
  new HostLocks({ folders, root, clock: systemClock, host, pid });
const claims = async (): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.endsWith(".claim"));

describe("a card and a port", () => {
  test("are one agent's, and the other is told whose, in words", async () => {
    const first = agent(10);
    expect(await first.acquire("comfyui-gpu0", [GPU, PORT])).toBeNull();
    expect(await first.acquire("comfyui-gpu0", [GPU, PORT])).toBeNull();
    const refusal = await agent(20).acquire("comfyui-gpu0", [PORT]);
    expect(refusal).toContain(
      "port 8188 is in use by comfyui-gpu0 of the agent in /srv/machine-10",
    );
    expect(refusal).toContain("process 10");
    expect(await claims()).toHaveLength(2);
  });

  test("are taken all or not at all", async () => {
    await agent(10).acquire("comfyui-gpu0", [PORT]);
    expect(await agent(20).acquire("comfyui-gpu0", [GPU, PORT])).toContain("port 8188");
    expect(await agent(30).acquire("comfyui-gpu0", [GPU])).toBeNull();
  });

  test("are free again when given back", async () => {
    const first = agent(10);
    await first.acquire("comfyui-gpu0", [GPU, PORT]);
    await first.keepOnly([PORT]);
    expect(await agent(20).acquire("comfyui-gpu1", [GPU])).toBeNull();
    await first.leave();
    expect(await agent(30).acquire("comfyui-gpu2", [PORT])).toBeNull();
  });

  test("are taken over from the dead, also when the pid was given to another process", async () => {
    await agent(10).acquire("comfyui-gpu0", [GPU]);
    living.set(10, "boot:later");
    expect(await agent(20).acquire("comfyui-gpu0", [GPU])).toBeNull();
    expect(await claims()).toHaveLength(1);
  });

  test("stay taken while the instance lives on, but for an agent of the same folder", async () => {
    const first = agent(10);
    await first.acquire("comfyui-gpu0", [GPU, PORT]);
    await first.recordProcess([GPU, PORT], { pid: 100, startTime: "boot:100" });
    living.delete(10);
    expect(await agent(20).acquire("comfyui-gpu0", [GPU])).toContain("processes 10 and 100");
    const next = agent(30, "/srv/machine-10");
    expect(await next.acquire("comfyui-gpu0", [GPU, PORT])).toBeNull();
    // The dead agent's claim guards the instance until the next one has written it into its own.
    expect(await claims()).toHaveLength(4);
    await next.recordProcess([GPU, PORT], { pid: 100, startTime: "boot:100" });
    expect(await claims()).toHaveLength(2);
    await next.leave();
    expect(await agent(20).acquire("comfyui-gpu0", [GPU])).toContain("processes 30 and 100");
    living.delete(30);
    living.delete(100);
    expect(await agent(20).acquire("comfyui-gpu0", [GPU])).toBeNull();
  });

  test("of the same folder are still one agent's at a time", async () => {
    await agent(10, "/srv/machine").acquire("comfyui-gpu0", [GPU]);
    expect(await agent(20, "/srv/machine").acquire("comfyui-gpu0", [GPU])).toContain("process 10");
  });

  test("go to exactly one of many that want them at once", async () => {
    const pids = Array.from({ length: 8 }, (_, index) => 1_000 + index);
    for (const pid of pids) living.set(pid, `boot:${pid}`);
    const answers = await Promise.all(pids.map((pid) => agent(pid).acquire("comfyui-gpu0", [GPU])));
    expect(answers.filter((answer) => answer === null)).toHaveLength(1);
    expect(await claims()).toHaveLength(1);
  });

  test("are given up to one that never decides, after a while", async () => {
    await agent(10).acquire("comfyui-gpu0", [GPU]);
    const [name = ""] = await claims();
    await rm(join(folder, name));
    const stuck: Claim = {
      version: 1,
      state: "wanting",
      pid: 30,
      startTime: "boot:30",
      root: "/srv/x",
      name: "comfyui-gpu0",
      instance: null,
    };
    await writeFile(join(folder, `${name.split(".")[0]}.stuck.claim`), JSON.stringify(stuck));
    expect(await agent(20).acquire("comfyui-gpu0", [GPU])).toContain("process 30");
  }, 10_000);
});

describe("a folder that all may write to", () => {
  test("is made so, and the names in it are safe", async () => {
    await agent(10).acquire("comfyui-gpu0", [GPU]);
    expect((await stat(folder)).mode & 0o7777).toBe(0o1777);
    const names = await readdir(folder);
    expect(names).toEqual([expect.stringMatching(/^gpu-[0-9a-f]{24}\.0000000010-boot10\.claim$/)]);
    expect((await stat(join(folder, names[0] ?? ""))).mode & 0o777).toBe(0o644);
  });

  test("a link in a claim's place is replaced, not followed; pipes and junk do not count", async () => {
    const victim = join(base, "victim");
    await writeFile(victim, "mine");
    await agent(10).acquire("comfyui-gpu0", [GPU]);
    const [name = ""] = await claims();
    await rm(join(folder, name));
    await symlink(victim, join(folder, name));
    const key = name.split(".")[0] ?? "";
    await writeFile(join(folder, `${key}.junk.claim`), "{");
    await writeFile(join(folder, `${key}.large.claim`), "x".repeat(10_000));
    await mkdir(join(folder, `${key}.folder.claim`));
    await once(spawn("mkfifo", [join(folder, `${key}.pipe.claim`)]), "exit");
    expect(await agent(10).acquire("comfyui-gpu0", [GPU])).toBeNull();
    expect(await readFile(victim, "utf8")).toBe("mine");
    expect(parseClaim(await readFile(join(folder, name), "utf8"))?.state).toBe("held");
  });

  test("is not used when it is a link, or anybody could remove a lock in it", async () => {
    const elsewhere = join(base, "elsewhere");
    await mkdir(elsewhere);
    await symlink(elsewhere, folder);
    expect(await agent(10).acquire("comfyui-gpu0", [GPU])).toContain("it is not a folder");
    expect(await readdir(elsewhere)).toEqual([]);
    await chmod(elsewhere, 0o777);
    expect(await agent(10, "/x", [elsewhere]).acquire("comfyui-gpu0", [GPU])).toContain(
      "not sticky",
    );
  });

  test("the second is used where the first cannot be; claims of both count", async () => {
    await writeFile(join(base, "file"), "");
    const second = join(base, "second");
    const broken = agent(10, "/srv/a", [join(base, "file", "locks"), second]);
    expect(await broken.acquire("comfyui-gpu0", [GPU])).toBeNull();
    const both = agent(20, "/srv/b", [folder, second]);
    expect(await both.acquire("comfyui-gpu0", [GPU])).toContain("/srv/a");
    expect(lockFolders()[0]).toBe("/run/lock/holdfast");
  });
});

describe("whether a claim counts", () => {
  const claim: Claim = {
    version: 1,
    state: "held",
    pid: 10,
    startTime: "s10",
    root: "/other",
    name: "comfyui-gpu0",
    instance: { pid: 100, startTime: "s100" },
  };
  const context = (
    alive: readonly number[],
    changes: Partial<ClaimContext> = {},
  ): ClaimContext => ({
    own: { pid: 20, startTime: "s20" },
    root: "/own",
    isAlive: (pid, startTime) => alive.includes(pid) && startTime === `s${pid}`,
    accountOf: () => 1_000,
    ...changes,
  });
  const does = (changes: Partial<Claim>, of: ClaimContext, account = 1_000): boolean =>
    counts({ path: "x", account, claim: { ...claim, ...changes } }, of);

  test("while its agent or its instance lives, and not for the agent's own folder", () => {
    expect(does({}, context([10]))).toBe(true);
    expect(does({}, context([100]))).toBe(true);
    expect(does({ root: "/own" }, context([100]))).toBe(false);
    expect(does({ root: "/own" }, context([10]))).toBe(true);
    expect(does({ instance: null }, context([100]))).toBe(false);
    expect(does({}, context([]))).toBe(false);
    expect(does({ pid: 20, startTime: "s20" }, context([20, 100]))).toBe(false);
    expect(counts({ path: "x", account: 0, claim: null }, context([10]))).toBe(false);
  });

  test("not when it names another account's process, unless root wrote it", () => {
    expect(does({}, context([10]), 666)).toBe(false);
    expect(does({}, context([10]), 0)).toBe(true);
    // Hidden from this account: the benefit of the doubt.
    expect(does({}, context([10], { accountOf: () => undefined }), 666)).toBe(true);
  });

  test("is not asked of what is no claim", () => {
    for (const text of ["", "1", "{}", "[", JSON.stringify({ ...claim, pid: -1 })]) {
      expect(parseClaim(text)).toBeNull();
    }
    expect(parseClaim(JSON.stringify(claim))).toEqual(claim);
  });
});

describe("between real processes", () => {
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) {
      child.kill("SIGKILL");
      await once(child, "exit").catch(() => undefined);
    }
  });

  test("exactly one of several programs gets the card", async () => {
    const module = new URL("./host-locks.ts", import.meta.url).href;
    const linux = new URL("./linux-processes.ts", import.meta.url).href;
    const hooks = new URL("../../../../test/support/typescript-loader.mjs", import.meta.url).href;
    const code = `
      const { HostLocks } = await import(${JSON.stringify(module)});
      const { linuxProcesses } = await import(${JSON.stringify(linux)});
      const { systemClock: clock } = await import("@holdfast/runtime/system");
      const root = process.argv[1], folder = process.argv[2];
      const locks = new HostLocks({ folders: [folder], root, clock, host: linuxProcesses(root, clock), pid: process.pid });
      console.log(JSON.stringify({ refusal: await locks.acquire("comfyui-gpu0", [{ kind: "gpu", uuid: "GPU-1" }]) }));
      setInterval(() => {}, 1000);`;
    const answers = await Promise.all(
      ["/srv/a", "/srv/b", "/srv/c"].map(async (root) => {
        const args = ["--import", hooks, "--conditions", "source", "--input-type=module"];
        const child = spawn(process.execPath, [...args, "-e", code, root, folder], {
          cwd: new URL("../..", import.meta.url).pathname,
          stdio: ["ignore", "pipe", "inherit"],
        });
        children.push(child);
        const [line] = (await once(child.stdout, "data")) as [Buffer];
        return (JSON.parse(line.toString()) as { refusal: string | null }).refusal;
      }),
    );
    expect(answers.filter((answer) => answer === null)).toHaveLength(1);
  }, 30_000);
});
