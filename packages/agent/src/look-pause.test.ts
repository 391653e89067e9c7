import { expect, it } from "vitest";
import { lookPauseMs } from "./look-pause.ts";

const LIMITS = { healthEveryMs: 5_000, troubleEveryMs: 250, goneEveryMs: 1_000 };

it.each([
  ["one that is ready", { isReady: true, isGone: false, troubles: 0 }, 5_000],
  ["one that starts", { isReady: false, isGone: false, troubles: 0 }, 250],
  ["one that was silent once", { isReady: false, isGone: false, troubles: 1 }, 500],
  ["one that is silent for long", { isReady: false, isGone: false, troubles: 1_000 }, 5_000],
  ["one that has just gone", { isReady: false, isGone: true, troubles: 1 }, 500],
  ["one that is gone for long", { isReady: false, isGone: true, troubles: 1_000 }, 1_000],
])("%s", (_, look, pauseMs) => {
  expect(lookPauseMs(look, LIMITS)).toBe(pauseMs);
});
