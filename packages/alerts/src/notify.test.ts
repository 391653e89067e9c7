import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  NOTICE_ITEMS_MAX,
  planNotification,
  type ChannelStanding,
  type NoticeItem,
  type TellableAlert,
  type TellingPolicy,
} from "./notify.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const policy: TellingPolicy = {
  minSeverity: "warning",
  groupMs: 30 * SECOND,
  repeatMs: 60 * MINUTE,
  repeats: "remind",
};
const FREE: ChannelStanding = { isBusy: false, plannedAt: null, pausedUntil: null };
const alert = (id: string, more: Partial<TellableAlert> = {}): TellableAlert => ({
  id,
  severity: "warning",
  state: "firing",
  firedAt: 0,
  resolvedAt: null,
  isSilenced: false,
  isAcknowledged: false,
  told: "no",
  toldAt: null,
  ...more,
});
const items = (
  alerts: readonly TellableAlert[],
  standing: Partial<ChannelStanding> = {},
  now = 100 * MINUTE,
  wanted: Partial<TellingPolicy> = {},
): string[] | string => {
  const plan = planNotification({ ...policy, ...wanted }, alerts, { ...FREE, ...standing }, now);
  if (plan.kind === "nothing") return "nothing";
  return [plan.cause, ...plan.items.map(({ id, status }) => `${id} ${status}`)];
};

describe("a channel", () => {
  it("is told at once what fires, and the rest within the gathering time together", () => {
    expect(items([alert("a"), alert("b")])).toEqual(["change", "a firing", "b firing"]);
    const plannedAt = 99.6 * MINUTE;
    expect(items([alert("c")], { plannedAt })).toBe("nothing");
    expect(items([alert("c"), alert("d")], { plannedAt }, 100.1 * MINUTE)).toEqual([
      "change",
      "c firing",
      "d firing",
    ]);
  });

  it("is told ends before beginnings", () => {
    const ended = alert("a", { state: "resolved", resolvedAt: 5, told: "yes" });
    expect(items([alert("b"), ended])).toEqual(["change", "a resolved", "b firing"]);
  });

  it("is told nothing of what is not bad enough, is silenced, or ended untold", () => {
    expect(items([alert("a", { severity: "info" })])).toBe("nothing");
    expect(items([alert("a", { isSilenced: true })])).toBe("nothing");
    expect(items([alert("a", { state: "resolved", resolvedAt: 5 })])).toBe("nothing");
  });

  it("is told the end of what it was told, silenced or not, surely or not", () => {
    const ended = { state: "resolved", resolvedAt: 5, isSilenced: true } as const;
    expect(items([alert("a", { ...ended, told: "yes" })])).toEqual(["change", "a resolved"]);
    expect(items([alert("a", { ...ended, told: "maybe" })])).toEqual(["change", "a resolved"]);
    expect(items([alert("a", { told: "maybe" })])).toEqual(["change", "a firing"]);
  });

  it("waits for the notification before, and after one that was given up", () => {
    expect(items([alert("a")], { isBusy: true })).toBe("nothing");
    expect(items([alert("a")], { pausedUntil: 100 * MINUTE + 1 })).toBe("nothing");
    expect(items([alert("a")], { pausedUntil: 100 * MINUTE })).toEqual(["change", "a firing"]);
  });

  it("is reminded of what still fires, unless it is silenced or somebody is at it", () => {
    const told = { told: "yes", toldAt: 40 * MINUTE } as const;
    const all = [
      alert("a", told),
      alert("b", { ...told, toldAt: 90 * MINUTE }),
      alert("c", { ...told, isSilenced: true }),
      alert("d", { ...told, isAcknowledged: true }),
    ];
    expect(items(all, {}, 99 * MINUTE)).toBe("nothing");
    expect(items(all)).toEqual(["repeat", "a firing", "b firing"]);
    expect(items(all.slice(2))).toBe("nothing");
  });

  it("that forgets what it is not told again is told all it knows", () => {
    const told = { told: "yes", toldAt: 40 * MINUTE } as const;
    const all = [alert("c", { ...told, isSilenced: true }), alert("e", { isSilenced: true })];
    expect(items(all, {}, 100 * MINUTE, { repeats: "refresh" })).toEqual(["repeat", "c firing"]);
  });

  it("gets at most so many at once, the rest with the next", () => {
    const many = Array.from({ length: 150 }, (_, n) => alert(`a${n}`, { firedAt: n }));
    const plan = planNotification(policy, many, FREE, MINUTE);
    expect(plan.kind === "send" && plan.items).toHaveLength(NOTICE_ITEMS_MAX);
    expect(plan.kind === "send" && plan.items[0]?.id).toBe("a0");
  });
});

/** One thing that happens: an alert fires or ends, a silence comes or goes, a delivery's fate. */
const stepArb = fc.record({
  afterMs: fc.integer({ min: 1, max: 20 * SECOND }),
  key: fc.constantFrom("x", "y", "z"),
  act: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom("fire", "resolve") },
    { weight: 1, arbitrary: fc.constantFrom("silence", "unsilence", "acknowledge", "nothing") },
  ),
  fate: fc.constantFrom("delivered", "delivered", "under way", "given up"),
  isRestarted: fc.boolean(),
});

interface World {
  alerts: (TellableAlert & { readonly key: string })[];
  standing: ChannelStanding;
  onItsWay: readonly NoticeItem[];
  cause: string;
}

describe("whatever happens", () => {
  it("tells firing and resolved in turn, and at last the end of all that it told", () => {
    fc.assert(
      fc.property(fc.array(stepArb, { minLength: 30, maxLength: 120 }), (story) => {
        let world: World = { alerts: [], standing: FREE, onItsWay: [], cause: "" };
        let now = 0;
        let next = 0;
        const delivered: { key: string; id: string; status: string }[] = [];
        const change = (id: string, to: Partial<TellableAlert>): void => {
          world.alerts = world.alerts.map((one) => (one.id === id ? { ...one, ...to } : one));
        };
        const live = (key: string) =>
          world.alerts.find((one) => one.key === key && one.state === "firing");
        const settle = (fate: string): void => {
          if (!world.standing.isBusy || fate === "under way") return;
          if (fate === "given up") {
            world.standing = { ...world.standing, isBusy: false, pausedUntil: now + MINUTE };
            return;
          }
          world.standing = { ...world.standing, isBusy: false };
          for (const { id, status } of world.onItsWay) {
            const one = world.alerts.find((known) => known.id === id);
            if (one === undefined) throw new Error("an alert that there is not");
            if (world.cause === "change") delivered.push({ key: one.key, id, status });
            change(id, { told: status === "firing" ? "yes" : "no", toldAt: now });
          }
        };
        const plan = (): void => {
          const planned = planNotification(policy, world.alerts, world.standing, now);
          if (planned.kind === "nothing") return;
          expect(world.standing.isBusy).toBe(false);
          world.standing = { isBusy: true, plannedAt: now, pausedUntil: null };
          world.onItsWay = planned.items;
          world.cause = planned.cause;
        };
        for (const step of story) {
          now += step.afterMs;
          const one = live(step.key);
          if (step.act === "fire" && one === undefined) {
            next += 1;
            const made = { ...alert(`${step.key}${next}`, { firedAt: now }), key: step.key };
            world.alerts = [...world.alerts, made];
          }
          if (step.act === "resolve" && one !== undefined) {
            change(one.id, { state: "resolved", resolvedAt: now });
          }
          if (one !== undefined && step.act === "silence") change(one.id, { isSilenced: true });
          if (one !== undefined && step.act === "unsilence") change(one.id, { isSilenced: false });
          if (one !== undefined && step.act === "acknowledge") {
            change(one.id, { isAcknowledged: true });
          }
          settle(step.fate);
          if (step.isRestarted) world = JSON.parse(JSON.stringify(world)) as World;
          plan();
        }
        // The end: everything is right again, and the channel takes all it is sent.
        for (const key of ["x", "y", "z"]) {
          const one = live(key);
          if (one !== undefined) change(one.id, { state: "resolved", resolvedAt: now });
        }
        for (let round = 0; round < 5; round += 1) {
          now += 10 * MINUTE;
          settle("delivered");
          plan();
        }
        settle("delivered");
        for (const key of ["x", "y", "z"]) {
          const told = delivered.filter((one) => one.key === key).map(({ status }) => status);
          expect(told).toEqual(told.map((_, place) => (place % 2 === 0 ? "firing" : "resolved")));
          expect(told.length % 2).toBe(0);
        }
        const ids = delivered.map(({ id, status }) => `${id} ${status}`);
        expect(new Set(ids).size).toBe(ids.length);
      }),
      { numRuns: 300 },
    );
  });
});
