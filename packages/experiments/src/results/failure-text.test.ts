import { expect, test } from "vitest";
import { failureText } from "./failure-text.ts";

const message = "cannot reshape tensor of 0 elements";

test("a failure says where it happened, as far as that is known", () => {
  expect(failureText({ message, nodeId: "5", nodeType: "MaskToImage" })).toBe(
    `node 5 MaskToImage: ${message}`,
  );
  expect(failureText({ message, nodeId: "5" })).toBe(`node 5: ${message}`);
  expect(failureText({ message, nodeType: "MaskToImage" })).toBe(`node MaskToImage: ${message}`);
  expect(failureText({ message })).toBe(message);
});
