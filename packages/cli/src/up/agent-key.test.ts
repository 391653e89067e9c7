import { createServer, type Server } from "node:http";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { findAgentKey, requireWelcome, type AgentKeyFacts } from "./agent-key.ts";

const TOKEN = `hfe_${"0".repeat(26)}_${"A".repeat(43)}`;
const { signal } = new AbortController();
let folder = "";
let server: Server;
let baseUrl = "";
let answer: { readonly status: number; readonly body: unknown };
let asked: string[];
let terminal: RecordingTerminal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-key-"));
  asked = [];
  terminal = recordingTerminal();
  answer = { status: 200, body: { keyId: "key_1", key: "hf_secret" } };
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? "-"}`);
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

const refusal = (code: string, status: number) => ({
  status,
  body: { error: { code, message: `because ${code}`, requestId: "r" } },
});
const find = async (over: Partial<AgentKeyFacts> = {}): Promise<string | undefined> =>
  await findAgentKey({
    options: {},
    env: {},
    settings: { enrollToken: undefined },
    baseUrl,
    name: "box",
    home: folder,
    signal,
    terminal,
    ...over,
  });

describe("the key of an agent", () => {
  it("is the one that is given, a flag before the environment, a file's without blanks", async () => {
    const file = join(folder, "key");
    await writeFile(file, " hf_file \n");
    const env = { HOLDFAST_API_KEY: "hf_env" };
    expect(await find({ env })).toBe("hf_env");
    expect(await find({ env, options: { token: "hf_flag" } })).toBe("hf_flag");
    expect(await find({ env, options: { tokenFile: file } })).toBe("hf_file");
    expect(await find({ env: { HOLDFAST_API_KEY_FILE: file, HOLDFAST_API_KEY: " " } })).toBe(
      "hf_file",
    );
    expect(asked).toEqual([]);
  });

  it("that is named and cannot be read ends the command at once", async () => {
    await expect(find({ options: { tokenFile: join(folder, "none") } })).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/--token-file: .*none/) as string,
    });
  });

  it("is got for a one-time token, kept, and told; the next start needs none", async () => {
    expect(await find({ options: { enrollToken: TOKEN } })).toBe("hf_secret");
    expect(asked).toEqual(["POST /agent/v1/enroll -"]);
    expect(terminal.notes[0]).toContain(`this machine is enrolled at ${baseUrl}`);
    expect(await readFile(join(folder, "machine-key.json"), "utf8")).toContain("hf_secret");
    expect(await find()).toBe("hf_secret");
    expect(asked).toHaveLength(1);
  });

  it("comes by a token of the settings as well, and is nobody's without any", async () => {
    expect(await find()).toBeUndefined();
    const enrollToken = { kind: "text", text: TOKEN } as const;
    expect(await find({ settings: { enrollToken } })).toBe("hf_secret");
  });

  it.each(["enrolment_used", "enrolment_expired", "unauthorized"])(
    "is refused in words: %s",
    async (code) => {
      answer = refusal(code, 401);
      await expect(find({ options: { enrollToken: TOKEN } })).rejects.toMatchObject({
        exitCode: 2,
        code,
        message: `this machine cannot be enrolled: because ${code}`,
      });
    },
  );

  it("is waited for while the control plane is away, told once, until the end is asked for", async () => {
    const stop = new AbortController();
    answer = refusal("database_unavailable", 503);
    const finding = find({ options: { enrollToken: TOKEN }, signal: stop.signal });
    const failure = finding.catch((error: Error) => error.message);
    while (terminal.notes.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort(new Error("asked to stop"));
    expect(await failure).toBe("asked to stop");
    expect(terminal.notes).toHaveLength(1);
    expect(terminal.notes[0]).toContain(`waiting for ${baseUrl} to enrol this machine`);
  });
});

describe("whether a key will do", () => {
  it.each(["agent", "admin"])("one of role %s will", async (role) => {
    answer = { status: 200, body: { role } };
    await requireWelcome(baseUrl, "hf_key", signal);
    expect(asked).toEqual(["GET /api/v1/me Bearer hf_key"]);
  });

  it("one of another role will not, and which is needed is said", async () => {
    answer = { status: 200, body: { role: "user" } };
    await expect(requireWelcome(baseUrl, "hf_key", signal)).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/of role agent; this one is of role user/) as string,
    });
  });

  it("one that is refused ends the command", async () => {
    answer = refusal("unauthorized", 401);
    await expect(requireWelcome(baseUrl, undefined, signal)).rejects.toMatchObject({ exitCode: 2 });
  });

  it("a control plane that is away, ill or unclear is no reason to give up", async () => {
    answer = refusal("database_unavailable", 503);
    await requireWelcome(baseUrl, "hf_key", signal);
    answer = { status: 200, body: "not what was expected" };
    await requireWelcome(baseUrl, "hf_key", signal);
    await requireWelcome("http://127.0.0.1:1", "hf_key", signal);
    await requireWelcome(baseUrl, "hf_key", AbortSignal.abort(new Error("asked to stop")));
  });
});
