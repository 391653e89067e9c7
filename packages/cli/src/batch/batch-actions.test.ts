import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { book, bookPage } from "../../testing/book-facts.ts";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import { createProgram } from "../program.ts";

interface Call {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly key: unknown;
}
/** What is sent as JSON, or what answers. */
type Answer = object | ((response: ServerResponse) => void);

let server: Server;
let answers: Record<string, Answer>;
let calls: Call[];
let terminal: RecordingTerminal;
let folder: string;
const home = process.cwd();

beforeEach(async () => {
  answers = {};
  calls = [];
  terminal = recordingTerminal();
  folder = await mkdtemp(join(tmpdir(), "holdfast-batch-"));
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  process.chdir(home);
  process.exitCode = undefined;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = "", url: path = "" } = request;
  const body = await text(request);
  calls.push({
    method,
    path,
    body: body === "" ? undefined : (JSON.parse(body) as unknown),
    key: request.headers["idempotency-key"],
  });
  const given = answers[`${method} ${path}`];
  if (typeof given === "function") return given(response);
  response.statusCode = given === undefined ? 404 : 200;
  response.setHeader("content-type", "application/json");
  const missing = { error: { code: "not_found", message: "nothing is there" } };
  response.end(JSON.stringify(given ?? missing));
}

async function holdfast(...args: string[]): Promise<void> {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const program = createProgram({ terminal, env: { HOLDFAST_URL: url } });
  await program.parseAsync(["node", "holdfast", "batch", ...args]);
}

const ID = book().id;
const ENDED = book({ status: "completed" });

describe("holdfast batch", () => {
  it("makes a book under a key of its own and follows it", async () => {
    answers["POST /api/v1/batches"] = { batch: book(), created: true, warnings: ["page 1: x"] };
    answers[`GET /api/v1/batches/${ID}`] = ENDED;
    const [workflow, table] = [join(folder, "g.json"), join(folder, "t.csv")];
    await writeFile(workflow, '{"6": {"class_type": "A", "inputs": {}}}');
    await writeFile(table, "6.text\nx");
    await holdfast("create", "--workflow", workflow, "--table", table, "--in-order", "--follow");
    expect(calls[0]).toMatchObject({
      body: { table: { csv: "6.text\nx" }, parallel: false },
      key: expect.stringMatching(/^cli-/),
    });
    expect(terminal.notes[0]).toBe("warning: page 1: x");
    expect(terminal.lines).toEqual([expect.stringMatching(/^book 12 cats: completed/)]);
    expect(process.exitCode).toBe(EXIT.ok);
  });

  it("says that a book was made before under the caller's key", async () => {
    answers["POST /api/v1/batches"] = { batch: book(), created: false, warnings: [] };
    const file = join(folder, "b.json");
    await writeFile(file, '{"pages": []}');
    await holdfast("create", file, "--idempotency-key", "k");
    expect(calls[0]?.key).toBe("k");
    expect(terminal.lines[0]).toContain("(made before under this idempotency key)");
  });

  it("lists books page by page, and says when there are more", async () => {
    answers["GET /api/v1/batches?status=running&limit=2"] = { items: [book()], next: "c" };
    answers["GET /api/v1/batches?status=running&limit=1&cursor=c"] = { items: [book()], next: "d" };
    await holdfast("list", "--status", "running", "--limit", "2");
    expect(terminal.lines).toHaveLength(3);
    expect(terminal.notes).toEqual(["there are more: --limit 4"]);
  });

  it("shows a book with what to do about its flagged pages", async () => {
    answers["GET /api/v1/batches/12"] = book();
    await holdfast("show", "12");
    expect(terminal.lines.join("\n")).toMatch(
      /pages +10: 4 Done, 1 Needs attention.*\nprogress +50\.0 %/,
    );
    expect(terminal.notes[0]).toContain("holdfast batch pages 12 --status attention");
  });

  it("lists pages by state, also by what screens call it", async () => {
    answers["GET /api/v1/batches/12/pages?status=attention&limit=200"] = {
      items: [bookPage()],
      next: null,
    };
    await holdfast("pages", "12", "--status", "Needs attention");
    expect(terminal.lines[1]).toContain("memory/vram");
    await expect(holdfast("pages", "12", "--status", "x")).rejects.toThrow(
      /--status: expected one of/,
    );
  });

  it("exits 1 when a watched book needs attention", async () => {
    answers["GET /api/v1/batches/12"] = book({ status: "attention" });
    await holdfast("watch", "12", "--json");
    expect(JSON.parse(terminal.lines[0] ?? "")).toMatchObject({ status: "attention" });
    expect(process.exitCode).toBe(EXIT.failed);
  });

  it("renders pages once more: all that need it, some, or some with other values", async () => {
    const path = "POST /api/v1/batches/12";
    answers[`${path}/regenerate`] = { batch: book(), regenerated: [3, 7] };
    answers[`${path}/pages/4/regenerate`] = { batch: book(), regenerated: [4] };
    answers[`${path}/pages/5/regenerate`] = { batch: book(), regenerated: [5] };
    await holdfast("regenerate", "12");
    await holdfast("regenerate", "12", "--page", "3,7", "--force");
    await holdfast(
      "regenerate",
      "12",
      "--page",
      "4-5",
      "--prompt",
      "p",
      "--seed",
      "7",
      "--set",
      "style=oil",
    );
    expect(calls.map(({ body }) => body)).toEqual([
      {},
      { force: true, pages: [3, 7] },
      { prompt: "p", seed: 7, set: { style: "oil" } },
      { prompt: "p", seed: 7, set: { style: "oil" } },
    ]);
    expect(terminal.lines).toEqual([
      "pages 3, 7 once more",
      "pages 3, 7 once more",
      "pages 4, 5 once more",
    ]);
    await expect(holdfast("regenerate", "12", "--seed", "7")).rejects.toThrow(
      /expected --page beside/,
    );
  });

  it("tells which pages were done before one is refused", async () => {
    answers["POST /api/v1/batches/12/pages/4/regenerate"] = { batch: book(), regenerated: [4] };
    await expect(
      holdfast("regenerate", "12", "--page", "4,5", "--seed", "7"),
    ).rejects.toMatchObject({
      exitCode: EXIT.refused,
    });
    expect(terminal.notes).toEqual(["page 4 once more"]);
  });

  it("pauses, resumes, cancels, and goes on after one that is refused", async () => {
    answers["POST /api/v1/batches/12/pause"] = book({ status: "paused" });
    await holdfast("pause", "11", "12");
    expect(terminal.notes).toEqual(["11: not_found: nothing is there"]);
    expect(terminal.lines).toEqual([expect.stringContaining("book 12 cats: paused")]);
    expect(process.exitCode).toBe(EXIT.refused);
  });

  it("changes how urgent a book is, also to less than nothing", async () => {
    answers["PATCH /api/v1/batches/12"] = book({ priority: -5 });
    await holdfast("priority", "12", "-5");
    expect(calls[0]?.body).toEqual({ priority: -5 });
    expect(terminal.lines[0]).toMatch(/priority -5$/);
  });
});

describe("the archive of a book", () => {
  const archive = "GET /api/v1/batches/12/archive";
  const END = Buffer.from([0x50, 0x4b, 0x05, 0x06, 0, 0]);

  it("is written whole, and never over another file unless told so", async () => {
    answers[archive] = (response) => void response.end(Buffer.concat([Buffer.from("zip"), END]));
    const output = join(folder, "b.zip");
    await holdfast("archive", "12", "--output", output);
    expect((await readFile(output)).subarray(0, 3).toString()).toBe("zip");
    expect(process.exitCode).toBe(EXIT.ok);
    await expect(holdfast("archive", "12", "--output", output)).rejects.toThrow(/is there already/);
    await holdfast("archive", "12", "--output", output, "--force");
    expect(await readdir(folder)).toEqual(["b.zip"]);
  });

  it("is not written when it is cut, or refused", async () => {
    const output = join(folder, "b.zip");
    const fetch = (): Promise<void> => holdfast("archive", "12", "--output", output);
    await expect(fetch()).rejects.toMatchObject({ exitCode: EXIT.refused });
    answers[archive] = (response) => void response.end("zip without an end");
    await expect(fetch()).rejects.toMatchObject({ exitCode: EXIT.unavailable });
    answers[archive] = (response) => {
      response.write("zip");
      setImmediate(() => response.destroy());
    };
    await expect(fetch()).rejects.toMatchObject({ exitCode: EXIT.unavailable });
    expect(await readdir(folder)).toEqual([]);
  });

  it("is called after the book, in the folder where one is", async () => {
    answers[archive] = (response) => void response.end(END);
    answers["GET /api/v1/batches/12"] = book();
    process.chdir(folder);
    await holdfast("archive", "12");
    expect(terminal.lines).toEqual(["book-12.zip"]);
    await expect(holdfast("archive", "12")).rejects.toThrow(/book-12\.zip is there already/);
    await holdfast("archive", "12", "--force");
    expect(await readdir(folder)).toEqual(["book-12.zip"]);
  });

  it("exits 5 when the server missed files", async () => {
    answers[archive] = (response) =>
      void response.end(Buffer.concat([Buffer.from("…MISSING.txt…"), END]));
    await holdfast("archive", "12", "--output", join(folder, "b.zip"));
    expect(process.exitCode).toBe(EXIT.outputsMissing);
  });
});
