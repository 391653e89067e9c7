import { expect, test } from "vitest";
import { createPace } from "./pace.ts";

const LIMITS = { minMs: 5, maxMs: 20 };

test("whoever writes alone rests the least", () => {
  const pace = createPace(LIMITS);
  expect(pace.restMs()).toBe(5);
  for (let group = 0; group < 100; group += 1) pace.note(1);
  expect(pace.restMs()).toBeCloseTo(5, 9);
});

test("the rest grows with what comes together, up to the longest", () => {
  const pace = createPace(LIMITS);
  pace.note(2);
  expect(pace.restMs()).toBeGreaterThan(5);
  expect(pace.restMs()).toBeLessThan(20);
  for (let group = 0; group < 20; group += 1) pace.note(3);
  expect(pace.restMs()).toBe(20);
});

test("and is the least again soon after the load has gone", () => {
  const pace = createPace(LIMITS);
  for (let group = 0; group < 20; group += 1) pace.note(100);
  for (let group = 0; group < 40; group += 1) pace.note(1);
  expect(pace.restMs()).toBeLessThan(6);
});

test("a group of none does not rest less than the least", () => {
  const pace = createPace(LIMITS);
  for (let group = 0; group < 20; group += 1) pace.note(0);
  expect(pace.restMs()).toBe(5);
});
