import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  cleanMediaType,
  contentDisposition,
  decideRange,
  matchesEtag,
} from "./download-headers.ts";

describe("ranges", () => {
  test.each([
    [undefined, { kind: "whole" }],
    ["bytes=0-0", { kind: "part", range: { start: 0, end: 0 } }],
    ["bytes=5-", { kind: "part", range: { start: 5, end: 9 } }],
    ["bytes=-3", { kind: "part", range: { start: 7, end: 9 } }],
    ["bytes=-30", { kind: "part", range: { start: 0, end: 9 } }],
    ["bytes=2-99", { kind: "part", range: { start: 2, end: 9 } }],
    ["bytes=10-", { kind: "unsatisfiable" }],
    ["bytes=-0", { kind: "unsatisfiable" }],
    ["bytes=5-2", { kind: "whole" }],
    ["bytes=0-1,3-4", { kind: "whole" }],
    ["lines=1-2", { kind: "whole" }],
    ["bytes=-", { kind: "whole" }],
  ])("%s of ten bytes", (header, expected) => {
    expect(decideRange(header, 10)).toEqual(expected);
  });

  test("a part lies inside the blob, whatever is asked", () => {
    const number = fc.option(fc.nat(30).map(String), { nil: "" });
    fc.assert(
      fc.property(number, number, fc.nat(20), (first, last, size) => {
        const decision = decideRange(`bytes=${first}-${last}`, size);
        if (decision.kind !== "part") return;
        expect(decision.range.start).toBeGreaterThanOrEqual(0);
        expect(decision.range.start).toBeLessThanOrEqual(decision.range.end);
        expect(decision.range.end).toBeLessThan(size);
      }),
    );
  });
});

describe("what a browser is told", () => {
  test("pictures are shown, what could run is saved", () => {
    expect(contentDisposition("a.png", "image/png")).toMatch(/^inline; /);
    expect(contentDisposition("a.html", "text/html")).toMatch(/^attachment; /);
    expect(contentDisposition("a.svg", "image/svg+xml")).toMatch(/^attachment; /);
  });

  test("a name can add no header and no parameter", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        expect(contentDisposition(name, "image/png")).toMatch(
          /^inline; filename="[ !#-[\]-~]*"; filename\*=UTF-8''[A-Za-z0-9%._~-]*$/,
        );
      }),
    );
    expect(contentDisposition('x/ü".png', "image/png")).toBe(
      `inline; filename="__.png"; filename*=UTF-8''%C3%BC%22.png`,
    );
  });

  test("what is no media type goes out as unknown bytes", () => {
    expect(cleanMediaType("Image/PNG")).toBe("image/png");
    expect(cleanMediaType("text/plain; charset=utf-8")).toBe("text/plain; charset=utf-8");
    expect(cleanMediaType("text/html\r\nx: y")).toBe("application/octet-stream");
    expect(cleanMediaType(undefined)).toBe("application/octet-stream");
    expect(cleanMediaType(`a/${"b".repeat(200)}`)).toBe("application/octet-stream");
  });

  test("an ETag is found in a list, weak or not", () => {
    expect(matchesEtag('"a", W/"b"', '"b"')).toBe(true);
    expect(matchesEtag("*", '"b"')).toBe(true);
    expect(matchesEtag('"a"', '"b"')).toBe(false);
    expect(matchesEtag(undefined, '"b"')).toBe(false);
  });
});
