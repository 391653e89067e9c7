import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { answered, fakeApi, GONE, refused } from "../../testing/fake-api.ts";
import { CLOSED, fleet, NOW } from "../../testing/fleet-facts.ts";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import { createStatusView } from "./status-view.ts";
import { lookOnce, WATCH_EVERY_MS, watchServer, type Sight } from "./watch.ts";

describe("watching a server", () => {
  it("looks every two seconds until it is stopped, whether or not it answers", async () => {
    const clock = createFakeClock();
    const stop = new AbortController();
    const answers = [answered({ n: 1 }), GONE, refused(503, "store_unavailable", "no disk")];
    const api = fakeApi(() => answers.shift() ?? answered({ n: 2 }));
    const sights: Sight[] = [];
    const watched = watchServer({
      api,
      path: "/x",
      clock,
      signal: stop.signal,
      onSight: (sight) => void sights.push(sight),
    });
    for (let look = 0; look < 3; look += 1) await clock.advance(WATCH_EVERY_MS);
    stop.abort();
    await watched;
    expect(sights).toEqual([
      { kind: "seen", body: { n: 1 } },
      { kind: "lost", reason: "nothing listens there" },
      { kind: "lost", reason: "store_unavailable: no disk" },
      { kind: "seen", body: { n: 2 } },
    ]);
  });

  it("ends for what no later look makes better", async () => {
    const look = lookOnce(
      fakeApi(() => refused(401, "unauthorized", "a key is needed")),
      "/x",
    );
    await expect(look).rejects.toMatchObject({ exitCode: EXIT.refused });
  });

  it("bears an answer that is no JSON", async () => {
    const api = fakeApi(() => ({ kind: "answered", response: new Response("<html>") }));
    expect(await lookOnce(api, "/x")).toMatchObject({ kind: "lost" });
  });
});

describe("what is shown of the looks", () => {
  const seen = (body: unknown): Sight => ({ kind: "seen", body });
  const lost: Sight = { kind: "lost", reason: "nothing listens there" };
  const view = (isJson: boolean, hasScreen = false) => {
    const terminal = recordingTerminal();
    const drawn: (readonly string[])[] = [];
    const screen = hasScreen
      ? { draw: (lines: readonly string[]) => void drawn.push(lines) }
      : null;
    const now = () => NOW;
    return { onSight: createStatusView({ terminal, screen, isJson, now }), terminal, drawn };
  };

  it("where nobody watches is a line a change, and each loss once", () => {
    const { onSight, terminal } = view(false);
    const calm = fleet({ breaker: CLOSED });
    for (const sight of [fleet(), fleet(), calm].map(seen)) onSight(sight);
    for (const sight of [lost, lost, seen(calm)]) onSight(sight);
    expect(terminal.lines.map((line) => line.slice(0, 44))).toEqual([
      "2026-01-31T12:10:00.000Z  spawning BLOCKED (",
      "2026-01-31T12:10:00.000Z  spawning ALLOWED (",
    ]);
    expect(terminal.notes).toEqual([
      "2026-01-31T12:10:00.000Z  the server does not answer (nothing listens there); looking on",
      "2026-01-31T12:10:00.000Z  the server answers again",
    ]);
  });

  it("on a screen is drawn anew each time, with what was last seen when it is lost", () => {
    const { onSight, drawn, terminal } = view(false, true);
    for (const sight of [seen(fleet()), seen(fleet()), lost]) onSight(sight);
    expect(drawn).toHaveLength(3);
    expect(drawn[2]?.[0]).toContain("does not answer (nothing listens there)");
    expect(drawn[2]?.[1]).toContain("85.7%");
    expect(terminal.lines).toEqual([]);
  });

  it("as JSON is one object a change, on a screen too", () => {
    const { onSight, terminal, drawn } = view(true, true);
    for (const sight of [fleet(), fleet(), fleet({ queuedTasks: 1 })].map(seen)) onSight(sight);
    expect(drawn).toEqual([]);
    expect(terminal.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { queuedTasks: 42 },
      { queuedTasks: 1 },
    ]);
  });
});
