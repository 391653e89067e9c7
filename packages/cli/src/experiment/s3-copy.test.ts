import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { readSettings } from "../up/settings.ts";
import { openS3Copy } from "./s3-copy.ts";

let folder: string;
let server: Server;
let endpoint: string;
/** What was put, by the path of its request. */
const objects = new Map<string, Buffer>();
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-s3-"));
  objects.clear();
  server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://s3").pathname;
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
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

it("puts a picture under its hash, where the URL says that it is", async () => {
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
  const store = await openS3Copy("s3://pictures/castle", settings, systemClock);
  const path = join(folder, "x.png");
  await writeFile(path, "a picture");
  const sha256 = createHash("sha256").update("a picture").digest("hex");
  const kept = await store.keep({ path, sha256, sizeBytes: 9 });
  await store.close();
  const key = `castle/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
  expect(kept).toEqual({ kind: "kept", url: `s3://pictures/${key}` });
  expect(objects.get(`/pictures/${key}`)?.toString()).toBe("a picture");
});
