import { expect, it } from "vitest";
import { createKeyFilter } from "./key-filter.ts";

it("knows every key that was added, and mostly no other", () => {
  const filter = createKeyFilter();
  for (let n = 0; n < 2_000; n += 1) filter.add(`exp_${n}`);
  let wrong = 0;
  for (let n = 0; n < 2_000; n += 1) {
    expect(filter.mayHave(`exp_${n}`)).toBe(true);
    if (filter.mayHave(`other_${n}`)) wrong += 1;
  }
  expect(wrong).toBeLessThan(30);
});
