import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sectionCount, withSection } from "./runbook-sections.ts";

const FRAME = { head: "# SLA", tail: "## What to do" };
const put = (text: string, url: string, markdown: string): string =>
  withSection(text, { url, markdown }, FRAME);

describe("the sections of a runbook", () => {
  it("are one a target: a new one replaces its own, and leaves the others and what was written by hand", () => {
    const one = put("", "http://a", "first of a");
    expect(one).toMatch(/^# SLA\n\n<!-- .* -->\n\nfirst of a\n\n<!-- .* -->\n\n## What to do\n$/);
    const noted = put(one, "http://b", "first of b").replace("## What to do", "Ask Ann.\n\n$&");
    const again = put(noted, "http://a", "second of a");
    expect(again).toBe(noted.replace("first of a", "second of a"));
    expect(again.indexOf("second of a")).toBeLessThan(again.indexOf("first of b"));
    expect(sectionCount(again)).toBe(2);
  });

  it("stand behind a text that has none, and are found where one address begins another", () => {
    const text = put("# By hand\n", "http://a:80", "of 80");
    expect(text).toMatch(/^# By hand\n\n<!-- /);
    const both = put(text, "http://a:8", "of 8");
    expect(both).toContain("of 80");
    expect(sectionCount(both)).toBe(2);
  });

  it("lose no other section where somebody took the end of one away", () => {
    const both = put(put("", "http://a", "of a"), "http://b", "of b");
    const cut = both.replace("<!-- holdfast sla: end -->", "");
    expect(put(cut, "http://a", "anew")).toContain("of b");
    const open = both.slice(0, both.lastIndexOf("<!-- holdfast sla: end -->"));
    expect(put(open, "http://b", "anew")).not.toContain("of b");
  });

  it("are as many as targets, each with its last text, whatever comes", () => {
    const url = fc.constantFrom("http://a", "http://a/b", "http://b", "x-->y");
    fc.assert(
      fc.property(fc.array(fc.tuple(url, fc.nat())), (puts) => {
        const text = puts.reduce((all, [at, n]) => put(all, at, `text ${n} of ${at}.`), "");
        const last = new Map(puts);
        expect(sectionCount(text)).toBe(last.size);
        for (const [at, n] of last) expect(text).toContain(`text ${n} of ${at}.`);
      }),
    );
  });
});
