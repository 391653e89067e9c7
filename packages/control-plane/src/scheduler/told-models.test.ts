import { expect, it } from "vitest";
import { createToldModels } from "./told-models.ts";

const agent = { machineId: "mch_1", session: 1 };
const models = [{ folder: "loras", name: "a" }];

it("what a machine is to fetch ends its poll once, and again when it changes or for a new process", () => {
  const told = createToldModels();
  const isNews = (session: number, wanted: typeof models) =>
    told.look({ ...agent, session }, wanted).isNews;
  expect(isNews(1, models)).toBe(true);
  expect(isNews(1, models)).toBe(false);
  expect(isNews(1, [...models, { folder: "loras", name: "b" }])).toBe(true);
  expect(isNews(2, models)).toBe(true);
  // That there is nothing any more can wait for the next answer.
  expect(isNews(2, [])).toBe(false);
  expect(isNews(2, models)).toBe(true);
});
