import { chmod, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { EnrollRequest } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, it } from "vitest";
import { temporaryFolder } from "../../../test/support/processes.ts";
import { enrollMachine, readMachineKey } from "./enroll.ts";

const TOKEN = `hfe_${"0".repeat(26)}_${"a".repeat(43)}`;
const ANSWER = { keyId: "key_1", key: "hf_secret" };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: Server;
let url: string;
const asked: EnrollRequest[] = [];
let answers: { readonly status: number; readonly body: object | "cut" }[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  asked.length = 0;
  answers = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece: Buffer) => (body += piece.toString()));
    request.on("end", () => {
      asked.push(JSON.parse(body) as EnrollRequest);
      const answer = answers.shift() ?? { status: 200, body: ANSWER };
      if (answer.body === "cut") {
        request.socket.destroy();
        return;
      }
      response.writeHead(answer.status, { "content-type": "application/json" });
      response.end(JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  await folder.remove();
});

const state = (): string => join(folder.path, "agent");
const enroll = (more: Partial<Parameters<typeof enrollMachine>[0]> = {}) =>
  enrollMachine({
    baseUrl: url,
    token: TOKEN,
    machineName: "box",
    stateDir: state(),
    clock: systemClock,
    random: seededRandom(1),
    signal: new AbortController().signal,
    ...more,
  });
const refused = (status: number, code: string) => ({
  status,
  body: { error: { code, message: "no", requestId: "r" } },
});

it("keeps the key for its owner alone, and asks only once", async () => {
  expect(await enroll()).toEqual({ ...ANSWER, isNew: true });
  expect(await enroll()).toEqual({ ...ANSWER, isNew: false });
  expect(await readMachineKey(state())).toEqual(ANSWER);
  expect(asked).toHaveLength(1);
  expect(asked[0]).toMatchObject({ token: TOKEN, machineName: "box" });
  expect((await stat(join(state(), "machine-key.json"))).mode & 0o777).toBe(0o600);
  expect((await stat(state())).mode & 0o777).toBe(0o700);
  // Nothing half written is left.
  expect((await readdir(state())).sort()).toEqual(["enrolment.json", "machine-key.json"]);
});

it("asks with the same nonce until it is answered, also after a kill", async () => {
  answers = [
    { status: 200, body: "cut" },
    refused(503, "database_unavailable"),
    refused(429, "rate_limited"),
  ];
  const troubles: number[] = [];
  await enroll({ onTrouble: (_error, attempt) => void troubles.push(attempt) });
  expect(troubles).toEqual([1, 2, 3]);
  const nonces = new Set(asked.map(({ nonce }) => nonce));
  expect(asked).toHaveLength(4);
  expect(nonces.size).toBe(1);
}, 20_000);

it("a process that is killed before it had the answer leaves the nonce to the next", async () => {
  answers = [{ status: 200, body: "cut" }];
  const stop = new AbortController();
  await expect(
    enroll({ signal: stop.signal, onTrouble: () => stop.abort(new Error("killed")) }),
  ).rejects.toThrow();
  const kept = await readFile(join(state(), "enrolment.json"), "utf8");
  expect(kept).not.toContain(TOKEN);
  expect((await stat(join(state(), "enrolment.json"))).mode & 0o777).toBe(0o600);
  await enroll();
  expect(asked[1]?.nonce).toBe(asked[0]?.nonce);
});

it("another token is another enrolment of the same machine: its nonce stays", async () => {
  answers = [refused(410, "enrolment_expired")];
  await expect(enroll()).rejects.toMatchObject({ code: "enrolment_expired" });
  await enroll({ token: TOKEN.replace("aaa", "bbb") });
  await enroll({ token: TOKEN.replace("aaa", "ccc") });
  expect(asked[1]?.nonce).toBe(asked[0]?.nonce);
  expect(asked[2]?.nonce).toBe(asked[0]?.nonce);
});

it("a new token for a machine that has a key gets a new one; a token that is over leaves the old", async () => {
  await enroll();
  const other = TOKEN.replace("aaa", "bbb");
  answers = [{ status: 200, body: { keyId: "key_2", key: "hf_other" } }];
  expect(await enroll({ token: other })).toMatchObject({ keyId: "key_2", isNew: true });
  answers = [refused(409, "enrolment_used")];
  const over = TOKEN.replace("aaa", "ccc");
  expect(await enroll({ token: over })).toMatchObject({ keyId: "key_2", isNew: false });
  expect(await readMachineKey(state())).toMatchObject({ key: "hf_other" });
  expect(asked).toHaveLength(3);
});

it.each([
  [409, "enrolment_used"],
  [410, "enrolment_expired"],
  [401, "unauthorized"],
  [403, "forbidden"],
])("a refusal (%i) is told at once, and nothing is kept", async (status, code) => {
  answers = [refused(status, code)];
  await expect(enroll()).rejects.toMatchObject({ code });
  expect(asked).toHaveLength(1);
  expect(await readMachineKey(state())).toBeUndefined();
});

it("what is no token is not sent anywhere", async () => {
  await expect(enroll({ token: "hf_secret" })).rejects.toThrow(/expected a one-time token/);
  expect(asked).toEqual([]);
});

it("a file that is no key is told in words, not taken for none", async () => {
  await enroll();
  await writeFile(join(state(), "machine-key.json"), "{}");
  await expect(enroll()).rejects.toThrow(/remove the file and enrol the machine anew/);
});

it("a folder that cannot be written is told before the token is used", async () => {
  const { getuid } = process;
  if (getuid?.() === 0) return; // Root writes everywhere.
  await chmod(folder.path, 0o500);
  await expect(enroll()).rejects.toMatchObject({ code: "EACCES" });
  expect(asked).toEqual([]);
  await chmod(folder.path, 0o700);
  await rm(state(), { recursive: true, force: true });
});
