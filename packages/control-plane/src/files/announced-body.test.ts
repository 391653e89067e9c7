import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { hashed } from "./announced-body.ts";
import type { PutBlob } from "./model.ts";

const BYTES = Buffer.from("hello world");
const announced = (body: PutBlob["body"]): PutBlob => ({
  sha256: createHash("sha256").update(BYTES).digest("hex"),
  sizeBytes: BYTES.length,
  body,
});
async function* halves(): AsyncGenerator<Uint8Array> {
  yield BYTES.subarray(0, 5);
  yield BYTES.subarray(5);
}

test("a body that is what was announced is fine", async () => {
  const { body, outcome } = hashed(announced(halves()));
  for await (const _ of body);
  expect(outcome()).toEqual({ kind: "fine" });
});

test("a body that breaks off has failed, with its own error", async () => {
  const gone = new Error("gone away");
  const { body, outcome } = hashed(
    announced(
      (async function* () {
        yield BYTES.subarray(0, 5);
        throw gone;
      })(),
    ),
  );
  const read = async (): Promise<void> => {
    for await (const _ of body);
  };
  await expect(read()).rejects.toBe(gone);
  expect(outcome()).toEqual({ kind: "body_failed", error: gone });
});

test("a reader that gives up in the middle is not the body's failure", async () => {
  const { body, outcome } = hashed(announced(halves()));
  const stream = Readable.from(body);
  await new Promise((resolve) => {
    stream.once("data", resolve);
  });
  const closed = new Promise((resolve) => {
    stream.once("error", () => undefined).once("close", resolve);
  });
  stream.destroy(new Error("the server went away"));
  await closed;
  expect(outcome()).toEqual({ kind: "fine" });
});
