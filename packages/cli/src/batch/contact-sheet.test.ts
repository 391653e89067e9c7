import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { book } from "../../testing/book-facts.ts";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import { createProgram } from "../program.ts";

type Answer = (response: ServerResponse) => void;

const SHEET = "/api/v1/batches/12/contact-sheet?limit=10000&standalone=true";
const content = (id: string): string => `/api/v1/outputs/${id}/content`;
const picture = (id: string, page = 1): string =>
  `<a href="${content(id)}"><img src="${content(id)}" alt="Page ${page}" loading="lazy"></a>`;
const video = `<p><a href="${content("out_v")}">a.mp4</a></p>`;

const home = process.cwd();
let server: Server;
let answers: Record<string, Answer>;
let asked: { readonly path: string; readonly key: string | undefined }[];
let most: number;
let terminal: RecordingTerminal;
let folder: string;

beforeEach(async () => {
  answers = { "/api/v1/batches/12": (response) => void response.end(JSON.stringify(book())) };
  asked = [];
  most = 0;
  let now = 0;
  terminal = recordingTerminal();
  folder = await mkdtemp(join(tmpdir(), "holdfast-sheet-"));
  server = createServer((request, response) => {
    const { url: path = "", headers } = request;
    asked.push({ path, key: headers.authorization });
    most = Math.max(most, (now += 1));
    response.once("close", () => (now -= 1));
    const answer = answers[path];
    if (answer !== undefined) return answer(response);
    response.statusCode = 404;
    response.end('{"error": {"code": "not_found", "message": "it is no longer in the store"}}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  process.chdir(home);
  process.exitCode = undefined;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

const urlOf = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

async function contactSheet(...args: string[]): Promise<void> {
  const env = { HOLDFAST_URL: urlOf(), HOLDFAST_API_KEY: "hf_key" };
  const program = createProgram({ terminal, env });
  await program.parseAsync(["node", "holdfast", "batch", "contact-sheet", "12", ...args]);
}

const showing = (...parts: string[]): Answer => {
  return (response) => void response.end(`<main>${parts.join("\n")}</main></html>\n`);
};
const png =
  (bytes = "png"): Answer =>
  (response) => {
    response.setHeader("content-type", "image/png");
    setTimeout(() => response.end(bytes), 5);
  };
const written = (name = "s.html"): Promise<string> => readFile(join(folder, name), "utf8");

describe("a saved contact sheet", () => {
  it("has its pictures in a folder beside it, also behind a key", async () => {
    answers[SHEET] = showing(picture("out_a"), picture("out_b", 2), video);
    answers[content("out_a")] = png("one");
    answers[content("out_b")] = png("two");
    await contactSheet("--output", join(folder, "s.html"));
    expect(await written()).toContain(
      '<a href="s_files/out_a.png"><img src="s_files/out_a.png" alt="Page 1" loading="lazy"></a>',
    );
    // What is no picture stays where it is.
    expect(await written()).toContain(`<a href="${urlOf()}${content("out_v")}">a.mp4</a>`);
    expect(await readdir(folder)).toEqual(["s.html", "s_files"]);
    expect(await written("s_files/out_b.png")).toBe("two");
    expect(asked.every(({ key }) => key === "Bearer hf_key")).toBe(true);
    expect(terminal.lines).toEqual([join(folder, "s.html")]);
    expect(terminal.notes).toEqual(["2 pictures (6 B) in s_files"]);
    expect(process.exitCode).toBe(EXIT.ok);
  });

  it("is called after the book, in the folder where one is, and replaces nothing by itself", async () => {
    answers[SHEET] = showing(picture("out_a"));
    answers[content("out_a")] = png();
    process.chdir(folder);
    await contactSheet();
    expect(await readdir(folder)).toEqual(["book-12.html", "book-12_files"]);
    await expect(contactSheet()).rejects.toThrow(/book-12\.html is there already/);
    await rm(join(folder, "book-12.html"));
    await expect(contactSheet()).rejects.toThrow(/book-12_files is there already/);
    await writeFile(join(folder, "book-12_files", "mine.txt"), "mine");
    answers[content("out_a")] = png("new");
    await contactSheet("--force");
    expect(await written("book-12_files/out_a.png")).toBe("new");
    // By force pictures are replaced, not what somebody else has put there.
    expect(await written("book-12_files/mine.txt")).toBe("mine");
    expect(await readdir(folder)).toEqual(["book-12.html", "book-12_files"]);
  });

  it("shows a picture that could not be fetched as missing, and says so", async () => {
    answers[SHEET] = showing(picture("out_a"), picture("out_b", 2));
    answers[content("out_a")] = png();
    await contactSheet("--output", join(folder, "s.html"));
    expect(await written()).toContain(
      '<span class="missing">Page 2: this picture could not be fetched (it is no longer in the store)</span>',
    );
    expect(await written()).not.toContain("out_b");
    expect(terminal.notes).toContain(
      "1 of 2 pictures could not be fetched and is shown as missing: it is no longer in the store",
    );
    expect(process.exitCode).toBe(EXIT.outputsMissing);
  });

  it("leaves nothing of a picture that is cut, and fetches it again", async () => {
    answers[SHEET] = showing(picture("out_a"), picture("out_b", 2));
    const cut: Answer = (response) => {
      response.setHeader("content-type", "image/png");
      response.setHeader("content-length", "100");
      response.write("half");
      setTimeout(() => response.destroy(), 5);
    };
    answers[content("out_a")] = (response) => {
      answers[content("out_a")] = png("whole");
      cut(response);
    };
    answers[content("out_b")] = cut;
    await contactSheet("--output", join(folder, "s.html"));
    expect(await written("s_files/out_a.png")).toBe("whole");
    expect(await readdir(join(folder, "s_files"))).toEqual(["out_a.png"]);
    expect(terminal.notes.at(-1)).toMatch(/1 of 2 pictures .*: the connection was cut$/);
  });

  it("is asked for some pictures at a time", async () => {
    const ids = Array.from({ length: 30 }, (_, n) => `out_${n}`);
    answers[SHEET] = showing(...ids.map((id, n) => picture(id, n)));
    for (const id of ids) answers[content(id)] = png();
    await contactSheet("--output", join(folder, "s.html"));
    expect(await readdir(join(folder, "s_files"))).toHaveLength(30);
    expect(most).toBeLessThanOrEqual(4);
  });

  it("gives up the pictures that are left when the server goes away", async () => {
    const ids = Array.from({ length: 200 }, (_, n) => `out_${n}`);
    answers[SHEET] = (response) => {
      showing(...ids.map((id, n) => picture(id, n)))(response);
      response.once("close", () => server.close());
      response.once("finish", () => server.closeAllConnections());
    };
    await contactSheet("--output", join(folder, "s.html"));
    expect((await written()).match(/class="missing"/g)).toHaveLength(200);
    expect(await readdir(folder)).toEqual(["s.html"]);
    expect(terminal.notes.at(-1)).toMatch(/^200 of 200 pictures/);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  it("that is cut, or that cannot be written, leaves nothing", async () => {
    answers[SHEET] = (response) => void response.end("<html>");
    const fetch = (...args: string[]): Promise<void> =>
      contactSheet("--output", join(folder, "s.html"), ...args);
    await expect(fetch()).rejects.toMatchObject({ exitCode: EXIT.unavailable });
    expect(await readdir(folder)).toEqual([]);
    answers[SHEET] = showing(picture("out_a"));
    answers[content("out_a")] = (response) => {
      // Somebody else takes the name meanwhile.
      void mkdir(join(folder, "s.html")).then(() => png()(response));
    };
    await expect(fetch()).rejects.toMatchObject({ exitCode: EXIT.refused });
    expect(await readdir(folder)).toEqual(["s.html"]);
  });

  it("leaves nothing when it is stopped by Ctrl-C", async () => {
    answers[SHEET] = showing(picture("out_a"), picture("out_b"));
    answers[content("out_a")] = (response) => {
      response.setHeader("content-type", "image/png");
      response.write("half");
      setTimeout(() => process.emit("SIGINT"), 20);
    };
    answers[content("out_b")] = png();
    await expect(contactSheet("--output", join(folder, "s.html"))).rejects.toMatchObject({
      exitCode: EXIT.interrupted,
      message: "stopped; nothing was written",
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it("without pictures has no folder", async () => {
    answers[SHEET.replace("?", "?status=attention&")] = showing("no pages here");
    await contactSheet("--output", join(folder, "s.html"), "--status", "Needs attention");
    expect(await readdir(folder)).toEqual(["s.html"]);
    expect(process.exitCode).toBe(EXIT.ok);
  });
});
