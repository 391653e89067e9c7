import { expect, test } from "vitest";
import { createRouteTable } from "./route-table.ts";

const table = createRouteTable();
table.add(["GET", "HEAD"], "/api/v1/jobs");
table.add("POST", "/api/v1/jobs");
table.add("GET", "/api/v1/jobs/:id");
table.add("DELETE", String.raw`/api/v1/jobs/:id(\d+)`);
table.add("GET", "/files/*");
table.add("GET", "/*");

test("a path's methods are those of all routes that match it", () => {
  expect(table.methodsOf("/api/v1/jobs")).toEqual(["GET", "HEAD", "POST"]);
  expect(table.methodsOf("/api/v1/jobs/job_1")).toEqual(["GET"]);
  expect(table.methodsOf("/api/v1/jobs/17")).toEqual(["DELETE", "GET"]);
  expect(table.methodsOf("/files/a/b.png")).toEqual(["GET"]);
});

test("a path that only a catch-all takes is unknown, and dots are only dots", () => {
  expect(table.methodsOf("/api/v1/jobs/a/b")).toEqual([]);
  expect(table.methodsOf("/")).toEqual([]);
  table.add("GET", "/openapi.json");
  expect(table.methodsOf("/openapi_json")).toEqual([]);
});
