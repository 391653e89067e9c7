import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { decideLink, ensureLink, findLink, leadsSomewhere, removeOwnLink } from "./links.ts";

let folder: string;
let own: string[];
let at: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-links-"));
  own = [join(folder, "repositories")];
  at = join(folder, "shared", "input", "assets");
  await mkdir(join(folder, "repositories", "assets-2"), { recursive: true });
});
afterEach(() => rm(folder, { recursive: true }));

const to = (name: string): string => join(folder, "repositories", name);

test("a link is made, kept, and moved on to the next version", async () => {
  expect(await ensureLink({ at, to: to("assets-1") }, own)).toEqual({ kind: "created" });
  expect(await leadsSomewhere(at)).toBe(false);
  expect(await ensureLink({ at, to: to("assets-1") }, own)).toEqual({ kind: "kept" });
  expect(await ensureLink({ at, to: to("assets-2") }, own)).toEqual({ kind: "replaced" });
  expect(await readlink(at)).toBe(to("assets-2"));
  expect(await leadsSomewhere(at)).toBe(true);
});

test("a file, a folder and a link of somebody else's are left, and told", async () => {
  await mkdir(join(folder, "shared", "input"), { recursive: true });
  await writeFile(at, "precious");
  const wanted = { at, to: to("assets-1") };
  expect(await ensureLink(wanted, own)).toMatchObject({ kind: "blocked" });
  expect(await readFile(at, "utf8")).toBe("precious");
  await rm(at);
  await mkdir(at);
  expect(await ensureLink(wanted, own)).toMatchObject({ kind: "blocked" });
  await rm(at, { recursive: true });
  await symlink("/somewhere", at);
  const outcome = await ensureLink(wanted, own);
  expect(outcome).toMatchObject({ kind: "blocked" });
  expect(JSON.stringify(outcome)).toContain("a link to /somewhere, which Holdfast did not make");
  expect(await readlink(at)).toBe("/somewhere");
});

test("the rest of a replacement that was killed is no obstacle", async () => {
  await ensureLink({ at, to: to("assets-1") }, own);
  await symlink("/left", `${at}.holdfast-new`);
  expect(await ensureLink({ at, to: to("assets-2") }, own)).toEqual({ kind: "replaced" });
  expect((await findLink(`${at}.holdfast-new`)).kind).toBe("nothing");
});

test("only a link of ours is removed", async () => {
  await ensureLink({ at, to: to("assets-1") }, own);
  expect(await removeOwnLink(at, own)).toBe(true);
  expect(await removeOwnLink(at, own)).toBe(false);
  await symlink("/somewhere", at);
  expect(await removeOwnLink(at, own)).toBe(false);
  await rm(at);
  await mkdir(at);
  expect(await removeOwnLink(at, own)).toBe(false);
});

test("a relative link is ours by where it leads", async () => {
  await mkdir(join(folder, "shared", "input"), { recursive: true });
  await symlink("../../repositories/assets-2", at);
  expect(await findLink(at)).toEqual({ kind: "link", to: to("assets-2") });
  expect(await ensureLink({ at, to: to("assets-2") }, own)).toEqual({ kind: "kept" });
});

test("a folder whose name only begins like ours is not ours", () => {
  const wanted = { at: "/s/a", to: "/r/new" };
  expect(decideLink(wanted, { kind: "link", to: "/r/old" }, ["/r"]).kind).toBe("replace");
  expect(decideLink(wanted, { kind: "link", to: "/r2/old" }, ["/r"]).kind).toBe("blocked");
});
