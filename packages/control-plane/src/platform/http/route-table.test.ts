import { expect, test } from "vitest";
import { createRouteTable } from "./route-table.ts";

const routes: Readonly<Record<string, readonly string[]>> = {
  "/api/v1/jobs": ["GET", "HEAD", "POST"],
  "/api/v1/jobs/:id": ["GET"],
  "/api/v1/jobs/:id/cancel": ["POST"],
  [String.raw`/api/v1/jobs/:id(\d+)`]: ["DELETE"],
  "/files/*": ["GET"],
  "/*": ["GET"],
  "/openapi.json": ["GET"],
};
const table = createRouteTable((method, pattern) => routes[pattern]?.includes(method) === true);
for (const pattern of Object.keys(routes)) table.add(pattern);

test("a path's methods are those of all routes that match it, and OPTIONS", () => {
  expect(table.methodsOf("/api/v1/jobs")).toEqual(["GET", "HEAD", "OPTIONS", "POST"]);
  expect(table.methodsOf("/api/v1/jobs/job_1")).toEqual(["GET", "OPTIONS"]);
  expect(table.methodsOf("/api/v1/jobs/17")).toEqual(["DELETE", "GET", "OPTIONS"]);
  expect(table.methodsOf("/files/a/b.png")).toEqual(["GET", "OPTIONS"]);
});

test("a path is read as the router reads it: escapes, line breaks in names, an empty last parameter", () => {
  expect(table.methodsOf("/api/v1/%6aobs")).toEqual(["GET", "HEAD", "OPTIONS", "POST"]);
  expect(table.methodsOf("/api/v1/jobs/a%2Fb")).toEqual(["GET", "OPTIONS"]);
  expect(table.methodsOf("/api/v1/jobs/%zz")).toEqual(["GET", "OPTIONS"]);
  expect(table.methodsOf("/files/a%0Ab")).toEqual(["GET", "OPTIONS"]);
  expect(table.methodsOf("/api/v1/jobs/")).toEqual(["GET", "OPTIONS"]);
  expect(table.methodsOf("/api/v1/jobs//cancel")).toEqual([]);
});

test("a path that only a catch-all takes is unknown, and dots are only dots", () => {
  expect(table.methodsOf("/api/v1/jobs/a/b")).toEqual([]);
  expect(table.methodsOf("/")).toEqual([]);
  expect(table.methodsOf("/openapi_json")).toEqual([]);
});
