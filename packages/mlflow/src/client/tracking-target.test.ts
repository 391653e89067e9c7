import { describe, expect, it } from "vitest";
import { parseTrackingTarget, type TrackingSettings } from "./tracking-target.ts";

const parse = (trackingUri: string, rest: Omit<TrackingSettings, "trackingUri"> = {}) => {
  const parsed = parseTrackingTarget({ trackingUri, ...rest });
  return parsed.kind === "ok" ? parsed.target : parsed.message;
};
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;

describe("the settings of MLflow", () => {
  it("name a server, perhaps below a path", () => {
    expect(parse("http://127.0.0.1:5000/")).toEqual({
      baseUrl: "http://127.0.0.1:5000",
      authorization: null,
    });
    expect(parse(" https://ml.example/team/mlflow// ")).toMatchObject({
      baseUrl: "https://ml.example/team/mlflow",
    });
  });

  it("have a user and password, before those of the address and before a token", () => {
    const both = { username: "ü", password: "p:w", token: "t" };
    expect(parse("http://a:b@h", both)).toEqual({
      baseUrl: "http://h",
      authorization: basic("ü:p:w"),
    });
    expect(parse("http://a:b%40@h")).toMatchObject({ authorization: basic("a:b@") });
    expect(parse("http://h", { token: "t" })).toMatchObject({ authorization: "Bearer t" });
    expect(parse("http://h", { token: "" })).toMatchObject({ authorization: null });
  });

  it.each([
    ["", {}, /expected the http or https address/],
    ["sqlite:///x.db", {}, /found sqlite:.*mlflow server/],
    ["http://h?x=1", {}, /without \? and #/],
    ["http://h", { username: "u" }, /MLFLOW_TRACKING_PASSWORD is missing/],
    ["http://h", { password: "geheim" }, /MLFLOW_TRACKING_USERNAME is missing/],
    ["http://h", { token: "ge heim" }, /printable ASCII/],
  ])("are refused in words without secrets: %j %j", (uri, rest, words) => {
    const message = parse(uri, rest);
    expect(message).toMatch(words);
    expect(message).not.toMatch(/ge ?heim/);
  });
});
