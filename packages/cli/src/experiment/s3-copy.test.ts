import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { readSettings } from "../up/settings.ts";
import { openS3Copy } from "./s3-copy.ts";

let folder: string;
let server: Server;
let endpoint: string;
/** What was put, by the path of its request. */
const objects = new Map<string, Buffer>();
/** A refusal of whatever is put. */
let refusal: { readonly status: number; readonly code: string } | undefined;
let puts = 0;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-s3-"));
  objects.clear();
  refusal = undefined;
  puts = 0;
  server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://s3").pathname;
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      if (request.method === "PUT") puts += 1;
      if (request.method === "PUT" && refusal !== undefined) {
        response.writeHead(refusal.status, { "content-type": "application/xml" });
        response.end(`<Error><Code>${refusal.code}</Code><Message>no</Message></Error>`);
        return;
      }
      if (request.method === "PUT") objects.set(path, Buffer.concat(pieces));
      const found = objects.get(path);
      response.writeHead(found === undefined ? 404 : 200, {
        ...(request.method === "HEAD" && { "content-length": String(found?.length ?? 0) }),
      });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

/** Keeps a picture there; what came of it. */
async function keeping(clock: Clock = systemClock) {
  const settings = readSettings(
    {},
    {
      terminal: recordingTerminal(),
      env: {
        HOLDFAST_HOME: folder,
        HOLDFAST_S3_ENDPOINT: endpoint,
        HOLDFAST_S3_ACCESS_KEY_ID: "key",
        HOLDFAST_S3_SECRET_ACCESS_KEY: "secret",
      },
    },
  );
  const store = await openS3Copy("s3://pictures/castle", settings, clock);
  const path = join(folder, "x.png");
  await writeFile(path, "a picture");
  const sha256 = createHash("sha256").update("a picture").digest("hex");
  const kept = await store.keep({ path, sha256, sizeBytes: 9 });
  await store.close();
  return { kept, key: `castle/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}` };
}

it("puts a picture under its hash, where the URL says that it is", async () => {
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on("warning", onWarning);
  const { kept, key } = await keeping();
  process.off("warning", onWarning);
  expect(kept).toEqual({ kind: "kept", url: `s3://pictures/${key}` });
  expect(objects.get(`/pictures/${key}`)?.toString()).toBe("a picture");
  // The SDK's own about this Node.
  expect(warnings).toEqual([]);
});

it.each([
  [404, "NoSuchBucket", "there is no such bucket"],
  [403, "SignatureDoesNotMatch", "it refused our credentials"],
  [403, "AccessDenied", "our credentials may not do this"],
])(
  "is told apart from a store that is away where it refuses: %i %s",
  async (status, code, words) => {
    refusal = { status, code };
    const { kept } = await keeping();
    expect(kept).toMatchObject({ kind: "refused", reason: expect.stringContaining(words) });
    // Asked once more: it may have been something on the way.
    expect(puts).toBe(2);
  },
);

it("tries again for a while where the store is away", async () => {
  refusal = { status: 503, code: "SlowDown" };
  const clock = createFakeClock();
  let kept: unknown;
  const over = keeping(clock).then((one) => (kept = one.kept));
  while (kept === undefined) {
    await clock.advanceToNext();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await over;
  expect(kept).toMatchObject({ kind: "unavailable" });
  expect(puts).toBeGreaterThanOrEqual(4);
});
