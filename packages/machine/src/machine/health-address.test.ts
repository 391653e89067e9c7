import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { leaveHealthAddress, readHealthAddress, removeHealthAddress } from "./health-address.ts";

let folder = "";
let file = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-address-"));
  file = join(folder, "machine", "health.json");
});
afterEach(() => rm(folder, { recursive: true }));

test("an address is found by whoever asks, until its agent takes it away", async () => {
  expect(await readHealthAddress(file)).toBeUndefined();
  const address = { url: "http://127.0.0.1:9090", pid: 7 };
  await leaveHealthAddress(file, address);
  expect(await readHealthAddress(file)).toEqual(address);
  await removeHealthAddress(file, 7);
  expect(await readHealthAddress(file)).toBeUndefined();
});

test("an agent that ends leaves another's address alone", async () => {
  await leaveHealthAddress(file, { url: "http://127.0.0.1:9091", pid: 8 });
  await removeHealthAddress(file, 7);
  expect((await readHealthAddress(file))?.pid).toBe(8);
});

test.each(["", "{", '{"url":"nowhere","pid":7}', '{"url":"http://x/","pid":"7"}'])(
  "%j is no address",
  async (text) => {
    await leaveHealthAddress(file, { url: "http://127.0.0.1:1", pid: 1 });
    await writeFile(file, text);
    expect(await readHealthAddress(file)).toBeUndefined();
  },
);
