import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { fleet, LEVER, machine } from "../../testing/fleet-facts.ts";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { levers, showMachine } from "./run-fleet.ts";

let server: Server;
let answers: Record<string, unknown>;
let terminal: RecordingTerminal;
let url: string;
beforeEach(async () => {
  answers = {};
  terminal = recordingTerminal();
  server = createServer((request, response) => {
    const answer = answers[request.url ?? ""];
    response.statusCode = answer === undefined ? 404 : 200;
    response.setHeader("content-type", "application/json");
    const missing = { error: { code: "not_found", message: "nothing is there" } };
    response.end(JSON.stringify(answer ?? missing));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const context = () => ({ terminal, env: {} });
const MACHINES = "/api/v1/fleet/machines?limit=500";

it("shows a machine that is found by its name on a later page, with its steps", async () => {
  answers[MACHINES] = {
    items: [machine({ name: "other", id: "flm_2", machineId: null })],
    next: "c1",
  };
  answers[`${MACHINES}&cursor=c1`] = { items: [machine()], next: null };
  answers["/api/v1/machines/mch_1/steps"] = { runs: [] };
  await showMachine("hf-gpu-1", { url }, context());
  expect(terminal.lines[0]).toBe("hf-gpu-1: ready, healthy");
  expect(terminal.lines.at(-1)).toBe("Steps            none were told");
  await showMachine("mch_1", { url, json: true }, context());
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toEqual({ ...machine(), runs: [] });
});

it("shows a machine whose agent the server has forgotten", async () => {
  answers[MACHINES] = { items: [machine()], next: null };
  await showMachine("flm_1", { url }, context());
  expect(terminal.lines.at(-1)).toContain("does not know its agent any more");
});

it("says where the names are when there is no such machine", async () => {
  answers[MACHINES] = { items: [], next: null };
  await expect(showMachine("gone", { url }, context())).rejects.toMatchObject({
    exitCode: 2,
    message: expect.stringContaining("holdfast fleet machines --all"),
  });
});

it("tells levers in force from those that were replaced, and wants --all for --limit", async () => {
  answers["/api/v1/fleet"] = fleet();
  answers["/api/v1/fleet/levers?limit=200"] = { items: [LEVER, { ...LEVER, id: "lev_0" }] };
  await levers({ url, all: true }, context());
  expect(terminal.lines[1]).toContain("in force");
  expect(terminal.lines[2]).toContain("replaced");
  await expect(levers({ url, limit: 5 }, context())).rejects.toThrow(/--limit: expected --all/);
});
