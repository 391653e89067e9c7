import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { escapeHtml, inlineJson, relativeAddress } from "./escaping.ts";

describe("inline JSON", () => {
  test("cannot leave its element, and parses to the same value", () => {
    const hostile = [
      "</script><script>alert(1)</script>",
      "<!-- <script>",
      "]]>",
      "\u2028\u2029",
      "&lt;",
    ];
    const text = inlineJson({ hostile });
    expect(text).not.toMatch(/[<>&\u2028\u2029]/);
    expect(JSON.parse(text)).toEqual({ hostile });
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const inline = inlineJson(value);
        expect(inline).not.toMatch(/[<>&]/);
        expect(JSON.parse(inline)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

test("text in HTML means nothing but itself", () => {
  expect(escapeHtml(`<img src=x onerror='a("&")'>`)).toBe(
    "&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;",
  );
});

describe("the address of a picture", () => {
  test("is below the page's folder, each name encoded", () => {
    expect(relativeAddress("images/exp_0000.png")).toBe("./images/exp_0000.png");
    expect(relativeAddress("images/a b#1?%.png")).toBe("./images/a%20b%231%3F%25.png");
    expect(relativeAddress("javascript:alert(1)")).toBe("./javascript%3Aalert(1)");
  });

  test("is none for what lies elsewhere or leaves the folder", () => {
    for (const path of [
      "",
      "/etc/passwd",
      "../other/a.png",
      "images/../../a.png",
      "images/./a.png",
      "images//a.png",
      "//host/a.png",
      "\\\\host\\a.png",
      "https://host/a.png",
      "s3://bucket/a.png",
      "images/\ud800.png",
      "a".repeat(2_000),
    ]) {
      expect(relativeAddress(path), path).toBeNull();
    }
  });

  test("never leads to another place, whatever it is made of", () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom("a", ".", "/", "\\", ":", "?", "#", "%", "@", " ", "\u00e9"),
        }),
        (path) => {
          const address = relativeAddress(path);
          if (address === null) return;
          const url = new URL(address, "https://here.example/folder/page.html");
          expect(url.origin).toBe("https://here.example");
          expect(url.pathname.startsWith("/folder/")).toBe(true);
          expect(url.search + url.hash).toBe("");
        },
      ),
    );
  });
});
