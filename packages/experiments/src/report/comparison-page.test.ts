import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { comparedRun, comparisonFacts } from "../../testing/comparison-facts.ts";
import { comparisonPage } from "./comparison-page.ts";

const hash = (text: string): string =>
  `sha256-${createHash("sha256").update(text).digest("base64")}`;
const elements = (page: string, name: string): string[] =>
  [...page.matchAll(new RegExp(`<${name}[^>]*>([^]*?)</${name}>`, "g"))].map(
    ([, text]) => text ?? "",
  );

describe("the comparison page", () => {
  test("is one file whose policy knows its script and style, and lets nothing else in", () => {
    const page = comparisonPage(comparisonFacts());
    const [, policy = ""] = /Content-Security-Policy" content="([^"]+)"/.exec(page) ?? [];
    const rules = policy.replaceAll("&#39;", "'");
    const [data, script = ""] = elements(page, "script");
    const [style = ""] = elements(page, "style");
    expect(rules.split("; ")).toEqual([
      "default-src 'none'",
      `script-src '${hash(script)}'`,
      `style-src '${hash(style)}'`,
      "img-src 'self' file: data:",
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(elements(page, "script")).toHaveLength(2);
    expect(JSON.parse(data ?? "")).toMatchObject({
      name: "castle",
      runs: [{ index: 0 }, { index: 1 }],
    });
    // The policy stands before anything that it has to hold.
    expect(page.indexOf("Content-Security-Policy")).toBeLessThan(page.indexOf("<style"));
    expect(page).not.toMatch(/(?:src|href)="(?!data:)/);
    expect(page).not.toMatch(/ (?:style|on[a-z]+)="/);
  });

  test("stays the same page whatever the texts hold", () => {
    const hostile = `</script></title><img src=x onerror="alert(1)"><!-- ' "`;
    const page = comparisonPage(
      comparisonFacts({
        name: hostile,
        runs: [comparedRun(0, { title: hostile, values: { sampler: hostile } })],
        best: [{ index: 0, why: hostile }],
      }),
    );
    expect(page).not.toContain("<img");
    expect(elements(page, "script")).toHaveLength(2);
    expect(JSON.parse(elements(page, "script")[0] ?? "")).toMatchObject({
      name: hostile,
      runs: [{ title: hostile, best: hostile }],
    });
  });
});
