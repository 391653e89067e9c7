import * as fc from "fast-check";
import { expect, test } from "vitest";
import { quoteBigIntegers } from "./exact-json.ts";

test("a seed above 2^53 keeps every digit, as text", () => {
  expect(quoteBigIntegers('{"seed":18446744073709551615,"b":[-9007199254740993 , 3]}')).toBe(
    '{"seed":"18446744073709551615","b":["-9007199254740993" , 3]}',
  );
});

test.each([
  '{"a":9007199254740991,"b":1.8446744073709551615e19,"c":12345678901234567890.5}',
  '{"a":"18446744073709551615 \\" 18446744073709551615","18446744073709551615":1}',
  'not json 18446744073709551615x "',
  "",
])("%j stays as it is, or parses to the same", (text) => {
  const quoted = quoteBigIntegers(text);
  expect(quoted.replaceAll('"', "")).toBe(text.replaceAll('"', ""));
});

test("digits inside text stay, behind escaped quotes too", () => {
  const text = String.raw`{"a":"\" 18446744073709551615 \\","18446744073709551615":"\\\""}`;
  expect(quoteBigIntegers(text)).toBe(text);
});

test("JSON without big integers is never changed", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value, (_, item: unknown) =>
        typeof item === "number" && Number.isInteger(item) && !Number.isSafeInteger(item)
          ? 0
          : item,
      );
      expect(quoteBigIntegers(text)).toBe(text);
    }),
  );
});

test("big integers anywhere come back as exactly their text", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 70n }), (big) => {
      const text = `[${big},{"a":-${big},"b":${JSON.stringify(String(big))}}]`;
      const parsed = JSON.parse(quoteBigIntegers(text)) as unknown;
      expect(parsed).toEqual([String(big), { a: `-${big}`, b: String(big) }]);
    }),
  );
});
