import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { strToU8, zipSync } from "fflate";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { StepContext } from "./model.ts";
import { createRunProgram } from "./run-program.ts";
import { createUvTool, hostPlatform, uvStep, type UvTool, type UvToolOptions } from "./uv-tool.ts";

/** A "uv" that tells its version. */
const program = (version: string): string => `#!/bin/sh\necho "uv ${version} (test)"\n`;
const wheelOf = (
  version: string,
  files = { [`uv-${version}.data/scripts/uv`]: program(version) },
) =>
  Buffer.from(
    zipSync(Object.fromEntries(Object.entries(files).map(([name, text]) => [name, strToU8(text)]))),
  );
const TAGS =
  "manylinux_2_17_x86_64.manylinux_2_17_aarch64.musllinux_1_1_x86_64.musllinux_1_1_aarch64.macosx_11_0_arm64.macosx_10_12_x86_64";
const nameOf = (version: string): string => `uv-${version}-py3-none-${TAGS}.whl`;

let folder: string;
let server: Server | undefined;
const asked: { url: string; authorization: string | undefined }[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-uv-"));
});
afterEach(async () => {
  asked.splice(0);
  await new Promise((resolve) => (server === undefined ? resolve(0) : server.close(resolve)));
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** An index with one wheel of uv; answers its URL. */
async function serve(wheel: Buffer, sha256?: string): Promise<string> {
  const hash = sha256 ?? createHash("sha256").update(wheel).digest("hex");
  const made = createServer((request, response) => {
    asked.push({ url: request.url ?? "", authorization: request.headers.authorization });
    if (request.url === "/simple/uv/") {
      response.setHeader("content-type", "application/vnd.pypi.simple.v1+json");
      const files = [{ filename: nameOf("0.9.1"), url: "/f/uv.whl", hashes: { sha256: hash } }];
      response.end(JSON.stringify({ files }));
    } else if (request.url === "/f/uv.whl") response.end(wheel);
    else response.writeHead(404).end();
  });
  server = made;
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(made.address() as AddressInfo).port}/simple`;
}

const tool = (more: Partial<UvToolOptions> = {}): UvTool =>
  createUvTool({
    configured: undefined,
    tools: join(folder, "tools"),
    machineRoot: folder,
    run: createRunProgram(systemClock),
    hostEnvironment: { PATH: "/usr/bin:/bin" },
    platform: hostPlatform(),
    indexUrl: undefined,
    findLinks: [],
    noIndex: false,
    ...more,
  });
const { signal } = new AbortController();
const context: StepContext = { signal, progress: () => undefined, log: () => undefined };
const putUv = async (name: string, version: string): Promise<string> => {
  await mkdir(join(folder, name), { recursive: true });
  const file = join(folder, name, "uv");
  await writeFile(file, program(version));
  await chmod(file, 0o755);
  return file;
};

describe("uv", () => {
  test("is installed from the index, its hash checked, and found the next time", async () => {
    const indexUrl = (await serve(wheelOf("0.9.1"))).replace("http://", "http://me:pw@");
    const step = uvStep(tool({ indexUrl }), () => Promise.resolve(true));
    expect(await step.check(context)).toMatchObject({ kind: "needed" });
    await step.apply(context);
    await step.verify(context);
    expect(await readdir(join(folder, "tools"))).toEqual(["uv-0.9.1"]);
    const pair = Buffer.from("me:pw").toString("base64");
    expect(asked.map(({ authorization }) => authorization)).toEqual([
      `Basic ${pair}`,
      `Basic ${pair}`,
    ]);
    const again = uvStep(tool({ indexUrl }), () => Promise.resolve(true));
    expect(await again.check(context)).toMatchObject({ kind: "done" });
    expect(asked).toHaveLength(2);
  });

  test("is not looked for when nothing needs it", async () => {
    const step = uvStep(tool(), () => Promise.resolve(false));
    expect(await step.check(context)).toEqual({ kind: "done", detail: "not needed" });
  });

  test("with another hash than the index says is not installed", async () => {
    const indexUrl = await serve(wheelOf("0.9.1"), "0".repeat(64));
    await expect(tool({ indexUrl }).ensure(signal, () => undefined)).rejects.toThrow(
      /has the SHA-256 .* and the index says 0000/,
    );
    expect(await readdir(folder)).toEqual([]);
  });

  test("that has no program in it, or does not run, is not installed", async () => {
    const empty = await serve(wheelOf("0.9.1", { "uv-0.9.1.data/other": "" }));
    await expect(tool({ indexUrl: empty }).ensure(signal, () => undefined)).rejects.toThrow(
      /has no program uv/,
    );
    await new Promise((resolve) => server?.close(resolve));
    const broken = wheelOf("0.9.1", { "uv-0.9.1.data/scripts/uv": "#!/bin/sh\nexit 1\n" });
    const indexUrl = await serve(broken);
    await expect(tool({ indexUrl }).ensure(signal, () => undefined)).rejects.toThrow(
      /does not run on this machine/,
    );
    expect(await tool().find(signal)).toBeUndefined();
  });

  test("comes from a folder where there is no index, or the folder's lack is told", async () => {
    const wheels = join(folder, "wheels");
    const offline = { noIndex: true, findLinks: [`file://${wheels}`, "https://page/"] };
    await expect(tool(offline).ensure(signal, () => undefined)).rejects.toThrow(
      /python\.noIndex is set, and none of/,
    );
    await mkdir(wheels);
    await writeFile(join(wheels, nameOf("0.9.1")), wheelOf("0.9.1"));
    expect(await tool(offline).ensure(signal, () => undefined)).toMatchObject({
      version: "0.9.1",
      origin: "tools",
    });
  });

  test("an index that cannot be reached, or knows no uv, is told", async () => {
    await expect(
      tool({ indexUrl: "http://127.0.0.1:9/simple" }).ensure(signal, () => undefined),
    ).rejects.toThrow(/http:\/\/127\.0\.0\.1:9\/simple\/uv\/ cannot be reached/);
    const indexUrl = await serve(wheelOf("0.9.1"));
    await expect(
      tool({ indexUrl: `${indexUrl}/none` }).ensure(signal, () => undefined),
    ).rejects.toThrow(/answered 404/);
    await expect(
      tool({ indexUrl, platform: { os: "linux", machine: "x86_64", glibc: "2.5" } }).ensure(
        signal,
        () => undefined,
      ),
    ).rejects.toThrow(/has no wheel of uv with a SHA-256 for linux x86_64 \(glibc 2\.5\)/);
    await expect(
      tool({ indexUrl, platform: undefined }).ensure(signal, () => undefined),
    ).rejects.toThrow(/has no wheel for/);
  });

  test("of the settings comes before one on the path, which comes before one of ours", async () => {
    await putUv("tools/uv-0.9.0", "0.9.0");
    expect(await tool().find(signal)).toMatchObject({ version: "0.9.0", origin: "tools" });
    await putUv("bin", "0.8.5");
    const hostEnvironment = { PATH: `${join(folder, "bin")}:/usr/bin:/bin` };
    expect(await tool({ hostEnvironment }).find(signal)).toMatchObject({ origin: "path" });
    const configured = await putUv("own", "0.8.7");
    expect(await tool({ hostEnvironment, configured }).find(signal)).toMatchObject({
      version: "0.8.7",
      origin: "configured",
    });
    const old = await putUv("old", "0.1.0");
    await expect(tool({ configured: old }).find(signal)).rejects.toThrow(
      /is not uv 0\.8\.0 or newer/,
    );
    await putUv("bin", "0.1.0");
    expect(await tool({ hostEnvironment }).find(signal)).toMatchObject({ origin: "tools" });
  });
});
