import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { resumeCommand } from "./resume-command.ts";

describe("the command that goes on", () => {
  it("is what was asked for, with how to resume in place of how it began", () => {
    const options = {
      count: 250,
      preFlight: true,
      startFrom: 12,
      inFlight: 2,
      output: "out",
      store: "s3://pictures/castle",
      mlflow: false,
      check: false,
      timeout: 90_000,
    };
    expect(resumeCommand("castle.yaml", options, 250)).toBe(
      "holdfast experiment run castle.yaml --in-flight 2 --output out --store s3://pictures/castle " +
        "--timeout 90000ms --no-mlflow --no-check --pre-flight --count 250 --resume",
    );
    expect(resumeCommand("castle.yaml", { check: true, mlflow: true }, 250, 120)).toBe(
      "holdfast experiment run castle.yaml --count 250 --start-from 120",
    );
  });

  it("has no secret", () => {
    const secrets = {
      apiKey: "hf_secret",
      server: "http://me:secret@comfy:8188",
      services: "minio=http://me:secret@b:9000,comfyui=http://a",
      mlflow: "https://secret@m",
    };
    const command = resumeCommand("castle.yaml", secrets, 1);
    expect(command).not.toContain("secret");
    expect(command).toContain("--server http://USER:PASSWORD@comfy:8188");
  });

  it("gives a shell the words that there were", () => {
    const file = "it's a $HOME `castle`.yaml";
    const command = resumeCommand(file, { output: "my results" }, 1);
    const said = execFileSync("/bin/sh", [
      "-c",
      command.replace("holdfast", String.raw`printf '%s\n'`),
    ]);
    expect(said.toString("utf8").split("\n").slice(0, 5)).toEqual([
      "experiment",
      "run",
      file,
      "--output",
      "my results",
    ]);
  });
});
