import { expect, test } from "vitest";
import { controlPlaneFacts, manifestFacts } from "./machine-facts.ts";

const URL = "http://plane:8328";
const agent = { isRegistered: false, isAnswered: true, isSuperseded: false };

test("how a machine stands with its control plane", () => {
  expect(controlPlaneFacts({ url: null, agent }).state).toBe("none");
  expect(controlPlaneFacts({ url: URL, agent })).toMatchObject({ state: "connecting", url: URL });
  expect(controlPlaneFacts({ url: URL, agent: { ...agent, isRegistered: true } })).toEqual({
    state: "connected",
    url: URL,
    detail: null,
  });
  const silent = { ...agent, isRegistered: true, isAnswered: false };
  expect(controlPlaneFacts({ url: URL, agent: silent })).toEqual({
    state: "connecting",
    url: URL,
    detail: expect.stringContaining("does not answer now"),
  });
  const superseded = controlPlaneFacts({ url: URL, agent: { ...agent, isSuperseded: true } });
  expect(superseded.state).toBe("disconnected");
  expect(superseded.detail).toMatch(/a newer agent process/);
});

const sight = {
  path: "m.yaml",
  isApplied: false,
  problems: [],
  servingProblems: [],
  trouble: null,
};

test("a manifest that is neither there nor wanted has no path", () => {
  expect(manifestFacts(sight)).toEqual({ path: null, problems: [] });
  expect(manifestFacts({ ...sight, isApplied: true }).path).toBe("m.yaml");
});

test("everything that is wrong is told, the file's own problems first", () => {
  const told = manifestFacts({
    ...sight,
    problems: ["line 3"],
    servingProblems: ["port taken"],
    trouble: "no disk",
  });
  expect(told).toEqual({ path: "m.yaml", problems: ["line 3", "port taken", "no disk"] });
});
