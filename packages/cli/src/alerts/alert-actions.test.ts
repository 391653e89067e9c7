import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CommandContext } from "../command-context.ts";
import {
  ack,
  list,
  rules,
  show,
  silence,
  test as tryChannels,
  unsilence,
} from "./alert-actions.ts";

interface Call {
  readonly call: string;
  readonly body: unknown;
}

let server: Server;
let calls: Call[];
let answers: Record<string, unknown>;
let lines: string[];
let notes: string[];
let context: CommandContext;
let url: string;
beforeEach(async () => {
  [calls, answers, lines, notes] = [[], {}, [], []];
  server = createServer((request, response) => {
    let text = "";
    request.on("data", (part: Buffer) => (text += part.toString()));
    request.on("end", () => {
      const call = `${request.method} ${request.url}`;
      calls.push({ call, body: text === "" ? null : JSON.parse(text) });
      response.setHeader("content-type", "application/json");
      const answer = answers[call];
      const isList = Array.isArray(answer);
      // Of several answers the last one stays.
      const body = isList && answer.length > 1 ? (answer as unknown[]).shift() : answer;
      response.end(JSON.stringify(isList && Array.isArray(body) ? body[0] : body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  context = {
    env: {},
    terminal: {
      line: (line) => void lines.push(line),
      note: (note) => void notes.push(note),
      progress: () => undefined,
      isInteractive: false,
      columns: 200,
      resultColumns: 200,
    },
  };
});
afterEach(async () => {
  process.exitCode = 0;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const ALERT = {
  id: "alt_1",
  severity: "warning",
  state: "firing",
  since: "2026-01-31T12:00:00.000Z",
  rule: "queue_old",
  summary: "The oldest\u001B[2J job",
  silencedBy: "sil_1",
  acknowledged: null,
};

describe("holdfast alerts", () => {
  it("lists what is there now, or all, and says when there is nothing", async () => {
    answers["GET /api/v1/alerts?state=live&limit=50"] = { items: [ALERT], next: null };
    await list({ url }, context);
    expect(lines[0]).toMatch(/^ID +SEVERITY +STATE +SINCE +RULE +WHAT$/);
    expect(lines[1]).toMatch(
      /^alt_1 +warning +firing, silenced +.* queue_old +The oldest \[2J job$/,
    );
    answers["GET /api/v1/alerts?rule=x&limit=50"] = { items: [], next: null };
    await list({ url, all: true, rule: "x" }, context);
    expect(notes).toEqual(["what to do: holdfast alerts show ID", "no alerts"]);
  });

  it("goes on to the next page, and says that there are more", async () => {
    answers["GET /api/v1/alerts?state=live&limit=2"] = { items: [ALERT], next: "c1" };
    answers["GET /api/v1/alerts?state=live&limit=1&cursor=c1"] = { items: [ALERT], next: "c2" };
    await list({ url, limit: 2 }, context);
    expect(lines).toHaveLength(3);
    expect(notes.at(-1)).toBe("there are more: --limit 4");
    await list({ url, limit: 2, json: true }, context);
    expect(JSON.parse(lines[3] ?? "")).toEqual(ALERT);
  });

  it("says of a silenced alert too that somebody is at it, who, and what is done", async () => {
    const acknowledged = { by: "key_ann", at: ALERT.since, note: "on it" };
    answers["GET /api/v1/alerts?state=live&limit=50"] = {
      items: [{ ...ALERT, acknowledged }],
      next: null,
    };
    await list({ url }, context);
    expect(lines[1]).toContain("firing, silenced, acknowledged");
    expect(lines[1]).toMatch(/job \(acknowledged by key_ann: on it\)$/);
  });

  it("shows one alert whole: advice, note, and where it was sent to", async () => {
    const acknowledged = { by: "key_ann", at: ALERT.since, note: "on it" };
    const alert = {
      ...ALERT,
      acknowledged,
      advice: "See whether a machine can serve it.",
      labels: { machine: "box" },
      value: 601,
      firedAt: ALERT.since,
      resolvedAt: null,
      reason: null,
    };
    const delivery = {
      id: "ald_1",
      channel: "ops",
      cause: "change",
      state: "dead",
      alerts: [{ id: "alt_1" }],
      attemptCount: 3,
      lastError: "the target answered 503",
      createdAt: ALERT.since,
    };
    answers["GET /api/v1/alerts/alt_1"] = alert;
    answers["GET /api/v1/alerts/deliveries?limit=500"] = {
      items: [delivery, { ...delivery, channel: "other", alerts: [] }],
      next: null,
    };
    await show("alt_1", { url }, context);
    const page = lines.join("\n");
    expect(lines[0]).toBe("WARNING queue_old: firing, silenced, acknowledged");
    expect(page).toContain("Advice           See whether a machine can serve it.");
    expect(page).toContain("Labels           machine=box");
    expect(page).toMatch(/Acknowledged {5}by key_ann at 2026-01-31T12:00:00\.000Z/);
    expect(page).toContain("Note             on it");
    expect(page).toMatch(/ops +dead +change .* 3 {2}the target answered 503/);
    expect(page).not.toContain("other");
    expect(page).not.toContain("\u001B");
    await show("alt_1", { url, json: true }, context);
    expect(JSON.parse(lines.at(-1) ?? "")).toEqual({ ...alert, deliveries: [delivery] });
  });

  it("lists rules with their state", async () => {
    const rule = {
      name: "queue_old",
      severity: "warning",
      source: "built_in",
      enabled: true,
      hasData: true,
      alerts: 0,
      omitted: 0,
      when: { metric: "a", where: { status: "queued" }, above: 600 },
      alongside: [{ metric: "b", where: {}, below: 1 }],
      forMs: 300_000,
    };
    const all = [rule, { ...rule, hasData: false }, { ...rule, alerts: 2, omitted: 7 }];
    answers["GET /api/v1/alerts/rules"] = {
      rules: [...all, { ...rule, enabled: false, when: null, severity: null }],
    };
    await rules({ url }, context);
    expect(lines[1]).toMatch(
      /built in +inactive +a\{status=queued\} > 600 and b < 1 for 5 min 0 s$/,
    );
    expect(lines[2]).toContain("no data");
    expect(lines[3]).toContain("2 alerts (7 left out)");
    expect(lines[4]).toMatch(/ off$/);
  });

  it("silences, ends silences and acknowledges", async () => {
    const made = { id: "sil_1", endsAt: "2026-01-31T14:00:00.000Z", matchers: ["rule=x"] };
    answers["POST /api/v1/alerts/silences"] = [0, 1, 2].map((fitsNow) => ({ ...made, fitsNow }));
    await silence(["rule=x"], { url, for: 7_200_000, reason: "known" }, context);
    expect(calls[0]?.body).toEqual({ matchers: ["rule=x"], forSeconds: 7_200, reason: "known" });
    const words = "sil_1  silenced until 2026-01-31T14:00:00.000Z: rule=x";
    expect(lines.splice(0)).toEqual([`${words} (fits no alert now)`]);
    for (const _ of [1, 2]) await silence(["rule=x"], { url, for: 1_000, reason: "x" }, context);
    expect(lines.splice(0)).toEqual([
      `${words} (fits 1 alert now)`,
      `${words} (fits 2 alerts now)`,
    ]);
    answers["DELETE /api/v1/alerts/silences/sil_1"] = made;
    await unsilence(["sil_1"], { url }, context);
    expect(lines[0]).toBe("sil_1  ended");
    answers["POST /api/v1/alerts/alt_1/acknowledge"] = ALERT;
    await ack(["alt_1"], { url, note: "on it" }, context);
    expect(calls.at(-1)?.body).toEqual({ note: "on it" });
    expect(lines[1]).toBe("alt_1  acknowledged: The oldest [2J job");
  });
});

describe("holdfast alerts test", () => {
  const delivery = { id: "ald_1", channel: "ops", state: "pending", lastError: null };
  const path = "GET /api/v1/alerts/deliveries/ald_1";
  const run = async () => {
    answers["POST /api/v1/alerts/test"] = { deliveries: [delivery] };
    const clock = createFakeClock();
    const done = tryChannels("ops", { url }, context, clock);
    let isOver = false;
    void done.finally(() => (isOver = true));
    while (!isOver) {
      await clock.advanceToNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await done;
  };

  it("waits for the outcome", async () => {
    answers[path] = [delivery, delivery, { ...delivery, state: "delivered" }];
    await run();
    expect(calls[0]?.body).toEqual({ channel: "ops" });
    expect(lines).toEqual(["ops: delivered"]);
    expect(process.exitCode ?? 0).toBe(0);
  });

  it("exits 1 when it was not delivered, with the reason", async () => {
    answers[path] = { ...delivery, state: "dead", lastError: "the target answered 503" };
    await run();
    expect(lines).toEqual(["ops: not delivered: the target answered 503"]);
    expect(process.exitCode).toBe(1);
  });
});
