import { createServer, type AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkOpening, listenSomewhere, type HealthAddress, type OpenPort } from "./listen.ts";

const taken = (...ports: number[]): OpenPort => {
  return async (_host, port) => {
    if (ports.includes(port)) throw Object.assign(new Error("in use"), { code: "EADDRINUSE" });
    return port === 0 ? 45_678 : port;
  };
};
const address = (over: Partial<HealthAddress> = {}): HealthAddress => ({
  host: "127.0.0.1",
  port: undefined,
  tokenFile: undefined,
  ...over,
});

describe("the port", () => {
  test("is the default, or the next free one, and the move is told", async () => {
    expect(await listenSomewhere(address(), taken())).toEqual({
      host: "127.0.0.1",
      port: 9_090,
      url: "http://127.0.0.1:9090",
      movedFrom: null,
    });
    const moved = await listenSomewhere(address(), taken(9_090, 9_091));
    expect(moved.port).toBe(9_092);
    expect(moved.movedFrom?.port).toBe(9_090);
  });

  test("that was named is the only one, and whoever has it is named", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => {
      other.listen(0, "127.0.0.1", resolve);
    });
    const { port } = other.address() as AddressInfo;
    await expect(listenSomewhere(address({ port }), taken(port))).rejects.toThrow(
      process.platform === "linux"
        ? new RegExp(`port ${port} .* is taken by process ${process.pid} `)
        : new RegExp(`port ${port} .* is taken by`),
    );
    await new Promise((resolve) => void other.close(resolve));
    expect((await listenSomewhere(address({ port: 0 }), taken())).port).toBe(45_678);
  });

  test("when all twenty-one are taken, any free one will do, and the move is told", async () => {
    const all = Array.from({ length: 21 }, (_, n) => 9_090 + n);
    const moved = await listenSomewhere(address(), taken(...all));
    expect(moved.port).toBe(45_678);
    expect(moved.movedFrom?.port).toBe(9_090);
    await expect(listenSomewhere(address(), taken(0, ...all))).rejects.toThrow(
      /no free port for the health server.*HOLDFAST_HEALTH_PORT/,
    );
  });

  test.each([
    ["EACCES", /take one from 1024 on/],
    ["EADDRNOTAVAIL", /not of this machine/],
    ["EODD", /port 9090: odd/],
  ])("%s is told in words, and no other port is tried", async (code, expected) => {
    const failing: OpenPort = async () => {
      throw Object.assign(new Error("odd"), { code });
    };
    await expect(listenSomewhere(address(), failing)).rejects.toThrow(expected);
  });

  test("the address told is one that can be asked", async () => {
    const urls = await Promise.all(
      ["localhost", "0.0.0.0", "::", "::1"].map(
        async (host) => (await listenSomewhere(address({ host }), taken())).url,
      ),
    );
    expect(urls).toEqual([
      "http://127.0.0.1:9090",
      "http://127.0.0.1:9090",
      "http://127.0.0.1:9090",
      "http://[::1]:9090",
    ]);
  });
});

describe("an address that others can reach", () => {
  let folder = "";
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "hf-open-"))));
  afterAll(() => rm(folder, { recursive: true }));

  test.each(["0.0.0.0", "::", "192.168.1.5", "gpu-box.local"])(
    "%s is not opened without a token",
    async (host) => {
      await expect(checkOpening(address({ host }))).rejects.toThrow(/no token guards it/);
    },
  );

  test("nor with one that cannot be used; on loopback that is a warning", async () => {
    const tokenFile = join(folder, "short");
    await writeFile(tokenFile, "abc", { mode: 0o600 });
    await expect(checkOpening(address({ host: "0.0.0.0", tokenFile }))).rejects.toThrow(
      /its token cannot be used: .*holds only 3 characters/,
    );
    expect((await checkOpening(address({ tokenFile }))).warning).toMatch(/holds only 3/);
    expect(await checkOpening(address())).toEqual({ warning: null });
  });

  test("is opened with a token; one that others can read is warned of", async () => {
    const tokenFile = join(folder, "good");
    await writeFile(tokenFile, "0123456789abcdef", { mode: 0o600 });
    expect(await checkOpening(address({ host: "0.0.0.0", tokenFile }))).toEqual({ warning: null });
    const open = join(folder, "open");
    await writeFile(open, "0123456789abcdef", { mode: 0o644 });
    expect((await checkOpening(address({ host: "::", tokenFile: open }))).warning).toMatch(
      /chmod 600/,
    );
  });
});
