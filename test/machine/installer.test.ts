/** The installer with real git, real uv and real environments; the "internet" is on this disk. */
import { readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { InstallEvent } from "../../packages/machine/src/install/model.ts";
import { temporaryFolder } from "../support/processes.ts";
import {
  describeOutcome,
  findInstallerTools,
  mustInstall,
  testMachine,
  type InstallerTools,
  type TestMachine,
} from "./installer-machine.ts";
import {
  makeInternet,
  makeWheel,
  packFiles,
  serveIndex,
  type Internet,
} from "./installer-remotes.ts";

const tools = await findInstallerTools();
if ("missing" in tools) console.warn(`SKIPPED: tests of the installer: ${tools.missing}`);

describe.skipIf("missing" in tools)("installing", () => {
  const { uv, python } = tools as InstallerTools;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let internet: Internet;
  let machine: TestMachine;
  let count = 0;
  beforeAll(async () => {
    folder = await temporaryFolder();
  });
  afterAll(() => folder.remove());
  beforeEach(async () => {
    count += 1;
    internet = await makeInternet(join(folder.path, `internet-${count}`));
    machine = testMachine(join(folder.path, `machine-${count}`), { uv, python });
  });

  const manifest = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
    version: 1,
    comfyui: { repo: internet.comfyui.url, ref: "main" },
    python: { version: python, noIndex: true, findLinks: [internet.wheels] },
    torch: { backend: "none" },
    downloads: { keepFreeBytes: 0 },
    ...more,
  });
  const signal = AbortSignal.timeout(600_000);

  test("a bare folder becomes a release that serves; a second run starts no program", async () => {
    const pack = await internet.repository("brush", {
      ...packFiles(["Brush", "Stroke"]),
      "requirements.txt": "paint>=3\n",
      "install.py": "import paint\nopen('made-by-install', 'w').write(paint.version)\n",
    });
    const assets = await internet.repository("assets", { "logo.txt": "logo" });
    const wanted = manifest({
      nodes: [{ name: "brush", repo: pack.url, ref: "main", classes: ["Brush"] }],
      repositories: [{ name: "assets", repo: assets.url, ref: "main", linkTo: "input/assets" }],
    });
    const installer = machine.installer(wanted);
    const plan = await installer.plan({ signal });
    expect(plan).toMatchObject({ isNewRelease: true, problems: [] });
    expect(plan.steps.filter(({ state }) => state === "needed").length).toBeGreaterThan(5);
    const events: InstallEvent[] = [];
    const outcome = await installer.install({ signal, onEvent: (event) => events.push(event) });
    expect(outcome.kind, describeOutcome(outcome)).toBe("installed");
    const { lock } = await installer.status();
    expect(lock).toMatchObject({
      comfyui: { commit: await internet.comfyui.git("rev-parse", "HEAD"), version: "0.9.1" },
      packages: { engine: "2.0.0", paint: "3.1.0", piston: "2.0.0" },
      nodes: [{ name: "brush", classes: ["Brush", "Stroke"], missing: null }],
      repositories: [{ name: "assets" }],
      nodeClasses: ["Brush", "EmptyImage", "SaveImage", "Stroke"],
    });
    const release = await installer.current();
    expect(release?.nodeClasses).toEqual(["Brush", "Stroke"]);
    const made = join(release?.comfyuiFolder ?? "", "custom_nodes/brush/made-by-install");
    expect(await readFile(made, "utf8")).toBe("3.1.0");
    expect(await readFile(join(machine.places.shared, "input/assets/logo.txt"), "utf8")).toBe(
      "logo",
    );
    expect(events[0]?.kind).toBe("started");
    expect(events.at(-1)).toMatchObject({ kind: "ended", ok: true });

    machine.takeCalls();
    const again = await mustInstall(installer);
    expect(machine.takeCalls().map(({ command, args }) => [command, ...args])).toEqual([]);
    expect(again).toMatchObject({ isChanged: false, release: lock?.release });
    expect(again.results.every(({ outcome }) => outcome === "skipped")).toBe(true);
  });

  test("the cache of git may be removed: a checkout owes it nothing", async () => {
    const installer = machine.installer(manifest());
    await mustInstall(installer);
    await rm(machine.places.gitCache, { recursive: true });
    const outcome = await mustInstall(installer, { verify: true });
    expect(outcome.results.find(({ id }) => id === "comfyui.checkout")?.outcome).toBe("skipped");
  });

  test("a release that serves and is damaged is made anew beside itself, and replaced", async () => {
    const installer = machine.installer(manifest());
    const first = await mustInstall(installer);
    const folder = join(machine.places.releases, first.release ?? "");
    await rm(join(folder, "venv/pyvenv.cfg"));
    const before = (await readdir(folder, { recursive: true })).toSorted();
    const second = await mustInstall(installer);
    expect(second.release).toBe(`${first.release}-r2`);
    expect(second.warnings.join()).toMatch(/is not as it was made: .*there is no environment yet/);
    expect((await readdir(folder, { recursive: true })).toSorted()).toEqual(before);
    expect(await mustInstall(installer)).toMatchObject({ isChanged: false, warnings: [] });
    // Validated again where it serves, and not made again: nothing is wrong with it.
    expect((await mustInstall(installer, { verify: true })).release).toBe(second.release);
    expect(await installer.rollback(signal)).toMatchObject({ kind: "nothing" });
  });

  test("a branch stays where it was installed until an update, and a rollback goes back", async () => {
    const installer = machine.installer(manifest());
    const first = await mustInstall(installer);
    await internet.comfyui.commit({ "comfyui_version.py": '__version__ = "0.9.2"\n' });
    expect((await mustInstall(installer)).release).toBe(first.release);
    const second = await mustInstall(installer, { update: true });
    expect(second.release).not.toBe(first.release);
    expect((await installer.status()).lock?.comfyui.version).toBe("0.9.2");
    expect(await installer.rollback(signal)).toMatchObject({
      kind: "rolled_back",
      from: second.release,
      to: first.release,
      hold: { by: "operator" },
    });
    expect((await installer.status()).lock?.comfyui.version).toBe("0.9.1");
    const text = await readFile(join(machine.places.root, "machine.lock.json"), "utf8");
    expect(JSON.parse(text)).toMatchObject({ release: first.release });
    // What was rolled back to stays: nobody asked for the new one again.
    expect((await mustInstall(installer)).release).toBe(first.release);
  });

  test("an update to a broken commit fails and leaves what serves", async () => {
    const installer = machine.installer(manifest());
    const first = await mustInstall(installer);
    await internet.comfyui.commit({ "main.py": "raise RuntimeError('broken on purpose')\n" });
    const outcome = await installer.install({ update: true, signal });
    expect(outcome).toMatchObject({ kind: "failed", serving: first.release });
    expect(describeOutcome(outcome)).toMatch(/release\.validate failed: .*broken on purpose/s);
    expect(await readlink(machine.places.current)).toContain(first.release ?? "?");
    // An install without update is content with what is there.
    expect((await mustInstall(installer)).release).toBe(first.release);
  });

  test("packs that want incompatible packages fail alone, named, before anything serves", async () => {
    const [a, b, c] = [
      await internet.repository("a", {
        ...packFiles(["A"]),
        "requirements.txt": "piston==1.0.0\n",
      }),
      await internet.repository("b", {
        ...packFiles(["B"]),
        "requirements.txt": "piston==2.0.0\n",
      }),
      await internet.repository("c", { ...packFiles(["C"]), "requirements.txt": "paint\n" }),
    ];
    const nodes = [a, c, b].map(({ url }) => ({
      name: url.split("/").at(-1),
      repo: url,
      ref: "main",
    }));
    const outcome = await machine.installer(manifest({ nodes })).install({ signal });
    expect(outcome.kind).toBe("failed");
    const failed = outcome.kind === "failed" ? outcome.results : [];
    const step = failed.find(({ outcome }) => outcome === "failed");
    expect(step?.id).toBe("python.resolve");
    expect(step?.detail).toMatch(/of the pack "a" and the pack "b" cannot be installed together/);
    expect(step?.detail).toMatch(/piston==1\.0\.0/);
    expect(step?.advice).toMatch(/optional: true/);

    // The same, where one may be absent.
    const relaxed = nodes.map((node) => (node.name === "b" ? { ...node, optional: true } : node));
    const installer = machine.installer(manifest({ nodes: relaxed }));
    await mustInstall(installer);
    const { lock } = await installer.status();
    expect(lock?.packages["piston"]).toBe("1.0.0");
    expect(lock?.nodes.map(({ name, missing }) => [name, missing === null])).toEqual([
      ["a", true],
      ["c", true],
      ["b", false],
    ]);
    expect(lock?.nodeClasses).not.toContain("B");
    machine.takeCalls();
    await mustInstall(installer);
    expect(machine.takeCalls()).toEqual([]);
  });

  test("a pack that cannot be imported fails the release, or is left out when it is optional", async () => {
    const bad = await internet.repository("bad", { "__init__.py": "import not_there\n" });
    const node = { name: "bad", repo: bad.url, ref: "main" };
    const outcome = await machine.installer(manifest({ nodes: [node] })).install({ signal });
    expect(outcome.kind).toBe("failed");
    expect(describeOutcome(outcome)).toMatch(/"bad" \(No module named 'not_there'\)/);

    const installer = machine.installer(manifest({ nodes: [{ ...node, optional: true }] }));
    await mustInstall(installer);
    expect((await installer.status()).lock?.nodes[0]?.missing).toMatch(/not_there/);
  });

  test("an optional pack that kills ComfyUI is found and left out, the others stay", async () => {
    const deadly = await internet.repository("deadly", {
      "__init__.py": "import os\nos._exit(3)\n",
    });
    const fine = await internet.repository("fine", packFiles(["Fine"]));
    const nodes = [deadly, fine].map(({ url }) => ({
      name: url.split("/").at(-1),
      repo: url,
      ref: "main",
      optional: true,
    }));
    const installer = machine.installer(manifest({ nodes }));
    await mustInstall(installer);
    const { lock } = await installer.status();
    expect(lock?.nodes.find(({ name }) => name === "deadly")?.missing).toMatch(/exit code 3/);
    expect(lock?.nodes.find(({ name }) => name === "fine")?.classes).toEqual(["Fine"]);
  });

  test("a class that is promised and not there fails the release", async () => {
    const pack = await internet.repository("thin", packFiles(["Thin"]));
    const nodes = [{ name: "thin", repo: pack.url, ref: "main", classes: ["Thin", "Thick"] }];
    const outcome = await machine.installer(manifest({ nodes })).install({ signal });
    expect(describeOutcome(outcome)).toMatch(/promises are not there: "thin": Thick/);
  });

  test("a script that changes a pinned package fails its pack, and the next run puts it back", async () => {
    const wheel = join(internet.wheels, "piston-1.0.0-py3-none-any.whl");
    const pack = await internet.repository("rude", {
      ...packFiles(["Rude"]),
      "install.py": `import glob, os, sysconfig, zipfile
site = sysconfig.get_path("purelib")
for path in glob.glob(os.path.join(site, "piston-*", "*")): os.remove(path)
for path in glob.glob(os.path.join(site, "piston-*")): os.rmdir(path)
zipfile.ZipFile(${JSON.stringify(wheel)}).extractall(site)
`,
    });
    const nodes = [{ name: "rude", repo: pack.url, ref: "main" }];
    const outcome = await machine.installer(manifest({ nodes })).install({ signal });
    expect(describeOutcome(outcome)).toMatch(
      /"rude" changed packages of others: piston is 1\.0\.0/,
    );
    const without = [{ ...nodes[0], installScript: false }];
    const installer = machine.installer(manifest({ nodes: without }));
    await mustInstall(installer);
    expect((await installer.status()).lock?.packages["piston"]).toBe("2.0.0");
  });

  test("torch keeps the build of its own index, and that index gives nothing else", async () => {
    const [main, own] = [join(folder.path, `main-${count}`), join(folder.path, `torch-${count}`)];
    await makeWheel(main, "engine", "2.0.0", ["piston"]);
    await makeWheel(main, "piston", "2.0.0");
    await makeWheel(main, "pip", "99.0.0");
    // What an ordinary index has: newer, and another build.
    await makeWheel(main, "torch", "2.9.0");
    await makeWheel(own, "torch", "2.8.0+cpu", ["piston"]);
    // What PyTorch's index has beside it: an old one of somebody else's.
    await makeWheel(own, "piston", "1.0.0");
    const [index, torchIndex] = [await serveIndex(main), await serveIndex(own)];
    const stubborn = await internet.repository("stubborn", {
      ...packFiles(["Stubborn"]),
      "requirements.txt": "torch>=2.9\n",
    });
    try {
      const wanted = {
        ...manifest({
          nodes: [{ name: "stubborn", repo: stubborn.url, ref: "main", optional: true }],
        }),
        python: { version: python, indexUrl: index.url },
        torch: { backend: "cpu", indexUrl: torchIndex.url, packages: ["torch"] },
      };
      const installer = machine.installer(wanted);
      await mustInstall(installer);
      const { lock } = await installer.status();
      expect(lock?.torch).toEqual({ backend: "cpu", version: "2.8.0+cpu" });
      expect(lock?.packages["piston"]).toBe("2.0.0");
      expect(lock?.nodes[0]?.missing).toMatch(/torch>=2\.9/);
      const call = machine.takeCalls().find(({ args }) => args.includes("compile"));
      expect(call?.args.join(" ")).not.toContain("http://");
    } finally {
      await Promise.all([index.close(), torchIndex.close()]);
    }
  });

  test("an index of torch that cannot be reached is told as it is", async () => {
    const torch = { backend: "cpu", indexUrl: "http://127.0.0.1:9/whl", packages: ["torch"] };
    const wanted = { ...manifest(), python: { version: python }, torch };
    const outcome = await machine.installer(wanted).install({ signal });
    expect(describeOutcome(outcome)).toMatch(
      /python\.resolve failed: [^]*torch[^]*http:\/\/127\.0\.0\.1:9\/whl[^]*Check the network and the indexes/,
    );
  });

  test("packages that somebody removed are put back", async () => {
    const installer = machine.installer(manifest());
    await mustInstall(installer);
    const lock = (await installer.status()).lock;
    const site = join(lock?.python.executable ?? "", "../../lib");
    const found = await readFile(join(site, "../pyvenv.cfg"), "utf8");
    const version = /version(?:_info)? = (\d+\.\d+)/.exec(found)?.[1] ?? "";
    const packages = join(site, `python${version}`, "site-packages");
    await rm(join(packages, "piston-2.0.0.dist-info"), { recursive: true });
    const outcome = await mustInstall(installer);
    expect(outcome.results.find(({ id }) => id === "python.packages")?.outcome).toBe("done");
    machine.takeCalls();
    await mustInstall(installer);
    expect(machine.takeCalls()).toEqual([]);
  });
});
